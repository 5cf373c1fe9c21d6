"""The whole table: whoever imports it has all rows."""

from compat import absent, managers, people, transfers
from compat.rows import ROWS
from compat.stage import Stage

__all__ = ["ROWS", "absent", "managers", "people", "transfers", "try_out"]


def try_out(stage: Stage, command: str) -> str | None:
    """Why the command fails; None: it turned out as its row says."""
    try:
        ROWS[command].run(stage, *command.split())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told in the table
        return f"{type(error).__name__}: {error}"
    return None
