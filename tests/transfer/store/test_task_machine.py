"""The life of tasks against a model: whatever their owners, workers and the clock do, in any order.

The model says for each task who may act for it and whether it would be granted a lease now; after
every step the database must say the same.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from plugins.world import World
from towpath.transfer.claims import Claim, claim
from towpath.transfer.store.leases import Grant, LeaseLostError
from towpath.transfer.store.tasks import Status

OWNERS = [uuid4(), uuid4()]
WORKERS = st.sampled_from(["w1", "w2"])
PATHS = st.sampled_from(["/a", "/a/b", "/c"])
DAY_S = 86_400
# What the clock and not the store changes in a row.
DERIVED = {"leased", "due", "left_s"}


@dataclass
class Model:
    """A task as it should be."""

    id: UUID
    owner: UUID
    deadline_given: bool
    wanted: list[Claim]
    told: int = field(default=0, kw_only=True)
    """How often its owner was told of its end, or that it waits for him."""
    status: Status = Status.ACTIVE
    epoch: int = 0
    cancel: bool = False
    expired: bool = False
    paused: bool = False
    paused_at: datetime | None = None
    backs_off: bool = False
    waits_for: int | None = None
    worker: str | None = None
    grant: Grant | None = None
    began_with: list[datetime] | None = None  # dates of credentials, of a task that runs
    renewed: bool = False  # a credential, since it began
    row: dict[str, Any] = field(default_factory=dict)  # when it had ended

    @property
    def ended(self) -> bool:
        return self.status in (Status.SUCCEEDED, Status.FAILED)

    @property
    def runs(self) -> bool:
        return self.began_with is not None

    @property
    def must_end(self) -> bool:
        return self.cancel or self.expired


class Life(RuleBasedStateMachine):
    """Each rule is something that somebody does, and what follows from it."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.world.reset()
        self.tasks: dict[int, Model] = {}
        self.stale: list[Grant] = []

    # What is, by the model.

    def may_be_granted(self, task: Model) -> bool:
        if task.ended or task.grant is not None:
            return False
        waits = task.waits_for is not None and not self.tasks[task.waits_for].ended
        goes_on = task.status is Status.ACTIVE and not (task.paused or task.backs_off or waits)
        return task.must_end or goes_on

    def lost(self, task: Model) -> None:
        task.worker = task.grant = task.began_with = None

    def pick(self, data: st.DataObject, *, runs: bool | None = None) -> Model:
        """One of all tasks, or of those with a lease that run, or have not begun."""
        return data.draw(st.sampled_from(self.having(runs)))

    def having(self, runs: bool | None) -> list[Model]:
        return [
            task
            for task in self.tasks.values()
            if runs is None or (task.grant is not None and task.runs is runs)
        ]

    # What the owner does.

    @initialize()
    def begin_with_some(self) -> None:
        """Most of what can happen needs a task that runs."""
        for owner, path in zip([*OWNERS, *OWNERS], ["/a", "/a/b", "/c", "/d"], strict=True):
            self.submit(owner, owner is OWNERS[0], path)
        self.admit_and_begin("w1")

    @rule(owner=st.sampled_from(OWNERS), deadline_given=st.booleans(), path=PATHS)
    def submit(self, owner: UUID, deadline_given: bool, path: str) -> None:
        task_no, task_id = self.world.submit(owner, deadline_given=deadline_given)
        self.tasks[task_no] = Model(task_id, owner, deadline_given, [claim(path, is_tree=True)])

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), resume=st.booleans())
    def pause_or_resume(self, data: st.DataObject, resume: bool) -> None:
        task = self.pick(data)
        assert self.world.pause(task.owner, task.id, resume=resume) is not task.ended
        if not task.ended and task.paused is resume:
            task.paused, task.backs_off = not resume, False
            task.expired &= task.deadline_given

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        task = self.pick(data)
        assert self.world.cancel(task.owner, task.id) is not task.ended
        if not task.ended:
            task.cancel, task.status, task.backs_off = True, Status.ACTIVE, False

    @rule(owner=st.sampled_from(OWNERS))
    def renew_credential(self, owner: UUID) -> None:
        self.world.renew_credential(owner)
        for task in self.tasks.values():
            if task.owner == owner and not task.ended:
                task.status, task.backs_off, task.renewed = Status.ACTIVE, False, True

    # What the clock does.

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def deadline_passes(self, data: st.DataObject) -> None:
        task = self.pick(data)
        if not task.ended:
            self.world.sql("UPDATE task SET deadline = now() WHERE id = %s", task.id)
            task.expired = True

    @rule()
    def back_off_is_over(self) -> None:
        self.world.sql("UPDATE task SET not_before = now() WHERE status IN ('ACTIVE', 'INACTIVE')")
        for task in self.tasks.values():
            task.backs_off = False

    @precondition(lambda self: self.having(runs=True) + self.having(runs=False))
    @rule(data=st.data())
    def lease_runs_out(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self.having(runs=True) + self.having(runs=False)))
        assert task.grant is not None
        self.world.sql("UPDATE task SET lease_until = now() WHERE id = %s", task.id)
        self.stale.append(task.grant)
        self.lost(task)

    # What workers do.

    @rule(worker=WORKERS)
    def admit_and_begin(self, worker: str) -> None:
        self.admit(worker)
        for task in self.having(runs=False):
            self.begin_one(task)

    @rule(worker=WORKERS)
    def admit(self, worker: str) -> None:
        expected = {no for no, task in self.tasks.items() if self.may_be_granted(task)}
        grants = {grant.task_no: grant for grant in self.world.admit(worker)}
        assert grants.keys() == expected
        for no, grant in grants.items():
            task = self.tasks[no]
            task.epoch += 1
            assert grant.lease_epoch == task.epoch
            assert (grant.cancel_requested, grant.expired) == (task.cancel, task.expired)
            task.worker, task.grant = worker, grant

    @precondition(lambda self: self.having(runs=False))
    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.begin_one(self.pick(data, runs=False))

    def begin_one(self, task: Model) -> None:
        assert task.grant is not None
        standing = self.world.begin(task.grant)
        assert (standing.cancel_requested, standing.expired, standing.paused) == (
            task.cancel,
            task.expired,
            task.paused,
        )
        if self.told_to_stop(task):
            return
        wait = self.world.claim(task.grant, task.wanted)
        task.waits_for = None
        if wait is not None:
            row = self.world.rows()[task.grant.task_no]
            task.waits_for = row["waits_for"]
            assert not self.tasks[row["waits_for"]].ended
            self.lost(task)
        else:
            task.began_with, task.renewed = standing.renewed, False

    def told_to_stop(self, task: Model) -> bool:
        assert task.grant is not None
        if task.must_end:
            self.world.finish(task.grant, Status.FAILED)
            self.end(task, Status.FAILED)
        elif task.paused:
            self.world.back_off(task.grant, 0)
            self.lost(task)
        else:
            return False
        return True

    def end(self, task: Model, status: Status) -> None:
        assert task.grant is not None
        row = self.world.rows()[task.grant.task_no]
        assert row["paused_at"] is None
        task.row = {name: value for name, value in row.items() if name not in DERIVED}
        task.status, task.paused = status, False
        task.told += 1
        self.lost(task)

    @rule(worker=WORKERS)
    def renew_leases(self, worker: str) -> None:
        held = [task for task in self.having(runs=True) if task.worker == worker]
        grants = [task.grant for task in held if task.grant is not None]
        renewals = self.world.renew(worker, grants + self.stale)
        assert renewals.keys() == {grant.task_no for grant in grants}
        for task, grant in zip(held, grants, strict=True):
            told = renewals[grant.task_no]
            assert (told.cancel_requested, told.expired, told.paused) == (
                task.cancel,
                task.expired,
                task.paused,
            )
            self.told_to_stop(task)

    @precondition(lambda self: self.having(runs=True))
    @rule(data=st.data())
    def fault(self, data: st.DataObject) -> None:
        task = self.pick(data, runs=True)
        assert task.grant is not None
        self.world.back_off(task.grant, 3600)
        task.backs_off = True
        self.lost(task)

    @precondition(lambda self: self.having(runs=True))
    @rule(data=st.data())
    def credential_expires(self, data: st.DataObject) -> None:
        task = self.pick(data, runs=True)
        assert task.grant is not None
        assert task.began_with is not None
        assert self.world.suspend(task.grant, task.began_with) is not task.renewed
        if not task.renewed:
            task.status = Status.INACTIVE
            task.told += 1
        self.lost(task)

    @precondition(lambda self: self.having(runs=True))
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        task = self.pick(data, runs=True)
        assert task.grant is not None
        self.world.finish(task.grant)
        self.end(task, Status.SUCCEEDED)

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def write_without_a_lease(self, data: st.DataObject) -> None:
        with pytest.raises(LeaseLostError):
            self.world.finish(data.draw(st.sampled_from(self.stale)))

    # What must hold.

    @invariant()
    def the_database_says_the_same(self) -> None:
        for no, row in self.world.rows().items():
            task = self.tasks[no]
            assert row["told"] == task.told, "each change that is told is told once"
            if task.ended:
                assert {**row, **task.row} == row, "what has ended never changes"
                assert not row["leased"]
                continue
            assert (row["status"], row["lease_epoch"]) == (task.status, task.epoch)
            assert (row["cancel_requested"], row["paused_at"] is not None) == (
                task.cancel,
                task.paused,
            )
            assert (row["lease_worker"] if row["leased"] else None) == task.worker
            assert row["due"] is not task.backs_off
            assert (row["left_s"] <= 0) is task.expired
            if task.paused:
                task.paused_at = task.paused_at or row["paused_at"]
                assert row["paused_at"] == task.paused_at, "a second pause changes nothing"
            else:
                task.paused_at = None
            if task.paused and not task.deadline_given and not task.expired:
                assert row["left_s"] > 89 * DAY_S

    def teardown(self) -> None:
        """When nothing is in the way any more, every task comes to its end."""
        for owner in OWNERS:
            self.renew_credential(owner)
        for task in self.tasks.values():
            if task.paused:
                assert self.world.pause(task.owner, task.id, resume=True)
                task.paused, task.expired = False, task.expired and task.deadline_given
        self.back_off_is_over()
        for _ in range(len(self.tasks) + 1):
            self.admit_and_begin("w3")
            for task in self.having(runs=True):
                if not self.told_to_stop(task):
                    assert task.grant is not None
                    self.world.finish(task.grant)
                    self.end(task, Status.SUCCEEDED)
        assert all(task.ended for task in self.tasks.values())
        self.the_database_says_the_same()


@pytest.mark.parametrize("examples", [15, pytest.param(400, marks=pytest.mark.long)])
def test_tasks_live_as_they_should(database_url: str, examples: int) -> None:
    with World(database_url) as world:
        run_state_machine_as_test(
            type("Machine", (Life,), {"world": world}),
            settings=settings(
                max_examples=examples,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
