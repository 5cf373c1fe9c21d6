"""What people are told of real transfers; manifests, and what `towpath verify` finds with them."""

import json
import os
import re
import ssl
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psycopg
from click.testing import CliRunner, Result

from plugins.site import SITE_GROUP, Site, until
from plugins.transfer_api import hold_documents
from towpath.cli import main
from towpath.gridftp.client.ranges import range_size
from towpath.platform.certificates import server_certificate
from towpath.transfer.store.plan import LARGE_FILE_BYTES

pytestmark = SITE_GROUP

MANY = 300


def fetch(site: Site, task_id: str) -> bytes:
    answer = site.deployment.client.get(f"/v0.10/task/{task_id}/manifest")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    return answer.content


def check(site: Site, manifest: Path, directory: Path, *words: str) -> Result:
    keys = manifest.parent / "keys.json"
    keys.write_text(json.dumps(site.deployment.get("manifest_keys")))
    command = ["verify", str(manifest), str(directory), "--key", str(keys), *words]
    return CliRunner().invoke(main, command)


def test_a_tree_is_proved_and_every_change_found(site: Site, tmp_path: Path) -> None:
    source, destination = tmp_path / "source", tmp_path / "destination"
    (source / "below").mkdir(parents=True)
    for number in range(MANY):
        (source / f"{number:04}").write_bytes(os.urandom(number))
    (source / "below" / os.fsdecode(b"caf\xe9")).write_bytes(b"odd")
    size = LARGE_FILE_BYTES + 12_345
    with (source / "large").open("wb") as file:
        file.truncate(size)
        file.seek(size // 2)
        file.write(os.urandom(1_000_000))
    task_id = site.copy(source, destination)
    assert site.deployment.wait(task_id, 60)["status"] == "SUCCEEDED"
    site.assert_well()

    manifest = tmp_path / "manifest"
    manifest.write_bytes(fetch(site, task_id))
    lines = [json.loads(line) for line in manifest.read_bytes().splitlines()]
    head, entries, tail = lines[0], lines[1:-1], lines[-1]
    assert head["complete"]
    assert head["destination_base"] == str(destination)
    assert head["files"] == len(entries) == MANY + 2
    assert tail["key"]["kid"] == head["key_id"]
    assert all(one["digest"] and one["attempts"] == 1 and one["finished_at"] for one in entries)
    [large] = [one for one in entries if one["size"] == size]
    assert large["range_bytes"] == range_size(size)

    assert check(site, manifest, destination, "--extra").exit_code == 0
    assert check(site, manifest, source, "--side", "source").exit_code == 0
    changes = {"large": size - 1, "0007": 3, os.fsdecode(b"below/caf\xe9"): 0}
    for name, at in changes.items():
        with (destination / name).open("r+b") as file:
            file.seek(at)
            [byte] = file.read(1)
            file.seek(at)
            file.write(bytes([byte ^ 1]))
    (destination / "0001").unlink()
    (destination / "new").touch()
    done = check(site, manifest, destination, "--extra", "-F", "json")
    assert done.exit_code == 1
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(one["kind"], one["path"]) for one in said[:-1]} == {
        *(("changed", name) for name in changes),
        ("missing", "0001"),
        ("extra", "new"),
    }
    below = check(site, manifest, destination / "below", "--base", f"{destination}/below")
    assert below.exit_code == 3, "the other files are not below it"


def test_of_a_failed_transfer_there_is_what_it_has_brought(site: Site, tmp_path: Path) -> None:
    source, destination = tmp_path / "source", tmp_path / "destination"
    source.mkdir()
    (source / "good").write_bytes(b"good")
    task_id = site.deployment.transfer(
        *site.endpoints,
        [
            (str(source / "good"), str(destination / "good"), False),
            (str(source / "later"), str(destination / "later"), False),
        ],
        verify_checksum=False,
    )
    task = site.deployment.wait(task_id, 60)
    assert task["status"] == "FAILED"
    manifest = tmp_path / "manifest"
    manifest.write_bytes(fetch(site, task_id))
    done = check(site, manifest, destination if destination.exists() else tmp_path)
    listed = json.loads(manifest.read_bytes().splitlines()[0])["files"]
    assert done.exit_code == (4 if listed else 0), done.output


