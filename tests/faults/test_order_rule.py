"""One file of a pipelined run of 200 cannot be moved: no other file gets a wrong byte (spec 5.3).

All files are of one size, so that a file with another's bytes is seen by its content only.
"""

from pathlib import Path

import pytest

from plugins.outcomes import details_of
from plugins.site import SITE_GROUP, Site, until
from towpath.demo.gct import GctServer
from towpath.demo.trees import digests, make_tree, uniform

pytestmark = SITE_GROUP
TREE = list(uniform(1, 200, 3000))
BLOCKED = "d0000/f0099"


def others_arrive(site: Site, task_id: str, source: dict[str, str], destination: Path) -> None:
    """All but one file get there, each with its own bytes, while the fault lasts."""
    until(
        lambda: site.deployment.task(task_id)["files_transferred"] == len(TREE) - 1,
        30,
        "all other files arrived",
    )
    # nothing stands for the file that failed, between one try and the next
    until(lambda: not (destination / BLOCKED).is_file(), 10, "what the failure left is removed")
    arrived = digests(destination)
    assert arrived == {path: digest for path, digest in source.items() if path != BLOCKED}
    assert site.deployment.task(task_id)["status"] == "ACTIVE"


def assert_ends_well(site: Site, task_id: str, source: dict[str, str], destination: Path) -> None:
    task = site.deployment.wait(task_id, 40)
    assert task["status"] == "SUCCEEDED"
    assert task["files_transferred"] == len(TREE)
    assert digests(destination) == source
    site.assert_well()


@pytest.mark.parametrize("verify", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_destination_path_is_taken(site: Site, tmp_path: Path, verify: bool) -> None:
    source, destination = tmp_path / "src", tmp_path / "dst"
    make_tree(source, TREE, seed=1)
    expected = digests(source)
    in_the_way = destination / BLOCKED
    in_the_way.mkdir(parents=True)
    task_id = site.copy(source, destination, verify_checksum=verify)
    others_arrive(site, task_id, expected, destination)
    details = details_of(site.deployment, task_id, "IS_A_DIRECTORY")[0]
    assert details["path"] == str(in_the_way)
    assert details["role"] == "destination"
    assert details["advice"]
    assert "tried again" in details["next"]
    in_the_way.rmdir()
    assert_ends_well(site, task_id, expected, destination)


@pytest.mark.parametrize("verify", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_source_file_cannot_be_read(
    site: Site, open_tmp_path: Path, unprivileged_server: GctServer, verify: bool
) -> None:
    source, destination = open_tmp_path / "src", open_tmp_path / "dst"
    make_tree(source, TREE, seed=2)
    expected = digests(source)
    closed = source / BLOCKED
    closed.chmod(0)
    here = site.register(unprivileged_server.url(""), site.rig.domains[0])
    task_id = site.deployment.transfer(
        here, site.endpoints[1], [(str(source), str(destination), True)], verify_checksum=verify
    )
    others_arrive(site, task_id, expected, destination)
    details = details_of(site.deployment, task_id, "PERMISSION_DENIED")[0]
    assert details["path"] == str(closed)
    assert details["role"] == "source"
    assert details["advice"]
    assert "tried again" in details["next"]
    closed.chmod(0o644)
    assert_ends_well(site, task_id, expected, destination)


@pytest.mark.parametrize("verify", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_missing_source_fails_the_task_and_spoils_nothing(
    site: Site, tmp_path: Path, verify: bool
) -> None:
    """A window of a thousand files is on its way when one of them turns out to be gone."""
    source, destination = tmp_path / "src", tmp_path / "dst"
    tree = list(uniform(10, 200, 3000))
    make_tree(source, tree, seed=3)
    expected = digests(source)
    task_id = site.copy(source, destination, verify_checksum=verify)
    until(lambda: site.deployment.task(task_id)["files_transferred"] > 0, 20, "it has begun")
    for path in sorted(expected)[5::100]:
        (source / path).unlink()
    task = site.deployment.wait(task_id, 60)
    arrived = digests(destination)
    assert task["status"] == "FAILED"
    assert task["fatal_error"]["code"] == "FILE_NOT_FOUND"
    assert task["files_transferred"] <= len(arrived)
    assert {path: digest for path, digest in arrived.items() if digest != expected[path]} == {}
    site.assert_well()


def test_a_directory_that_cannot_be_listed_does_not_hold_up_the_others(
    site: Site, open_tmp_path: Path, unprivileged_server: GctServer
) -> None:
    source, destination = open_tmp_path / "src", open_tmp_path / "dst"
    tree = list(uniform(5, 20, 1000))
    make_tree(source, tree, seed=4)
    expected = digests(source)
    closed = source / "d0003"
    closed.chmod(0)
    here = site.register(unprivileged_server.url(""), site.rig.domains[0])
    task_id = site.deployment.transfer(
        here, site.endpoints[1], [(str(source), str(destination), True)]
    )
    until(
        lambda: site.deployment.task(task_id)["files_transferred"] == len(tree) - 20,
        30,
        "all other directories arrived",
    )
    details = details_of(site.deployment, task_id, "PERMISSION_DENIED")[0]
    assert details["path"] == str(closed)
    assert details["advice"]
    closed.chmod(0o755)
    task = site.deployment.wait(task_id, 40)
    assert task["status"] == "SUCCEEDED"
    assert digests(destination) == expected
    site.assert_well()
