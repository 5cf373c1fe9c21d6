"""`towpath admin user`, on a database without a running service."""

import json
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from plugins.left_by_up import leave
from towpath.cli import main

PASSWORD = "seven slow barges"


class Operator:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(self, *words: str, stdin: str = "") -> Result:
        return CliRunner().invoke(
            main, ["admin", "user", *words, "--data", str(self.directory)], input=stdin
        )

    def does(self, *words: str, stdin: str = "") -> str:
        done = self.run(*words, stdin=stdin)
        assert done.exit_code == 0, done.output
        return done.output

    def fails(self, *words: str, stdin: str = "") -> str:
        done = self.run(*words, stdin=stdin)
        assert done.exit_code in (1, 2), done.output
        return done.output

    def add(self, name: str, *more: str) -> str:
        words = ("add", name, "--full-name", name.title(), "--password-file", "-", "-F", "json")
        return str(json.loads(self.does(*words, *more, stdin=PASSWORD))["id"])

    def list(self) -> dict[str, dict[str, object]]:
        return {row["username"]: row for row in json.loads(self.does("list", "-F", "json"))}


@pytest.fixture
def operator(tmp_path: Path, database_url: str) -> Operator:
    """What `up` leaves in its directory."""
    leave(tmp_path, database_url)
    with psycopg.connect(database_url, options="-c search_path=nexus") as connection:
        connection.execute(
            "INSERT INTO identity_provider (id, name, short_name, kind, domains) VALUES"
            " (gen_random_uuid(), 'Here', 'here', 'local', '{mill.example}')"
        )
    return Operator(tmp_path)


def test_before_the_first_start(operator: Operator, database_url: str) -> None:
    with psycopg.connect(database_url, options="-c search_path=nexus") as connection:
        connection.execute("DELETE FROM identity_provider WHERE kind = 'local'")
    assert "never started" in operator.fails("add", "ada")


def test_add_by_link_and_by_password(operator: Operator, database_url: str) -> None:
    link = json.loads(operator.does("add", "ada", "--email", "ada@mail.example", "-F", "json"))
    assert link["link"].startswith("https://towpath.example:8443/v2/web/welcome?link=")
    assert "works once" in operator.does("add", "Ada", "--administrator")
    with psycopg.connect(database_url, options="-c search_path=nexus") as connection:
        rows = connection.execute("SELECT details FROM one_time_link").fetchall()
        hashes = connection.execute("SELECT t::text FROM one_time_link t").fetchall()
    assert rows == [({"username": "ada@mill.example", "administrator": True},)], "replaced"
    assert link["link"].rpartition("=")[2] not in str(hashes)
    operator.add("bob", "--email", "bob@mail.example", "--organization", "Mill")
    assert operator.list().keys() == {"bob@mill.example"}
    for words, told in (
        (("add", "bob"), "there already"),
        (("add", "bob@elsewhere.example"), "A name has"),
        (("add", "x y"), "A name has"),
        (("add", "carol", "--email", "x"), "no address"),
        (("suspend", "nobody"), "no account of nobody"),
    ):
        assert told in operator.fails(*words)
    weak = operator.fails("add", "carol", "--full-name", "C", "--password-file", "-", stdin="short")
    assert "at least 15" in weak


def test_suspend_restore_delete(operator: Operator, database_url: str) -> None:
    bob = operator.add("bob")
    assert operator.does("suspend", "bob") == "bob@mill.example is suspended\n"
    assert "already" in operator.does("suspend", "bob@mill.example")
    assert operator.list()["bob@mill.example"]["suspended"] is True
    assert "is restored" in operator.does("restore", bob)
    assert "was not suspended" in operator.does("restore", bob)
    assert operator.run("delete", "bob", stdin="n\n").exit_code == 1
    assert operator.list() != {}
    operator.does("delete", "bob", "--yes")
    assert operator.list() == {}
    with psycopg.connect(database_url, options="-c search_path=nexus") as connection:
        [tombstone] = connection.execute(
            "SELECT username, name, email, status FROM identity WHERE id = %s", (bob,)
        ).fetchall()
        changes = connection.execute(
            "SELECT what, identity_ids::text[] FROM account_change ORDER BY n"
        ).fetchall()
    assert tombstone == (f"{bob}@deleted.invalid", None, None, "closed")
    assert changes == [(what, [bob]) for what in ("suspended", "restored", "deleted")]
    assert operator.add("bob") != bob, "the name is free, for somebody else"


def test_export_has_everything_but_proofs(operator: Operator) -> None:
    bob = operator.add("bob", "--email", "bob@mail.example")
    operator.add("eve")
    found = json.loads(operator.does("export", "bob"))
    assert found["identity"][0]["id"] == bob
    assert "changed_at" in found["password"][0]
    text = json.dumps(found)
    assert "argon2" not in text
    assert "eve" not in text


def test_a_link_for_a_new_password(operator: Operator) -> None:
    operator.add("bob")
    assert "/v2/web/reset?link=" in operator.does("reset", "bob")
