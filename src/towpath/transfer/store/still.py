"""What a witness knows of a dead worker's leases: that nothing of them writes any more.

For a process that is to stay small: it imports psycopg alone, and this only when it is needed.
"""

from collections.abc import Iterable

import psycopg

CONNECT_TIMEOUT_S = 2
STATEMENT_TIMEOUT = "5s"
"""A task's row is locked for as long as the dead worker's last transaction is not given up."""


def note_still(url: str, leases: Iterable[tuple[int, int]]) -> None:
    """All sessions of these leases (task_no, epoch) that could write have ended at their servers.

    Of a task that was taken over meanwhile nothing is noted: its successor has read the plan, or is
    about to. Raises psycopg.Error.
    """
    options = f"-c search_path=transfer -c statement_timeout={STATEMENT_TIMEOUT}"
    with psycopg.connect(
        url,
        autocommit=True,  # a row at a time: who locks several waits for nobody who waits for us
        connect_timeout=CONNECT_TIMEOUT_S,
        application_name="towpath-witness",
        options=options,
    ) as conn:
        for task_no, epoch in leases:
            conn.execute(
                "UPDATE task SET still_epoch = %(epoch)s"
                " WHERE task_no = %(task_no)s AND lease_epoch = %(epoch)s",
                {"task_no": task_no, "epoch": epoch},
            )
