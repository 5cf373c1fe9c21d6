"""`towpath admin client` and `towpath admin keys`, at a running deployment."""

import json
import subprocess

import httpx
import pytest

from plugins.browser import BROWSER_GROUP
from plugins.deployment import BIN, Running

pytestmark = BROWSER_GROUP
URI = "https://tides.example/callback"


def test_an_application_is_registered_and_removed(running: Running) -> None:
    said = running.towpath("admin", "client", "add", "Tides", "--redirect-uri", URI, "-F", "json")
    made = json.loads(said)
    assert made["issuer"] == running.url
    form = {"grant_type": "client_credentials", "scope": "openid"}
    login = (made["client_id"], made["client_secret"])
    with httpx.Client(base_url=running.url, verify=False, trust_env=False) as http:
        assert http.post("/v2/oauth2/token", data=form, auth=login).status_code == 200
        listed = json.loads(running.towpath("admin", "client", "list", "-F", "json"))
        assert {"client_id": made["client_id"], "name": "Tides", "redirect_uris": [URI]} in listed
        running.towpath("admin", "client", "remove", made["client_id"])
        assert http.post("/v2/oauth2/token", data=form, auth=login).status_code == 401
    public = running.towpath("admin", "client", "add", "Buoy", "--public")
    assert "secret" not in public


@pytest.mark.parametrize(
    "words",
    [
        ("add", "Tides", "--redirect-uri", "http://tides.example"),
        ("add", "\n"),
        ("remove", "95fdeba8-fac2-42bd-a357-e068d82ff78e"),
    ],
)
def test_what_cannot_be_is_said(running: Running, words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [BIN / "towpath", "admin", "client", *words, "--data", str(running.data)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_is_published_before_it_signs(running: Running) -> None:
    (first,) = json.loads(running.towpath("admin", "keys", "list", "-F", "json"))
    said = running.towpath("admin", "keys", "rotate")
    rows = json.loads(running.towpath("admin", "keys", "list", "-F", "json"))
    assert [row["state"] for row in rows] == ["signs", "published"]
    assert said.startswith(rows[1]["kid"])
    with httpx.Client(base_url=running.url, verify=False, trust_env=False) as http:
        published = [one["kid"] for one in http.get("/jwk.json").json()["keys"]]
    assert published == [first["kid"], rows[1]["kid"]]
