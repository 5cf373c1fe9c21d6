"""The unmodified `globus` command against a whole deployment and two real GridFTP servers.

Every call is bounded: a failure must be told at once, not after the client's retries.
"""

import base64
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from plugins.globus import Globus
from towpath.demo.authority import Domain
from towpath.demo.deployment import Deployment
from towpath.demo.gct import GctServer
from towpath.demo.trees import digests
from towpath.samples.layout import SAMPLES

TASK_S = 90
_SHARE_DATA = Path(__file__).parents[2] / "docs" / "how-to" / "share-data.md"
_RUN = re.compile(r"^<!-- run -->\n```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.xdist_group("globus_cli")


@dataclass
class Site:
    """A running deployment with endpoints A and B at servers of two authorities."""

    deployment: Deployment
    globus: Globus
    a: str
    b: str


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory,
    domain_a: Domain,
    domain_b: Domain,
    server_a: GctServer,
    server_b: GctServer,
) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("site")
    with Deployment.start(root / "data") as deployment:
        ids = [
            deployment.add_endpoint(
                name, f"gsiftp://localhost:{server.port}", domain.trust_dir, domain.proxy_file
            )
            for name, server, domain in (
                ("Lake A", server_a, domain_a),
                ("Lake B", server_b, domain_b),
            )
        ]
        yield Site(deployment, Globus.of(deployment, root / "home"), *ids)
        assert deployment.stop() == 0


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree, with names that need care."""
    root = tmp_path / "source"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "one.txt").write_text("one\n")
    (root / "deep" / "two.bin").write_bytes(bytes(range(256)) * 4096)
    (root / "deep" / "er" / "ü 中.txt").write_text("three")
    (root / "deep" / "empty").write_text("")
    (root / ".dot").write_text("dot")
    with open(os.fsencode(root / "deep") + b"/caf\xe9", "wb") as latin:  # noqa: PTH123
        latin.write(b"latin")
    return root


def same(one: Path, two: Path) -> bool:
    def content(root: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file()
        }

    return content(one) == content(two)


def submitted(document: dict[str, Any]) -> str:
    assert document["code"] == "Accepted"
    task_id: str = document["task_id"]
    return task_id


def test_whoami(site: Site) -> None:
    client_id = site.globus.environment["GLOBUS_CLI_CLIENT_ID"]
    assert f"{client_id}@clients.auth.globus.org" in site.globus.text("whoami")
    assert site.globus.json("whoami")["sub"] == client_id


def test_bookmarks(site: Site, tree: Path) -> None:
    globus = site.globus
    made = globus.text("bookmark", "create", f"{site.a}:{tree}/", "my tree")
    bookmark_id = made.removeprefix("Bookmark ID: ").strip()
    listed = globus.text("bookmark", "list")
    assert all(word in listed for word in ("my tree", bookmark_id, "Lake A", f"{tree}/"))
    assert globus.text("bookmark", "rename", "my tree", "oak") == "Success\n"
    place = globus.text("bookmark", "show", "oak").strip()
    assert place == f"{site.a}:{tree}/"
    assert "one.txt" in globus.text("ls", place)
    assert "already" in globus.fails("bookmark", "create", f"{site.b}:/~/", "oak")
    assert globus.json("bookmark", "show", bookmark_id)["name"] == "oak"
    assert "deleted" in globus.text("bookmark", "delete", "oak")
    assert "No bookmark found" in globus.fails("bookmark", "show", bookmark_id)


def test_endpoint_search_show_update_and_delete(site: Site, domain_a: Domain) -> None:
    globus = site.globus
    found = globus.json("endpoint", "search", "lake")
    assert {site.a, site.b} <= {one["id"] for one in found["DATA"]}
    assert site.a in globus.text("endpoint", "search", "--filter-scope", "my-endpoints")
    assert "Lake A" in globus.text("endpoint", "show", site.a)
    shown = globus.json("endpoint", "show", site.b)
    assert shown["entity_type"] == "GCSv4_host"
    added = json.loads(
        site.deployment.towpath(
            "endpoint",
            "add",
            "Gone",
            "gsiftp://192.0.2.1:2811",
            "--trust-dir",
            str(domain_a.trust_dir),
            "--format",
            "json",
        )
    )
    globus.run("endpoint", "update", added["id"], "--description", "soon gone")
    assert globus.json("endpoint", "show", added["id"])["description"] == "soon gone"
    globus.run("endpoint", "delete", added["id"])
    assert "EndpointDeleted" in globus.fails("endpoint", "show", added["id"])


def test_ls_and_stat(site: Site, tree: Path) -> None:
    globus, where = site.globus, f"{site.a}:{tree}"
    assert globus.text("ls", where).split() == ["deep/", "one.txt"]
    assert ".dot" in globus.text("ls", "-a", where)
    long = globus.text("ls", "-l", where)
    assert "one.txt" in long
    assert "| 4 " in long or " 4 |" in long
    recursive = globus.text("ls", "-r", where)
    assert {"deep/two.bin", "deep/er/ü 中.txt", "deep/\ufffdcafé"} <= set(recursive.splitlines())
    filtered = globus.text("ls", "-r", "--filter", "~*.txt", where)
    assert "deep/er/ü 中.txt" in filtered
    assert "two.bin" not in filtered
    document = globus.json("ls", where)
    assert [entry["name"] for entry in document["DATA"]] == ["deep", "one.txt"]
    route = f"/operation/endpoint/{site.a}/ls"
    home = json.loads(globus.text("api", "transfer", "GET", route, "-Q", "path=/~/"))
    assert home["absolute_path"] == f"{Path.home()}/"
    assert globus.json("stat", f"{where}/one.txt")["size"] == 4
    assert "one.txt" in globus.text("stat", f"{where}/one.txt")


def test_mkdir_and_rename(site: Site, tree: Path) -> None:
    globus, where = site.globus, f"{site.a}:{tree}"
    assert "created successfully" in globus.text("mkdir", f"{where}/new")
    assert globus.json("mkdir", f"{where}/new 2")["code"] == "DirectoryCreated"
    globus.run("rename", site.a, f"{tree}/new", f"{tree}/newer")
    renamed = globus.json("rename", site.a, f"{tree}/new 2", f"{tree}/newest")
    assert renamed["code"] == "FileRenamed"
    assert {"newer", "newest"} <= {path.name for path in tree.iterdir()}


def test_transfer_of_a_file_shown_and_waited_for(site: Site, tree: Path) -> None:
    globus, target = site.globus, tree.parent / "there"
    task = submitted(
        globus.json(
            "transfer", "--label", "one file", f"{site.a}:{tree}/one.txt", f"{site.b}:{target}/1"
        )
    )
    globus.run("task", "wait", task, "--timeout", str(TASK_S), "--polling-interval", "1")
    assert (target / "1").read_text() == "one\n"
    shown = globus.json("task", "show", task)
    assert (shown["status"], shown["files_transferred"]) == ("SUCCEEDED", 1)
    assert shown["label"] == "one file"
    assert "SUCCEEDED" in globus.text("task", "show", task)
    moved = globus.json("task", "show", "-t", task)
    assert [one["size"] for one in moved["DATA"]] == [4]
    assert f"{target}/1" in globus.text("task", "show", "-t", task)
    listed = globus.json("task", "list", "--filter-label", "one*", "--filter-status", "SUCCEEDED")
    assert task in {one["task_id"] for one in listed["DATA"]}
    assert task in globus.text("task", "list")
    last = globus.json("task", "event-list", task)["DATA"][0]
    assert (last["code"], json.loads(last["details"])) == (
        "SUCCEEDED",
        {
            "files_succeeded": 1,
            "directories": 0,
            "files_skipped": 0,
            "skipped_errors": 0,
            "bytes_transferred": 4,
        },
    )
    assert '"files_succeeded":1' in globus.text("task", "event-list", task)
    assert globus.json("task", "pause-info", task)["pause_rules"] == []
    assert "completed" in globus.fails("task", "cancel", task, expect=0).lower()


def test_transfer_of_a_tree(site: Site, tree: Path) -> None:
    target = tree.parent / "copy"
    task = submitted(site.globus.json("transfer", "-r", f"{site.a}:{tree}/", f"{site.b}:{target}/"))
    site.globus.run("task", "wait", task, "--timeout", str(TASK_S), "--polling-interval", "1")
    assert same(tree, target)


def test_the_sample_endpoints(site: Site) -> None:
    """With the ids and paths of Globus's own tutorials, and without any credential."""
    globus, (one, two) = site.globus, (str(sample.id) for sample in SAMPLES)
    found = globus.json("endpoint", "search", "go#ep")["DATA"]
    assert [(ep["id"], ep["display_name"]) for ep in found] == [(one, "go#ep1"), (two, "go#ep2")]
    assert globus.text("ls", f"{one}:/share/godata").split()[:3] == [
        "file1.txt",
        "file2.txt",
        "file3.txt",
    ]
    listed = globus.json("api", "transfer", "GET", "/v0.10/credential_list")["DATA"]
    assert {one: "managed", two: "managed"}.items() <= {
        known["endpoint_id"]: known["state"] for known in listed
    }.items()
    report = globus.json("api", "transfer", "POST", f"/v0.10/endpoint/{two}/test")
    assert report["ok"] is True, report
    there = f"{two}:/~/{uuid4()}"
    task = submitted(globus.json("transfer", "-r", f"{one}:/share/godata/", f"{there}/"))
    globus.run("task", "wait", task, "--timeout", str(TASK_S), "--polling-interval", "1")
    assert globus.text("ls", there) == globus.text("ls", f"{one}:/share/godata")
    assert "ls" not in globus.text("rm", "-r", "--timeout", str(TASK_S), there)
    assert "PermissionDenied" in globus.fails("mkdir", f"{one}:/share/godata/mine")


