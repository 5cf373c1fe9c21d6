"""`external_checksum` and `checksum_algorithm` of items, between two real servers."""

import hashlib
import os
import zlib
from pathlib import Path
from typing import Any

import pytest

from plugins.outcomes import faults_of
from plugins.peers import gsi_server, serving
from plugins.site import SITE_GROUP, Site, until
from towpath.demo.trees import TreeFile, make_tree
from towpath.transfer.store.plan import LARGE_FILE_BYTES

pytestmark = SITE_GROUP

ALGORITHMS = ("MD5", "SHA1", "SHA256", "SHA512", "ADLER32")
SMALL_ADLER = b"\0"
"""Its ADLER32 begins with zeros."""


def digest(path: Path, algorithm: str) -> str:
    if algorithm == "ADLER32":
        return f"{zlib.adler32(path.read_bytes()):08x}"
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm.lower()).hexdigest()


def item(source: Path, destination: Path, **more: Any) -> dict[str, Any]:
    return {"source_path": str(source), "destination_path": str(destination), **more}


def submit(site: Site, items: list[dict[str, Any]], **options: Any) -> str:
    return site.deployment.transfer(*site.endpoints, [], DATA=items, **options)


def end(site: Site, task_id: str) -> dict[str, Any]:
    task = site.deployment.wait(task_id, 60)
    site.assert_well()
    return task


def successes(site: Site, task_id: str) -> dict[str, tuple[str | None, str | None]]:
    page = site.deployment.get(f"task/{task_id}/successful_transfers")
    return {
        Path(one["destination_path"]).name: (one["checksum_algorithm"], one["checksum"])
        for one in page["DATA"]
    }


@pytest.mark.parametrize("verify", [True, False])
def test_every_algorithm_in_one_task(site: Site, tmp_path: Path, verify: bool) -> None:
    items, expected = [], {}
    for content in (SMALL_ADLER, b"towpath" * 1000):
        for algorithm in ALGORITHMS:
            source = tmp_path / f"{len(content)}-{algorithm}"
            source.write_bytes(content)
            name = f"to-{source.name}"
            known = digest(source, algorithm)
            expected[name] = (algorithm, known)
            items.append(
                item(
                    source,
                    tmp_path / name,
                    external_checksum=known.upper(),
                    checksum_algorithm=algorithm,
                )
            )
    plain = item(
        tmp_path / "1-MD5", tmp_path / "md5", external_checksum=digest(tmp_path / "1-MD5", "MD5")
    )
    expected["md5"] = ("MD5", plain["external_checksum"])
    task_id = submit(site, [*items, plain], verify_checksum=verify)
    task = end(site, task_id)
    assert task["status"] == "SUCCEEDED", site.deployment.events(task_id)
    assert task["faults"] == 0
    assert successes(site, task_id) == expected
    assert task["bytes_checksummed"] == task["bytes_transferred"]


def test_items_verify_by_their_own_algorithms(site: Site, tmp_path: Path) -> None:
    make_tree(tmp_path / "tree", [TreeFile("a", 10), TreeFile("b", 2000)], seed=1)
    items = [
        item(tmp_path / "tree", tmp_path / "to", recursive=True, checksum_algorithm="SHA-512"),
        item(tmp_path / "tree" / "a", tmp_path / "adler", checksum_algorithm="adler32"),
    ]
    task_id = submit(site, items)
    assert end(site, task_id)["status"] == "SUCCEEDED"
    assert successes(site, task_id) == {
        "a": ("SHA512", digest(tmp_path / "tree" / "a", "SHA512")),
        "b": ("SHA512", digest(tmp_path / "tree" / "b", "SHA512")),
        "adler": ("ADLER32", digest(tmp_path / "tree" / "a", "ADLER32")),
    }
    task_id = submit(site, items, verify_checksum=False)
    assert end(site, task_id)["status"] == "SUCCEEDED"
    assert set(successes(site, task_id).values()) == {(None, None)}


def test_without_an_algorithm_the_servers_fastest_is_used(site: Site, tmp_path: Path) -> None:
    make_tree(tmp_path, [TreeFile("a", 10)], seed=1)
    task_id = submit(site, [item(tmp_path / "a", tmp_path / "b")])
    assert end(site, task_id)["bytes_checksummed"] == 10
    assert successes(site, task_id) == {"b": ("SHA256", digest(tmp_path / "a", "SHA256"))}


@pytest.mark.parametrize(
    ("size", "verify"),
    [(0, True), (5000, True), (5000, False), (LARGE_FILE_BYTES + 5, False)],
)
def test_another_file_than_expected(site: Site, tmp_path: Path, size: int, verify: bool) -> None:
    """It fails at once, and the wrong file does not stay."""
    source, destination = tmp_path / "source", tmp_path / "destination"
    make_tree(tmp_path, [TreeFile("source", size)], seed=2)
    destination.write_text("what was there")
    wrong = hashlib.sha256(b"something else").hexdigest()
    expected = item(source, destination, external_checksum=wrong, checksum_algorithm="SHA256")
    task_id = submit(site, [expected], verify_checksum=verify)
    task = end(site, task_id)
    assert (task["status"], task["faults"]) == ("FAILED", 1)
    assert task["fatal_error"]["code"] == "EXTERNAL_CHECKSUM_MISMATCH"
    [(code, details)] = faults_of(site.deployment, task_id)
    assert code == "EXTERNAL_CHECKSUM_MISMATCH"
    assert details["path"] == str(destination)
    assert (details["expected"], details["found"]) == (wrong, digest(source, "SHA256"))
    assert "removed" in details["next"]
    assert details["advice"]
    assert not destination.exists()
    assert successes(site, task_id) == {}
    assert task["bytes_transferred"] == task["files_transferred"] == 0


