"""The table: what is tried of each command, and how it should turn out."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from compat.stage import Stage


class Outcome(StrEnum):
    """Of a command."""

    WORKS = "works"
    """As the program and its documentation say."""
    DIFFERS = "differs"
    """It answers, and something is other than with Globus; the row says what."""
    NOT_OFFERED = "not offered"
    """The service is not part of a deployment; the program says so, and ends with 1."""


@dataclass(frozen=True)
class Row:
    """`run` tries the command, whose words it gets, and raises AssertionError."""

    run: Callable[..., None]
    outcome: Outcome
    why: str = ""


ROWS: dict[str, Row] = {}
Try = Callable[..., None]


def works(*commands: str) -> Callable[[Try], Try]:
    """Declares them."""
    return _declare(commands, Outcome.WORKS, "")


def differs(why: str, *commands: str) -> Callable[[Try], Try]:
    """Declares commands that work, but for what `why` says."""
    return _declare(commands, Outcome.DIFFERS, why)


def _declare(commands: tuple[str, ...], outcome: Outcome, why: str) -> Callable[[Try], Try]:
    def declared(run: Try) -> Try:
        for one in commands:
            assert one not in ROWS, one
            ROWS[one] = Row(run, outcome, why)
        return run

    return declared


def not_offered(why: str, told: str, command: str, *arguments: str, code: int = 1) -> None:
    """Declares a command that says that there is no such service: `told` is among its words, and
    `code` is what it ends with."""

    def run(stage: Stage, *words: str) -> None:
        said = stage.globus.fails(*words, *arguments, expect=code)
        assert told in said, said

    _declare((command,), Outcome.NOT_OFFERED, why)(run)
