"""`towpath admin provider`, on a database without a running service."""

import json
from pathlib import Path

import psycopg
from click.testing import CliRunner, Result

from plugins.left_by_up import leave
from towpath.cli import main

ISSUER = "https://login.uni.example"


def test_add_change_list_remove(tmp_path: Path, database_url: str) -> None:
    leave(tmp_path, database_url)

    def run(*words: str, stdin: str = "") -> Result:
        return CliRunner().invoke(
            main, ["admin", "provider", *words, "--data", str(tmp_path)], input=stdin
        )

    def add(name: str, issuer: str, *more: str, stdin: str = "") -> Result:
        words = ("add", name, "--issuer", issuer, "--client-id", "towpath", *more)
        return run(*words, stdin=stdin)

    usual = ("--domain", "uni.example", "--client-secret-file", "-")
    # nobody is there: that is said at once, and nothing is stored
    said = add("Uni", "https://localhost:1", *usual, stdin="hidden words\n")
    assert said.exit_code == 1
    assert "cannot be reached" in said.output
    assert run("list").output == ""
    uri = run("uri", ISSUER).output.strip()
    assert uri.startswith("https://towpath.example:8443/v2/web/upstream/")
    said = add("Uni", ISSUER, *usual, "--unseen", "-F", "json", stdin="hidden words\n")
    assert json.loads(said.output)["redirect_uri"] == uri
    with psycopg.connect(database_url, options="-c search_path=nexus") as connection:
        row = connection.execute("SELECT client_secret FROM upstream").fetchone()
        assert row is not None
        assert b"hidden words" not in bytes(row[0])
    said = add("Uni again", ISSUER, "--domain", "UNI.example", "--domain", "b.example", "--unseen")
    assert said.exit_code == 0, said.output
    (listed,) = json.loads(run("list", "-F", "json").output)
    assert (listed["name"], listed["domains"]) == ("Uni again", ["uni.example", "b.example"])
    assert "hidden" not in run("list").output
    # one provider for a domain
    said = add("Other", "https://other.example", "--domain", "b.example", "--unseen")
    assert said.exit_code == 1
    assert "speaks for b.example" in said.output
    for issuer, domain in (
        ("http://login.example", "c.example"),
        ("https://login.example/?a=b", "c.example"),
        ("https://login.example", "c example"),
        ("https://login.example", "@c.example"),
    ):
        assert add("X", issuer, "--domain", domain, "--unseen").exit_code == 1
    assert run("remove", ISSUER).exit_code == 0
    assert run("remove", ISSUER).exit_code == 1
    assert run("list").output == ""
    # its domain is free again
    assert add("Other", "https://o.example", "--domain", "b.example", "--unseen").exit_code == 0