def test_transfer_of_a_part_of_a_tree(site: Site, tree: Path) -> None:
    for path in ("keep.tmp", "b.tmp", "sub/c.tmp", "sub/d.txt", ".git/config"):
        (tree / path).parent.mkdir(exist_ok=True)
        (tree / path).write_text(path)
    target = tree.parent / "part"
    words = ("--include", "keep*", "--exclude", "*.tmp")
    between = (f"{site.a}:{tree}/", f"{site.b}:{target}/")
    task = submitted(site.globus.json("transfer", "-r", *words, *between))
    site.globus.run("task", "wait", task, "--timeout", str(TASK_S), "--polling-interval", "1")
    there = {str(path.relative_to(target)) for path in target.rglob("*")}
    assert {"keep.tmp", "sub", "sub/d.txt", ".git", ".git/config", "one.txt"} <= there
    assert not there & {"b.tmp", "sub/c.tmp"}
    shown = site.globus.json("task", "show", task)
    assert [(one["method"], one["name"]) for one in shown["filter_rules"]] == [
        ("include", "keep*"),
        ("exclude", "*.tmp"),
    ]
    files = [path for path in target.rglob("*") if path.is_file()]
    assert shown["files"] == shown["files_transferred"] == len(files)


def test_excluded_directories_take_all_below_along(site: Site, tree: Path) -> None:
    target = tree.parent / "shallow"
    task = site.deployment.transfer(
        site.a,
        site.b,
        [(str(tree), str(target), True)],
        filter_rules=[
            {"DATA_TYPE": "filter_rule", "method": "exclude", "name": "er", "type": "dir"},
            {"DATA_TYPE": "filter_rule", "method": "exclude", "name": "deep", "type": "file"},
        ],
    )
    assert site.deployment.wait(task, TASK_S)["status"] == "SUCCEEDED"
    assert (target / "deep" / "two.bin").exists()
    assert not (target / "deep" / "er").exists()


