"""I9 against a naive model: whatever tasks claim, begin and end, each path has one writer."""

from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from plugins.world import STORAGE, World
from towpath.transfer.claims import Claim, claim, reduced
from towpath.transfer.store.leases import Grant

OWNERS = [uuid4(), uuid4()]
NAMES = st.sampled_from(["a", "a-", "a0", "b"])
PATHS = st.lists(NAMES, max_size=3).map(lambda parts: "/" + "/".join(parts))
CLAIMS = st.lists(
    st.builds(lambda path, is_tree: claim(path, is_tree=is_tree), PATHS, st.booleans()),
    min_size=1,
    max_size=4,
)
STORAGES = st.sampled_from([STORAGE, "other.example.org:2811"])


def components(one: Claim) -> list[bytes]:
    return [part for part in one.path.split(b"/") if part]


def overlap(one: Claim, other: Claim) -> bool:
    """Component by component, without any trick."""
    mine, theirs = components(one), components(other)
    return (
        mine == theirs
        or (one.is_tree and theirs[: len(mine)] == mine)
        or (other.is_tree and mine[: len(theirs)] == theirs)
    )


class Model:
    """What a task wants, and where it stands."""

    def __init__(self, owner: UUID, task_id: UUID, storage: str, wanted: list[Claim]) -> None:
        self.owner = owner
        self.id = task_id
        self.storage = storage
        self.wanted = wanted

    def in_the_way_of(self, other: "Model") -> bool:
        return self.storage == other.storage and any(
            overlap(mine, theirs) for mine in self.wanted for theirs in other.wanted
        )


class Claims(RuleBasedStateMachine):
    """Tasks with random items; the worker admits all that may run."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.world.reset()
        self.tasks: dict[int, Model] = {}
        self.queue: list[int] = []  # those that claimed, in order
        self.ended: set[int] = set()
        self.grants: dict[int, Grant] = {}  # those that run
        self.waits: dict[int, int] = {}

    def unfinished(self) -> list[int]:
        return [no for no in self.queue if no not in self.ended]

    def ahead_of(self, task_no: int) -> list[int]:
        """Who goes first, by the model."""
        earlier = self.unfinished()
        if task_no in earlier:
            earlier = earlier[: earlier.index(task_no)]
        return [no for no in earlier if self.tasks[no].in_the_way_of(self.tasks[task_no])]

    @rule(owner=st.sampled_from(OWNERS), storage=STORAGES, wanted=CLAIMS)
    def submit(self, owner: UUID, storage: str, wanted: list[Claim]) -> None:
        task_no, task_id = self.world.submit(owner)
        self.tasks[task_no] = Model(owner, task_id, storage, wanted)

    @rule(limit=st.integers(1, 3))
    def admit(self, limit: int) -> None:
        for grant in self.world.admit(limit=limit):
            self.begin(grant)

    def begin(self, grant: Grant) -> None:
        no = grant.task_no
        held_up = self.waits.get(no)
        assert held_up is None or held_up in self.ended, "granted although it still waits"
        model = self.tasks[no]
        ahead = self.ahead_of(no)
        wait = self.world.claim(grant, reduced(model.wanted), model.storage)
        if no not in self.queue:
            self.queue.append(no)
        self.waits.pop(no, None)
        if not ahead:
            assert wait is None
            self.grants[no] = grant
            return
        assert wait is not None, f"{no} runs beside {ahead}"
        holder = self.tasks[ahead[-1]]
        mine = holder.owner == model.owner
        assert wait.task_id == (holder.id if mine else None)
        assert (wait.label, wait.state is not None) == (("l", True) if mine else (None, False))
        assert any(
            overlap(claim(wait.path, is_tree=theirs.is_tree), own)
            for own in model.wanted
            for theirs in holder.wanted
        )
        self.waits[no] = ahead[-1]

    @precondition(lambda self: self.grants)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        no = data.draw(st.sampled_from(sorted(self.grants)))
        self.world.finish(self.grants.pop(no))
        self.ended.add(no)

    @precondition(lambda self: self.grants)
    @rule(data=st.data())
    def taken_over(self, data: st.DataObject) -> None:
        """The lease ends; whoever comes next finds the claims made."""
        no = data.draw(st.sampled_from(sorted(self.grants)))
        del self.grants[no]
        self.world.sql("UPDATE task SET lease_until = now() WHERE task_no = %s", no)
        # It is granted anew, perhaps with others.
        while no not in self.grants:
            (grant,) = self.world.admit(limit=1)
            self.begin(grant)

    @invariant()
    def one_writer_each(self) -> None:
        running = [self.tasks[no] for no in self.grants]
        assert not any(
            one.in_the_way_of(other) for one in running for other in running if one is not other
        )

    def teardown(self) -> None:
        """When those that run end, one after the other, all others come to run."""
        for _ in range(len(self.tasks) - len(self.ended)):
            for grant in self.world.admit():
                self.begin(grant)
            assert self.grants, "tasks wait and nobody runs"
            no = min(self.grants)
            self.world.finish(self.grants.pop(no))
            self.ended.add(no)
        assert self.ended == self.tasks.keys()
        self.world.write(self.nothing_is_claimed)

    async def nothing_is_claimed(self, conn: object) -> None:
        row = await (await conn.execute("SELECT count(*) AS n FROM claim")).fetchone()  # type: ignore[attr-defined]
        assert row == {"n": 0}


@pytest.mark.parametrize("examples", [20, pytest.param(400, marks=pytest.mark.long)])
def test_one_writer_for_each_path_and_everyone_gets_a_turn(
    database_url: str, examples: int
) -> None:
    with World(database_url) as world:
        run_state_machine_as_test(
            type("Machine", (Claims,), {"world": world}),
            settings=settings(
                max_examples=examples,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
