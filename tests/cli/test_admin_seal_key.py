"""`towpath admin seal-key` at a running deployment, and that no sealed value is forgotten by it."""

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from plugins.browser import BROWSER_GROUP
from plugins.deployment import Running
from towpath.cli import main
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


def test_a_machine_that_has_not_got_a_key_says_so(running: Running, tmp_path: Path) -> None:
    (one,) = [row["id"] for row in listed(running) if row["state"] == "seals"]
    here, there = DataDirectory(running.data), DataDirectory(tmp_path)
    assert sealing_key(here.root) == ["ok        the keys of all that is sealed in the database"]
    for name in ("state_file", "operator_file"):
        getattr(there, name).parent.mkdir(exist_ok=True)
        shutil.copy(getattr(here, name), getattr(there, name))
    found, advice = sealing_key(there.root)
    assert found.startswith("missing")
    assert f"{there.seal_key} has not {one}" in advice
    assert not there.seal_key.exists(), "looking makes no key"
    shutil.copy(here.seal_key, there.seal_key)
    assert len(sealing_key(there.root)) == 1


def sealing_key(data: Path) -> list[str]:
    """What `towpath doctor` says of it."""
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(CliRunner().invoke, main, ["doctor", "--data", str(data)]).result()
    lines = done.stdout.splitlines()
    first = next(number for number, line in enumerate(lines) if "is sealed" in line)
    return [lines[first], *(one for one in lines[first + 1 : first + 2] if one[0] == " ")]


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