def test_whose_signature_counts_must_be_said(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    task_id = site.deployment.transfer(
        *site.endpoints, [(str(tmp_path / "a"), str(tmp_path / "b"), False)]
    )
    assert site.deployment.wait(task_id, 60)["status"] == "SUCCEEDED"
    manifest = tmp_path / "manifest"
    manifest.write_bytes(fetch(site, task_id))
    command = ["verify", str(manifest), str(tmp_path)]
    assert CliRunner().invoke(main, command).exit_code == 2
    assert CliRunner().invoke(main, [*command, "--any-key"]).exit_code == 0
    authority = str(site.rig.data_dir / "tls" / "ca.pem")
    asked = [*command, "--issuer", site.deployment.url, "--authority", authority]
    assert CliRunner().invoke(main, asked).exit_code == 0
    manifest.write_bytes(manifest.read_bytes().replace(b'"complete":true', b'"complete":false'))
    refused = CliRunner().invoke(main, [*command, "--any-key"])
    assert refused.exit_code == 3
    assert "changed after it was signed" in refused.output


class _Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.posted.append(json.loads(body))  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def receiver(directory: Path) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """URL, authority, and what was posted."""
    files = server_certificate(directory, ["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    server = HTTPServer(("127.0.0.1", 0), _Receiver)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.posted = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        url = f"https://localhost:{server.server_address[1]}/"
        yield url, files.authority.read_text(), server.posted  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_ends_of_tasks_are_told_once_to_a_webhook(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    with receiver(tmp_path / "tls") as (url, authority, posted):
        hook = site.deployment.post(
            "webhook",
            {"url": url, "topics": ["task.succeeded", "task.failed"], "authority": authority},
        )
        good, bad = (
            site.deployment.transfer(
                *site.endpoints, [(str(tmp_path / name), str(tmp_path / "b"), False)], label=name
            )
            for name in ("a", "missing")
        )
        site.deployment.wait(good, 60)
        site.deployment.wait(bad, 60)
        until(lambda: len(posted) >= 2, 20, "both are told")
        found = site.deployment.get(f"webhook/{hook['id']}/delivery_list")
        site.deployment.client.delete(f"/v0.10/webhook/{hook['id']}")
    assert len(found["DATA"]) == 2
    hold_documents(found)
    told = {one["data"]["task_id"]: one for one in posted}
    assert len(told) == len(posted) == 2
    assert told[good]["type"] == "task.succeeded"
    assert told[bad]["type"] == "task.failed"
    assert told[bad]["data"]["fatal_error"]["code"] == "FILE_NOT_FOUND"
    assert str(tmp_path / "missing") in told[bad]["data"]["details"]["path"]


def test_the_page_on_proving_what_arrived(site: Site, tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs/how-to/prove-what-arrived.md"
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE)
    keys, manifest, compare, *_ = [textwrap.dedent(block) for block in blocks]
    source, destination = tmp_path / "source", tmp_path / "destination"
    source.mkdir()
    (source / "a").write_bytes(b"a")
    task_id = site.copy(source, destination)
    assert site.deployment.wait(task_id, 60)["status"] == "SUCCEEDED"
    script = f"set -e\n{keys}{manifest}{compare}"
    for word, stands_for in {
        "https://HOST": site.deployment.url,
        "TASK_ID": task_id,
        "/archive/run7": str(destination),
    }.items():
        assert word in script
        script = script.replace(word, stands_for)
    bearer = str(site.deployment.client.headers["Authorization"]).removeprefix("Bearer ")
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={
            **os.environ,
            "TOKEN": bearer,
            "CURL_CA_BUNDLE": str(site.rig.data_dir / "tls" / "ca.pem"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "1 file, 1 byte: nothing differs." in done.stdout


def test_a_person_gets_a_mail(site: Site, tmp_path: Path) -> None:
    """Without a mail server mails are files; who this is has an address only here."""
    state = json.loads((site.rig.data_dir / "run" / "state.json").read_bytes())
    me = json.loads((site.rig.data_dir / "secrets" / "operator.json").read_bytes())["client_id"]

    def set_address(address: str | None) -> None:
        with psycopg.connect(state["database_url"], autocommit=True) as conn:
            conn.execute("UPDATE nexus.identity SET email = %s WHERE id = %s", (address, me))

    def mail(task_id: str) -> str | None:
        for file in (site.rig.data_dir / "mail").glob("*.eml"):
            text = file.read_text()
            if "To: op@mill.example" in text and task_id in text:
                return text
        return None

    set_address("op@mill.example")
    try:
        task_id = site.deployment.transfer(
            *site.endpoints,
            [(str(tmp_path / "missing"), str(tmp_path / "b"), False)],
            label="run 7",
        )
        assert site.deployment.wait(task_id, 60)["status"] == "FAILED"
        text = until(lambda: mail(task_id), 20, "a mail")
    finally:
        set_address(None)
    assert "Subject: [Towpath] Failed: run 7" in text
    assert f"{site.deployment.url}/activity/{task_id}" in text
    assert str(tmp_path / "missing") in text
