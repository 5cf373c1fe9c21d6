"""`towpath admin group`, on a database without a running service."""

import json
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from click.testing import CliRunner, Result

from plugins.left_by_up import leave
from towpath.cli import main

GROUP = str(uuid4())


@pytest.fixture
def place(tmp_path: Path, database_url: str) -> Path:
    """What `up` leaves in its directory, and a group whose admin is suspended."""
    leave(tmp_path, database_url)
    people = {"ada": str(uuid4()), "bob": str(uuid4())}
    with psycopg.connect(database_url, options="-c search_path=nexus") as connection:
        for name, id_ in people.items():
            connection.execute(
                "INSERT INTO identity (id, username, identity_provider) SELECT %s, %s, id"
                " FROM identity_provider LIMIT 1",
                (id_, f"{name}@mill.example"),
            )
        connection.execute(
            "INSERT INTO account (id, primary_identity, suspended_at) VALUES (%s, %s, now())",
            (people["ada"], people["ada"]),
        )
        connection.execute(
            "UPDATE identity SET account_id = %s WHERE id = %s", (people["ada"],) * 2
        )
        connection.execute(
            "INSERT INTO user_group (id, name, visibility, members_visibility, join_requests,"
            " direct_joins, signup_fields, high_assurance, assurance_timeout_s)"
            " VALUES (%s, 'Lake', 'private', 'managers', false, false, '{}', false, 60)",
            (GROUP,),
        )
        connection.execute(
            "INSERT INTO membership (group_id, identity_id, role, status)"
            " VALUES (%s, %s, 'admin', 'active')",
            (GROUP, people["ada"]),
        )
    return tmp_path


def run(place: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["admin", "group", *words, "--data", str(place)])


def test_a_group_without_an_admin_gets_one(place: Path) -> None:
    assert json.loads(run(place, "orphans", "-F", "json").output) == [{"id": GROUP, "name": "Lake"}]
    assert run(place, "orphans").output == f"{GROUP}  Lake\n"
    missing = run(place, "give", GROUP, "eve@mill.example")
    assert (missing.exit_code, "there is no identity" in missing.output) == (1, True)
    missing = run(place, "give", str(uuid4()), "bob@mill.example")
    assert (missing.exit_code, "there is no such group" in missing.output) == (1, True)
    assert run(place, "give", GROUP, "bob@mill.example").exit_code == 0
    assert run(place, "orphans").output == ""
