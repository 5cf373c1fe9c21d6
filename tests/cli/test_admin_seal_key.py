"""`towpath admin seal-key` at a running deployment, and that no sealed value is forgotten by it."""

import json
import os
import time

import pytest

from plugins.browser import BROWSER_GROUP
from plugins.deployment import Running
from towpath.cli.admin_seal_key import FORGET_AFTER_S, SEALED
from towpath.cli.up import SCHEMAS
from towpath.platform.database import Database
from towpath.platform.settings import DataDirectory

pytestmark = BROWSER_GROUP


def listed(running: Running) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(
        running.towpath("admin", "seal-key", "list", "-F", "json")
    )
    return found


def test_a_new_key_for_everything_while_it_runs(running: Running) -> None:
    file = DataDirectory(running.data).seal_key
    before = listed(running)
    assert [one["state"] for one in before] == ["seals"]
    assert before[0]["values"] != 0, "at least the key that signs id tokens"
    said = running.towpath("admin", "seal-key", "rotate")
    assert "nexus.signing_key" in said
    assert "everything is under the first key" in said
    new, old = listed(running)
    assert (new["state"], old["state"], old["values"]) == ("seals", "opens", 0)
    assert new["values"] == before[0]["values"]
    past = time.time() - FORGET_AFTER_S
    os.utime(file, (past, past))
    assert str(old["id"]) in running.towpath("admin", "seal-key", "forget")
    assert [one["id"] for one in listed(running)] == [new["id"]]


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_every_column_of_sealed_values_is_known(schema: str, running: Running) -> None:
    state = DataDirectory(running.data).read_state()
    assert state is not None
    url = str(state["database_url"])
    async with (
        Database(url, schema=schema, max_size=1) as database,
        database.connection() as conn,
    ):
        found = await conn.execute(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = %s AND data_type = 'bytea'"
            " AND (column_name LIKE '%%sealed%%' OR column_name LIKE '%%secret'"
            " OR column_name IN ('private_key', 'refresh_token'))",
            (schema,),
        )
        rows = await found.fetchall()
    there = {(row["table_name"], row["column_name"]) for row in rows}
    assert there == {(one.table, one.column) for one in SEALED.get(schema, ())}