def test_what_could_not_be_carried_over_is_told(site: Site, tree: Path) -> None:
    target = tree.parent / "lost"
    (tree / "link").symlink_to("one.txt")
    (tree / "run.sh").write_text("#!/bin/sh\n")
    (tree / "run.sh").chmod(0o755)
    task = submitted(site.globus.json("transfer", "-r", f"{site.a}:{tree}/", f"{site.b}:{target}/"))
    site.globus.run("task", "wait", task, "--timeout", str(TASK_S), "--polling-interval", "1")
    last, told, *_ = site.globus.json("task", "event-list", task)["DATA"]
    assert (last["code"], told["code"], told["is_error"]) == ("SUCCEEDED", "FIDELITY", False)
    text = site.globus.text("task", "event-list", task)
    assert "symbolic links that were left out" in text
    assert f"{tree}/run.sh (mode 0755)" in text
    route = f"/task/{task}/fidelity"
    report = site.globus.json("api", "transfer", "GET", route)
    assert {one["kind"]: one["count"] for one in report["DATA"] if one["count"]} == {
        "links_ignored": 1,
        "modes": 1,
    }
    assert "owner and group" in report["never_carried"]


def test_transfer_of_a_batch(site: Site, tree: Path) -> None:
    target = tree.parent / "batch"
    batch = "one.txt 1\n# a comment\n--recursive deep d\n'deep/er/ü 中.txt' 'n a m e'\n"
    task = submitted(
        site.globus.json(
            "transfer", "--batch", "-", f"{site.a}:{tree}", f"{site.b}:{target}", stdin=batch
        )
    )
    site.globus.run("task", "wait", task, "--timeout", str(TASK_S), "--polling-interval", "1")
    assert (target / "1").read_text() == "one\n"
    assert (target / "n a m e").read_text() == "three"
    assert same(tree / "deep", target / "d")


