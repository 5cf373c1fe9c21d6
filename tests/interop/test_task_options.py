"""Options of transfers and deletes that no other test is about, with real servers."""

import os
import re
from pathlib import Path

import pytest

from plugins.outcomes import delete, succeeded, transferred
from plugins.site import SITE_GROUP, Site
from towpath.demo.gct import GctServer
from towpath.demo.trees import digests, make_tree, uniform

pytestmark = SITE_GROUP
TREE = list(uniform(2, 3, 1000))
OLD = 1_600_000_000


@pytest.mark.parametrize("verify", [True, False])
def test_verification_and_its_algorithm(site: Site, tmp_path: Path, verify: bool) -> None:
    make_tree(tmp_path / "src", TREE, seed=1)
    item = {
        "source_path": str(tmp_path / "src"),
        "destination_path": str(tmp_path / "dst"),
        "checksum_algorithm": "SHA256",
    }
    task_id = site.deployment.transfer(*site.endpoints, [], DATA=[item], verify_checksum=verify)
    task = succeeded(site.deployment, task_id)
    assert task["verify_checksum"] is verify
    assert task["bytes_checksummed"] == (6000 if verify else 0)
    assert 0 < task["effective_bytes_per_second"] <= task["bytes_transferred"] == 6000
    assert task["request_time"] <= task["completion_time"]
    told = {one["source_path"]: one["checksum"] for one in transferred(site.deployment, task_id)}
    expected = digests(tmp_path / "src")
    assert told == {
        str(tmp_path / "src" / path): digest if verify else None
        for path, digest in expected.items()
    }
    assert digests(tmp_path / "dst") == expected


@pytest.mark.parametrize("preserve", [True, False])
def test_times_of_files(site: Site, tmp_path: Path, preserve: bool) -> None:
    make_tree(tmp_path / "src", TREE, seed=2)
    for path in tmp_path.rglob("f*"):
        os.utime(path, (OLD, OLD))
    succeeded(
        site.deployment, site.copy(tmp_path / "src", tmp_path / "dst", preserve_timestamp=preserve)
    )
    times = {path.stat().st_mtime for path in (tmp_path / "dst").rglob("f*")}
    assert (times == {OLD}) is preserve


@pytest.mark.parametrize("encrypt", [True, False])
def test_data_is_encrypted_if_asked_for(site: Site, tmp_path: Path, encrypt: bool) -> None:
    """The source server tells how its data channel is protected."""
    domain = site.rig.domains[0]
    make_tree(tmp_path / "src", TREE, seed=3)
    with GctServer.start(domain, tmp_path / "server", args=("-d", "ALL")) as server:
        here = site.register(server.url(""), domain)
        item = (str(tmp_path / "src"), str(tmp_path / "dst"), True)
        succeeded(
            site.deployment,
            site.deployment.transfer(here, site.endpoints[1], [item], encrypt_data=encrypt),
        )
        log = (server.workdir / "server.log").read_text(errors="replace")
    assert digests(tmp_path / "dst") == digests(tmp_path / "src")
    assert bool(re.search(r"\[CLIENT\]: PROT P", log)) is encrypt


def test_what_an_item_is(site: Site, tmp_path: Path) -> None:
    """Found out where the item does not say; held against what is there where it does."""
    make_tree(tmp_path / "src", TREE, seed=4)
    file, tree = tmp_path / "src" / "d0000" / "f0000", tmp_path / "src"
    items: list[tuple[str, str, bool | None]] = [
        (str(file), str(tmp_path / "new" / "file"), None),
        (str(tree), str(tmp_path / "new" / "tree"), None),
    ]
    task = succeeded(site.deployment, site.deployment.transfer(*site.endpoints, items))
    assert (task["files"], task["directories"]) == (7, 3)
    assert (tmp_path / "new" / "file").read_bytes() == file.read_bytes()
    assert digests(tmp_path / "new" / "tree") == digests(tree)
    for path, recursive, code in ((file, True, "NOT_A_DIRECTORY"), (tree, False, "IS_A_DIRECTORY")):
        wrong = [(str(path), str(tmp_path / "wrong"), recursive)]
        task = site.deployment.wait(site.deployment.transfer(*site.endpoints, wrong), 30)
        assert (task["status"], task["fatal_error"]["code"]) == ("FAILED", code)


def test_a_directory_merges_with_what_is_there(site: Site, tmp_path: Path) -> None:
    make_tree(tmp_path / "src", TREE, seed=5)
    (tmp_path / "dst" / "d0000").mkdir(parents=True)
    (tmp_path / "dst" / "d0000" / "other").write_text("stays")
    (tmp_path / "dst" / "d0000" / "f0000").write_text("is replaced")
    succeeded(site.deployment, site.copy(tmp_path / "src", tmp_path / "dst"))
    (tmp_path / "src" / "d0000" / "other").write_text("stays")
    assert digests(tmp_path / "dst") == digests(tmp_path / "src")


def test_deletes(site: Site, tmp_path: Path) -> None:
    make_tree(tmp_path / "tree", TREE, seed=7)
    (tmp_path / "tree" / "link").symlink_to(tmp_path)
    files = tmp_path / "files"
    make_tree(files, uniform(1, 4, 10), seed=8)
    few = [files / "d0000" / "f0000", files / "d0000" / "f000[12]"]
    here = (site.deployment, site.endpoints[0])
    task = succeeded(site.deployment, delete(*here, *few, interpret_globs=True))
    assert (task["type"], task["files"], task["directories"]) == ("DELETE", 3, 0)
    assert [path.name for path in files.rglob("f*")] == ["f0003"]
    task = succeeded(site.deployment, delete(*here, tmp_path / "tree", recursive=True))
    assert (task["files"], task["directories"]) == (7, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["files"], "a link's target stays"


def test_deletes_that_cannot_be(site: Site, tmp_path: Path) -> None:
    (tmp_path / "literal*").write_text("")
    (tmp_path / "literally").write_text("")
    here = (site.deployment, site.endpoints[0])
    succeeded(site.deployment, delete(*here, tmp_path / "literal*"))
    assert [path.name for path in tmp_path.iterdir()] == ["literally"]
    succeeded(site.deployment, delete(*here, tmp_path / "none", ignore_missing=True))
    for path, code in ((tmp_path / "none", "FILE_NOT_FOUND"), (tmp_path, "IS_A_DIRECTORY")):
        task = site.deployment.wait(delete(*here, path), 30)
        assert (task["status"], task["fatal_error"]["code"]) == ("FAILED", code)
    site.assert_well()
