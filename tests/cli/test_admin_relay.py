"""`towpath admin relay` and `towpath admin connect`, at a running deployment."""

import json
import subprocess
import time

import httpx

from plugins.browser import BROWSER_GROUP
from plugins.connect_api import relay_document
from plugins.deployment import BIN, Running
from towpath.transfer.api import SCOPE

pytestmark = BROWSER_GROUP
START_S = 30.0


def listed(running: Running) -> dict[str, dict[str, object]]:
    """The relays by name."""
    found = json.loads(running.towpath("admin", "relay", "list", "-F", "json"))
    return {one["name"]: one for one in found}


def refused(running: Running, *words: str) -> str:
    done = subprocess.run(
        [BIN / "towpath", *words, "--data", str(running.data)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_relay_is_registered_heard_of_and_removed(running: Running) -> None:
    made = json.loads(running.towpath("admin", "relay", "add", "Annex", "-F", "json"))
    assert "already" in refused(running, "admin", "relay", "add", "Annex")
    assert listed(running)["Annex"]["state"] == "new"
    form = {"grant_type": "client_credentials", "scope": SCOPE}
    with httpx.Client(base_url=running.url, verify=running.tls(), trust_env=False) as http:
        answer = http.post(
            "/v2/oauth2/token", data=form, auth=(made["client_id"], made["client_secret"])
        )
        token = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        heard = http.put("/v0.10/relay", json=relay_document(agents=3), headers=token)
        assert heard.json()["relay_id"] == made["client_id"]
        assert listed(running)["Annex"]["state"] == "there"
        running.towpath("admin", "relay", "remove", made["client_id"])
        again = http.put("/v0.10/relay", json=relay_document(), headers=token)
        assert again.status_code in (401, 403)
    assert "Annex" not in listed(running)
    assert "no relay" in refused(running, "admin", "relay", "remove", made["client_id"])


def test_the_first_endpoint_with_agents_brings_a_relay(running: Running) -> None:
    said = running.towpath("endpoint", "add", "Lab", "--connect-server")
    assert "towpath connect setup localhost:" in said
    deadline = time.monotonic() + START_S
    while (own := listed(running)["of this deployment"])["state"] != "there":
        assert time.monotonic() < deadline, own
        time.sleep(0.1)
    assert "itself" in refused(running, "admin", "relay", "remove", str(own["client_id"]))
    assert "no server of its own" in refused(
        running, "endpoint", "add", "Lab", "gsiftp://x.example.org", "--connect-server"
    )
    assert "from 20" in running.towpath("admin", "connect", "rotate-keys")