def test_transfers_with_checksums_known_from_elsewhere(site: Site, tree: Path) -> None:
    target = tree.parent / "known"
    right = hashlib.sha1((tree / "one.txt").read_bytes(), usedforsecurity=False).hexdigest()
    wrong = hashlib.md5(b"two", usedforsecurity=False).hexdigest()
    where = (f"{site.a}:{tree}/one.txt", f"{site.b}:{target}/1")
    known = ("--external-checksum", right, "--checksum-algorithm", "SHA1")
    good = submitted(site.globus.json("transfer", *known, *where))
    batch = f"--external-checksum {wrong} one.txt 2\n"
    there = (f"{site.a}:{tree}", f"{site.b}:{target}")
    bad = submitted(site.globus.json("transfer", "--batch", "-", *there, stdin=batch))
    for task, code in ((good, 0), (bad, 1)):
        wait = ("--timeout", str(TASK_S), "--polling-interval", "1")
        site.globus.run("task", "wait", task, *wait, expect=code)
    assert "EXTERNAL_CHECKSUM_MISMATCH" in site.globus.text("task", "event-list", bad)
    assert [path.name for path in target.iterdir()] == ["1"]
    refused = site.globus.fails("transfer", "--external-checksum", "abc", *where)
    assert "MD5 has 32 hexadecimal digits" in refused


def test_the_same_submission_id_makes_one_task(site: Site, tree: Path) -> None:
    globus = site.globus
    submission = globus.text("task", "generate-submission-id").strip()
    command = (
        "transfer",
        "--submission-id",
        submission,
        f"{site.a}:{tree}/one.txt",
        f"{site.b}:{tree.parent}/dup",
    )
    first, second = globus.json(*command), globus.json(*command)
    assert (first["code"], second["code"]) == ("Accepted", "Duplicate")
    assert first["task_id"] == second["task_id"]


def test_update_and_cancel(site: Site, tree: Path) -> None:
    """A file large enough for its task to be under way when it is cancelled."""
    globus = site.globus
    big = tree / "big"
    with big.open("wb") as file:
        file.truncate(4 * 1024**3)  # sparse: enough for the task to be under way
    task = submitted(globus.json("transfer", f"{site.a}:{big}", f"{site.b}:{tree.parent}/big"))
    globus.run("task", "update", task, "--label", "renamed", "--deadline", "2040-01-01")
    shown = globus.json("task", "show", task)
    assert (shown["label"], shown["deadline"]) == ("renamed", "2040-01-01T00:00:00+00:00")
    assert globus.json("task", "cancel", task)["code"] in ("Canceled", "CancelAccepted")
    globus.run("task", "wait", task, "--timeout", str(TASK_S), "--polling-interval", "1", expect=1)
    ended = globus.json("task", "show", task)
    assert (ended["status"], ended["fatal_error"]["code"]) == ("FAILED", "CANCELED")
    last = globus.json("task", "event-list", task)["DATA"][0]
    assert (last["code"], "owner" in json.loads(last["details"])["error"]) == ("CANCELED", True)
    (tree.parent / "big").unlink(missing_ok=True)