def test_a_large_file_that_is_as_expected(site: Site, tmp_path: Path) -> None:
    make_tree(tmp_path, [TreeFile("source", LARGE_FILE_BYTES + 5)], seed=3)
    known = digest(tmp_path / "source", "MD5")
    wanted = item(tmp_path / "source", tmp_path / "destination", external_checksum=known)
    task_id = submit(site, [wanted], verify_checksum=False)
    task = end(site, task_id)
    assert task["status"] == "SUCCEEDED", site.deployment.events(task_id)
    assert successes(site, task_id) == {"destination": ("MD5", known)}
    assert task["bytes_transferred"] == LARGE_FILE_BYTES + 5


def test_one_wrong_file_of_many(site: Site, tmp_path: Path) -> None:
    """Whatever else was under way is whole, or not there."""
    make_tree(tmp_path / "src", [TreeFile(f"f{n}", 2000) for n in range(300)], seed=4)
    (tmp_path / "dst").mkdir()
    items = [
        item(
            path,
            tmp_path / "dst" / path.name,
            external_checksum="0" * 32 if path.name in ("f7", "f207") else digest(path, "MD5"),
        )
        for path in sorted((tmp_path / "src").iterdir())
    ]
    task_id = submit(site, items)
    task = end(site, task_id)
    assert task["fatal_error"]["code"] == "EXTERNAL_CHECKSUM_MISMATCH"
    for path in (tmp_path / "dst").iterdir():
        assert path.name not in ("f7", "f207")
        assert path.read_bytes() == (tmp_path / "src" / path.name).read_bytes()
    assert task["files_transferred"] == len(list((tmp_path / "dst").iterdir()))


def test_a_directory_has_no_external_checksum(site: Site, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    task_id = submit(site, [item(tmp_path / "tree", tmp_path / "to", external_checksum="0" * 32)])
    task = end(site, task_id)
    assert task["fatal_error"]["code"] == "IS_A_DIRECTORY"
    [(_, details)] = faults_of(site.deployment, task_id)
    assert "external checksum is of a file" in details["error"]
    assert not (tmp_path / "to").exists()


def test_level_3_compares_what_is_there_with_the_external_checksum(
    site: Site, tmp_path: Path
) -> None:
    """Of equal size and newer: only a digest tells that one is not the right one. What is right is
    not replaced, whatever its source has become."""
    right, wrong = b"right" * 100, b"wrong" * 100
    known = hashlib.md5(right, usedforsecurity=False).hexdigest()
    items = []
    for name, here, there in (
        ("equal", right, right),
        ("other", right, wrong),
        ("kept", wrong, right),
    ):
        source, destination = tmp_path / f"source-{name}", tmp_path / name
        source.write_bytes(here)
        destination.write_bytes(there)
        os.utime(destination, (4_000_000_000, 4_000_000_000))
        items.append(item(source, destination, external_checksum=known))
    skipped = end(site, submit(site, items, sync_level=2))
    assert (skipped["files_transferred"], skipped["files_skipped"]) == (0, 3)
    task_id = submit(site, items, sync_level=3)
    task = end(site, task_id)
    assert (task["files_transferred"], task["files_skipped"]) == (1, 2)
    assert successes(site, task_id) == {"other": ("MD5", known)}
    assert (tmp_path / "other").read_bytes() == right


def test_skipped_errors_tell_the_checksum(site: Site, tmp_path: Path) -> None:
    known = "ab" * 20
    items = [
        item(
            tmp_path / "missing",
            tmp_path / "to",
            external_checksum=known,
            checksum_algorithm="SHA1",
        ),
        item(tmp_path / "gone", tmp_path / "to2"),
    ]
    task_id = submit(site, items, skip_source_errors=True)
    assert end(site, task_id)["status"] == "SUCCEEDED"
    page = site.deployment.get(f"task/{task_id}/skipped_errors")
    told = {
        Path(one["source_path"]).name: (one["external_checksum"], one["checksum_algorithm"])
        for one in page["DATA"]
    }
    assert told == {"missing": (known, "SHA1"), "gone": (None, None)}


def test_an_algorithm_that_a_server_does_not_offer(site: Site, tmp_path: Path) -> None:
    domain = site.rig.domains[1]
    (tmp_path / "source").write_text("x")
    high, low = divmod(site.rig.source.port, 256)
    answers = {
        "FEAT": "211-Extensions supported\r\n DCSC P,D\r\n CKSM SHA256:1;\r\n211 End.",
        "PASV": f"227 Entering Passive Mode (127,0,0,1,{high},{low})",
    }
    with serving(gsi_server(domain, answers)) as peer:
        there = site.register(peer.url, domain)
        expected = item(tmp_path / "source", Path("/to"), external_checksum="0" * 32)
        task_id = site.deployment.transfer(
            site.endpoints[0], there, [], DATA=[expected], verify_checksum=False
        )
        until(lambda: faults_of(site.deployment, task_id), 15, "it is told")
        site.deployment.post(f"task/{task_id}/cancel", {})
        site.deployment.wait(task_id, 30)
    code, details = faults_of(site.deployment, task_id)[0]
    assert code == "ENDPOINT_ERROR"
    assert "MD5" in details["error"]
    assert "tried again" in details["next"]
