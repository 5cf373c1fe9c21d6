"""Claims in the database: what is told of whom, storages, and a hundred thousand items."""

import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

from plugins.world import World
from towpath.transfer.claims import claim, reduced

OWNER, OTHER = uuid4(), uuid4()
TREE = [claim("/data/run", is_tree=True)]


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with World(database_url) as made:
        yield made


def test_of_another_users_task_nothing_is_told(world: World) -> None:
    tasks = [world.submit(owner) for owner in (OWNER, OTHER, OWNER)]
    first, second, third = world.admit()
    assert world.claim(first, TREE) is None
    foreign = world.claim(second, [claim("/data/run/x", is_tree=False)])
    assert foreign is not None
    assert foreign.details() == {
        "path": "/data/run/x",
        "task": "another user's",
        "reason": "An earlier task writes or deletes here; one at a time may.",
        "next": "It goes on by itself when that task has ended.",
        "advice": "Nothing needs to be done.",
    }
    own = world.claim(third, [claim("/data/run/y", is_tree=True)])
    assert own is not None
    assert (own.task_id, own.label, own.state) == (tasks[0][1], "l", "active")
    # The path is always the one who waits's own: what others write below is theirs to know.
    world.submit(OTHER)
    (fourth,) = world.admit()
    above = world.claim(fourth, [claim("/data", is_tree=True)])
    assert above is not None
    assert above.path == "/data"


def test_a_waiting_task_is_passed_over_until_the_other_has_ended(world: World) -> None:
    for _ in range(2):
        world.submit(OWNER)
    first, second = world.admit()
    assert world.claim(first, TREE) is None
    assert world.claim(second, TREE) is not None
    assert world.admit() == []
    world.finish(first)
    (again,) = world.admit()
    assert again.task_no == second.task_no
    assert world.claim(again, TREE) is None


def test_workers_hear_of_the_end_only_if_somebody_waits(world: World) -> None:
    for _ in range(3):
        world.submit(OWNER)
    first, second, third = world.admit()
    assert world.claim(first, TREE) is None
    assert world.claim(second, TREE) is not None
    assert world.claim(third, [claim("/elsewhere", is_tree=True)]) is None
    assert world.heard_during(lambda: world.finish(third)) == []
    assert world.heard_during(lambda: world.finish(first)) == [""]


def test_claims_go_with_the_endpoint_to_another_server(world: World) -> None:
    for _ in range(2):
        world.submit(OWNER)
    first, second = world.admit()
    assert world.claim(first, TREE, "new:2811") is None
    assert world.claim(second, TREE, "old:2811") is None
    assert world.claim(second, TREE, "new:2811") is not None
    assert world.admit() == []


@pytest.mark.parametrize("deep", [False, True])
def test_a_hundred_thousand_items_are_claimed_in_a_moment(world: World, deep: bool) -> None:
    """The lease's row is locked meanwhile, and a lease is usable for ten seconds."""
    for _ in range(2):
        world.submit(OWNER)
    paths = [f"/{i % 317}/{i}/x" if deep else f"/data/{i}" for i in range(100_000)]
    wanted = reduced([claim(path, is_tree=True) for path in paths])
    first, second = world.admit()
    began = time.monotonic()
    assert world.claim(first, wanted) is None
    assert world.claim(second, wanted[-1:]) is not None
    assert time.monotonic() - began < 5, "a third of a second, or one and a half"


def test_of_a_collection_the_path_is_told_as_its_users_know_it(world: World) -> None:
    for _ in range(2):
        world.submit(OWNER)
    first, second = world.admit()
    base = "UPDATE endpoint SET base_path = '/srv/lab'"
    world.sql(base)
    try:
        assert world.claim(first, [claim("/srv/lab/run", is_tree=True)]) is None
        waits = world.claim(second, [claim("/srv/lab/run/x", is_tree=False)])
    finally:
        world.sql("UPDATE endpoint SET base_path = NULL")
    assert waits is not None
    assert waits.path == "/run/x"