def test_why_a_task_is_paused(site: Site, tree: Path) -> None:
    globus = site.globus
    (tree / "big").touch()
    os.truncate(tree / "big", 4 * 1024**3)  # sparse: enough for the task to be under way
    task = submitted(globus.json("transfer", f"{site.a}:{tree}/big", f"{site.b}:{tree.parent}/big"))
    globus.text("api", "transfer", "POST", f"/task/{task}/pause")
    told = globus.text("task", "pause-info", task)
    assert "explicitly paused" in told
    assert "Paused by its owner; resume or cancel it." in told
    globus.json("task", "cancel", task)
    globus.run("task", "wait", task, "--timeout", str(TASK_S), "--polling-interval", "1", expect=1)
    assert "is not paused" in globus.text("task", "pause-info", task)
    (tree.parent / "big").unlink(missing_ok=True)


def test_delete_and_rm(site: Site, tree: Path) -> None:
    globus, copy = site.globus, tree.parent / "copy"
    shutil.copytree(tree, copy)
    task = submitted(globus.json("delete", f"{site.a}:{copy}/one.txt"))
    globus.run("task", "wait", task, "--timeout", str(TASK_S), "--polling-interval", "1")
    assert not (copy / "one.txt").exists()
    globus.run("rm", "-r", f"{site.a}:{copy}", "--timeout", str(TASK_S))
    assert not copy.exists()
    assert tree.exists()
    [removed] = globus.json("task", "list", "--filter-type", "DELETE", "--limit", "1")["DATA"]
    done = json.loads(globus.json("task", "event-list", removed["task_id"])["DATA"][0]["details"])
    assert (done["files_succeeded"], done["directories"]) == (removed["files"], 3)


def test_no_such_path(site: Site, tree: Path) -> None:
    missing = f"{site.a}:{tree}/none"
    assert "ClientError.NotFound" in site.globus.fails("ls", missing)
    assert "Nothing found" in site.globus.fails("stat", missing, expect=0)
    assert "NotDirectory" in site.globus.fails("ls", f"{site.a}:{tree}/one.txt")
    assert "Exists" in site.globus.fails("mkdir", f"{site.a}:{tree}/deep")
    assert "InvalidPath" in site.globus.fails("mkdir", f"{site.a}:{tree}/../x")


def test_unknown_endpoint_and_task(site: Site) -> None:
    unknown = str(uuid4())
    for command in (
        ("ls", f"{unknown}:/"),
        ("endpoint", "show", unknown),
        ("transfer", f"{unknown}:/a", f"{site.a}:/b"),
    ):
        assert "EndpointNotFound" in site.globus.fails(*command)
    assert "TaskNotFound" in site.globus.fails("task", "show", unknown)


def test_mirroring(site: Site, tree: Path) -> None:
    target = tree.parent / "mirrored"
    (target / "extra").mkdir(parents=True)
    (target / "extra" / "f").touch()
    between = (f"{site.a}:{tree}/", f"{site.b}:{target}/")
    task = submitted(site.globus.json("transfer", "-r", "--delete", *between))
    site.globus.run("task", "wait", task, "--timeout", str(TASK_S), "--polling-interval", "1")
    assert digests(target) == digests(tree)
    assert not (target / "extra").exists()
    told = site.globus.run("task", "event-list", task).stdout
    assert "DELETED_DESTINATION_EXTRA" in told


@pytest.mark.long
def test_sync_levels(site: Site, tree: Path) -> None:
    target = tree.parent / "synced"
    between = (f"{site.a}:{tree}/", f"{site.b}:{target}/")
    for level, copied in (("checksum", 6), ("exists", 0), ("size", 0), ("checksum", 1)):
        task = submitted(site.globus.json("transfer", "-r", "--sync-level", level, *between))
        site.globus.run("task", "wait", task, "--timeout", str(TASK_S), "--polling-interval", "1")
        shown = site.globus.json("task", "show", task)
        assert (shown["files_transferred"], shown["files_skipped"]) == (copied, 6 - copied)
        if level == "size":
            (target / "one.txt").write_text("two\n")
    assert same(tree, target)


def test_bad_secret_and_bad_token(site: Site) -> None:
    secret = base64.urlsafe_b64encode(b"wrong" * 8).decode()
    wrong = dict(site.globus.environment, GLOBUS_CLI_CLIENT_SECRET=secret)
    # a home of its own: the tokens of the right secret are stored in the other
    wrong["HOME"] = site.globus.environment["HOME"] + "/other"
    Path(wrong["HOME"]).mkdir()
    assert "Invalid Authentication provided" in Globus(wrong).fails("whoami")
    answer = site.deployment.client.get(
        "/v0.10/task_list", headers={"Authorization": "Bearer nonsense"}
    )
    assert answer.status_code == 401
    assert answer.json()["code"] == "ClientError.AuthenticationFailed"


