"""Fidelity reports: what of a task was not carried over."""

import json
from collections.abc import Mapping
from typing import Any

from psycopg import AsyncConnection

from towpath.transfer.fidelity import EXAMPLES_MAX, Example, Finding, Kind
from towpath.transfer.store.rows import fetch

_ADD = """
INSERT INTO fidelity (task_no, kind, count, unseen, examples)
VALUES (%(task_no)s, %(kind)s, %(count)s, %(unseen)s, %(examples)s::jsonb)
ON CONFLICT (task_no, kind) DO UPDATE SET
    count = fidelity.count + excluded.count,
    unseen = fidelity.unseen + excluded.unseen,
    examples = CASE WHEN jsonb_array_length(fidelity.examples) >= %(most)s THEN fidelity.examples
        ELSE jsonb_path_query_array(
            fidelity.examples || excluded.examples, '$[0 to $last]', %(last)s::jsonb) END
"""


async def add(conn: AsyncConnection[Any], task_no: int, found: Mapping[Kind, Finding]) -> None:
    """Count more of it; inside `fenced`, in the commit of where it was found."""
    if not found:
        return
    async with conn.cursor() as cur:
        await cur.executemany(
            _ADD,
            [
                {
                    "task_no": task_no,
                    "kind": kind,
                    "count": finding.count,
                    "unseen": finding.unseen,
                    "examples": json.dumps(finding.examples),
                    "most": EXAMPLES_MAX,
                    "last": json.dumps({"last": EXAMPLES_MAX - 1}),
                }
                for kind, finding in found.items()
            ],
        )


async def report(conn: AsyncConnection[Any], task_no: int) -> dict[Kind, Finding]:
    """What was found so far; in the order of the kinds."""
    rows = await fetch(
        conn, "SELECT kind, count, unseen, examples FROM fidelity WHERE task_no = %s", (task_no,)
    )
    found = {
        Kind(kind): Finding(count, unseen, [Example(*one) for one in examples])
        for kind, count, unseen, examples in rows
    }
    return {kind: found[kind] for kind in Kind if kind in found}