def test_gridftp_server_down(site: Site, domain_a: Domain) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        down = site.deployment.add_endpoint(
            "down", f"gsiftp://localhost:{port}", domain_a.trust_dir, domain_a.proxy_file
        )
        told = site.globus.fails("ls", f"{down}:/")
    assert "ExternalError.DirListingFailed.ConnectFailed" in told
    assert f"localhost:{port}" in told


@pytest.mark.long
def test_service_down(site: Site) -> None:
    """The client itself asks six times before it gives up; it must end then, by itself."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{closed.getsockname()[1]}"
        down = Globus(dict(site.globus.environment, GLOBUS_SDK_SERVICE_URL_TRANSFER=url))
        done = down.run("task", "list", expect=1, within_s=60)
    assert "NetworkError" in done.stderr or "Connection" in done.stderr, done.stderr


def test_without_and_with_a_useless_credential(
    site: Site, domain_a: Domain, tmp_path: Path, server_a: GctServer
) -> None:
    added = json.loads(
        site.deployment.towpath(
            "endpoint",
            "add",
            "bare",
            f"gsiftp://localhost:{server_a.port}",
            "--trust-dir",
            str(domain_a.trust_dir),
            "--format",
            "json",
        )
    )
    assert "towpath credential add" in site.globus.fails("ls", f"{added['id']}:/")
    useless = tmp_path / "proxy.pem"
    useless.write_bytes(domain_a.credential.chain_pem)
    with pytest.raises(Exception, match="private key"):
        site.deployment.towpath("credential", "add", "bare", "--proxy", str(useless))
    site.deployment.towpath("credential", "add", "bare", "--proxy", str(domain_a.proxy_file))
    site.globus.run("ls", f"{added['id']}:/")


def test_sharing_as_the_page_tells(site: Site, tree: Path) -> None:
    """`docs/how-to/share-data.md`, by its owner; and the list and removal of rules and roles."""
    friend = str(uuid4())
    blocks = _RUN.findall(_SHARE_DATA.read_text())
    assert len(blocks) > 3
    script = "set -euo pipefail\n" + "".join(blocks).replace("/data/run-7/", f"{tree}/")
    done = subprocess.run(
        ["bash", "-c", f'{script}\necho "guest $GUEST"'],
        env=site.globus.environment
        | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOST": site.a,
            "FRIEND": friend,
        },
        capture_output=True,
        text=True,
        timeout=TASK_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    guest = done.stdout.rpartition("guest ")[2].strip()
    globus = site.globus
    shown = globus.json("endpoint", "show", guest)
    assert (shown["entity_type"], shown["host_path"]) == ("GCSv4_share", f"{tree}/")
    rules = globus.json("endpoint", "permission", "list", guest)["DATA"]
    assert [one["id"] is None for one in rules] == [True, True, False, False]
    assert [one["role_type"] for one in rules[:2]] == ["administrator", "access_manager"]
    one = rules[2]["id"]
    globus.run("endpoint", "permission", "update", guest, one, "--permissions", "rw")
    assert globus.json("endpoint", "permission", "show", guest, one)["permissions"] == "rw"
    globus.run("endpoint", "permission", "delete", guest, one)
    everybody = ("--all-authenticated", "--permissions", "r", "--expiration-date", "2099-01-31")
    globus.run("endpoint", "permission", "create", f"{guest}:/results", *everybody)
    [role] = globus.json("endpoint", "role", "list", guest)["DATA"]
    assert globus.json("endpoint", "role", "show", guest, role["id"])["principal"] == friend
    globus.run("endpoint", "role", "delete", guest, role["id"])
    mine = globus.json("endpoint", "my-shared-endpoint-list", site.a)["DATA"]
    assert [found["id"] for found in mine] == [guest]
    globus.run("endpoint", "delete", guest)


def test_no_secret_in_the_logs(site: Site) -> None:
    secret = site.globus.environment["GLOBUS_CLI_CLIENT_SECRET"]
    logs = list((site.deployment.data_dir / "log").iterdir())
    assert logs
    for log in logs:
        text = log.read_text()
        assert secret not in text
        assert "PRIVATE KEY" not in text
        assert "Bearer " not in text
