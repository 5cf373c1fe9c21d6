"""What the fault campaign would find: each thing that it calls wrong is made wrong here."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from campaign import ledger, serverlogs
from campaign.audit import Audit, Seen
from campaign.campaign import Campaign
from campaign.ground import Ground
from campaign.ledger import Kept
from campaign.makers import MAKERS, Hit, Maker, Scene
from campaign.relay import Blocks, Span
from campaign.report import summary
from campaign.schedule import faults
from campaign.sources import History
from campaign.tasks import TREE, DeletePlan, Plan, There, TransferPlan, draw
from campaign.truth import IN_DOUBT, judge
from towpath.transfer.store.plan import State

SOME = range(200)
SEED = 4


def test_a_seed_is_a_campaign() -> None:
    def some(seed: int) -> list[tuple[str, float]]:
        plan = faults(seed, frozenset(MAKERS))
        return [(one.kind, one.random.random()) for one in islice(plan, len(SOME))]

    assert some(SEED) == some(SEED)
    assert some(SEED) != some(SEED + 1)
    assert [draw(SEED, n) for n in SOME] == [draw(SEED, n) for n in SOME]


def test_no_kind_is_rare_by_chance() -> None:
    drawn = Counter(one.kind for one in islice(faults(SEED, frozenset(MAKERS)), 2000))
    share = 2000 / sum(one.weight for one in MAKERS.values())
    for kind, one in MAKERS.items():
        assert abs(drawn[kind] - share * one.weight) <= one.weight + 1, kind


def test_all_options_are_asked_for() -> None:
    plans = [draw(SEED, n) for n in SOME]
    transfers = [plan for plan in plans if isinstance(plan, TransferPlan)]
    options = [plan.options for plan in transfers]
    assert len(transfers) < len(plans)
    assert {one.get("sync_level") for one in options} == {None, 0, 1, 2, 3}
    assert {one["recursive_symlinks"] for one in options} == {"ignore", "keep", "copy"}
    flags = ("verify_checksum", "preserve_timestamp", "encrypt_data", "skip_source_errors")
    for name in (*flags, "delete_destination_extra"):
        assert {one[name] for one in options} == {True, False}
    assert any("filter_rules" in one for one in options)
    assert any(single.external for plan in transfers for single in plan.singles)
    assert {p.intervention.what for p in plans if p.intervention} == {"cancel", "pause"}
    assert all(plan.options["verify_checksum"] or plan.destination == "gamma" for plan in transfers)


def test_nothing_is_shorter_than_an_empty_file() -> None:
    """Nor another one of the same length: sync levels could not tell them apart."""
    plans = [plan for n in SOME if isinstance(plan := draw(SEED, n), TransferPlan)]
    empty = [how for plan in plans for path, how in plan.there if dict(plan.files)[path] == 0]
    assert set(empty) == {There.SAME}


# A mistake of the campaign's own.


class Idle(Campaign):
    """Nothing is copied; there is nothing to give an account of."""

    async def _lives(self, numbers: Iterator[int]) -> None:  # noqa: ARG002
        await asyncio.sleep(3600)

    async def _settle_accounts(self) -> None:
        pass


class Clumsy(Maker):
    """Does not know how to break anything."""

    kind = "clumsy"

    async def strike(self, scene: Scene, random: Random) -> Hit | None:  # noqa: ARG002
        raise OSError("no hammer")


class Waits(Audit):
    """Looks at nothing."""

    async def run(self) -> None:
        await asyncio.sleep(3600)


async def test_a_campaign_that_cannot_go_on_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MAKERS, Clumsy.kind, Clumsy())
    ground = cast("Ground", None)
    campaign = Idle(ground, Waits(""), SEED, wanted=1, kinds=frozenset((Clumsy.kind,)))
    async with asyncio.timeout(60):
        await campaign.run()
    assert "clumsy: OSError('no hammer')" in campaign.crashed[0]
    assert summary(campaign)["crashed"] == len(campaign.crashed) > 0
    assert summary(campaign)["lost"] == 0, "tasks that were not waited for"


# The trees and the history of one task.


def done(plan: Plan, tmp_path: Path, **more: Any) -> tuple[History, dict[str, Any]]:
    """A task that has done what it should; and what it tells."""
    source, destination = tmp_path / "source", tmp_path / "destination"
    plan.make(source, destination)
    history = History(plan, source, destination)
    history.note_all()
    transferred = []
    if isinstance(plan, TransferPlan):
        for path, origin in plan.arrivals.items():
            (destination / path).parent.mkdir(parents=True, exist_ok=True)
            (destination / path).write_bytes((source / origin).read_bytes())
            transferred.append({"destination_path": str(destination / path), "size": 0})
    task = {"task_id": "x", "status": "SUCCEEDED", "files_transferred": len(transferred)}
    time = {"wall_s": 2.0, "unexplained": 0.0, "DATA": [{"category": "moving", "seconds": 2.0}]}
    told = {"task": task | more, "time": time, "transferred": transferred, "events": []}
    return history, {**told, "measured_s": (1.9, 2.1)}


@pytest.fixture
def plan() -> TransferPlan:
    """A tree, single files, and nothing special asked for."""
    plans = (draw(SEED, n) for n in count())
    return next(
        plan
        for plan in plans
        if isinstance(plan, TransferPlan)
        and plan.singles
        and not plan.there
        and not plan.extras
        and plan.intervention is None
        and plan.options["recursive_symlinks"] == "ignore"
        and not plan.options["preserve_timestamp"]
        and "sync_level" not in plan.options
    )


def some_file(history: History) -> Path:
    """One that has arrived, and is not empty."""
    files = (p for p in sorted((history.destination / TREE).rglob("*")) if p.is_file())
    return next(file for file in files if file.stat().st_size)


def test_what_is_right(plan: TransferPlan, tmp_path: Path) -> None:
    assert judge(*done(plan, tmp_path)).wrong == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"unexplained": 0.06},
        {"wall_s": 3.0},
        {"DATA": [{"seconds": 3.0}, {"seconds": -1.0}]},
    ],
)
def test_time_that_nobody_explains(
    plan: TransferPlan, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    history, told = done(plan, tmp_path)
    told["time"] |= wrong
    assert len(judge(history, told).unexplained_time) == 1


def test_a_task_that_was_asked_for_by_a_wrong_clock_cannot_tell_of_its_time(
    plan: TransferPlan, tmp_path: Path
) -> None:
    history, told = done(plan, tmp_path)
    shares = [{"category": "unexplained", "seconds": 1800.0}]
    told["time"] = {"wall_s": 1800.0, "unexplained": 1.0, "DATA": shares}
    assert judge(history, told).unexplained_time == []
    told["measured_s"] = (1799.0, 1801.0)
    assert len(judge(history, told).unexplained_time) == 1


def test_other_bytes_are_a_false_success(plan: TransferPlan, tmp_path: Path) -> None:
    history, told = done(plan, tmp_path)
    file = some_file(history)
    file.write_bytes(bytes(file.stat().st_size))
    assert len(judge(history, told).false_success) == 1


def test_what_the_source_was_meanwhile_is_right(plan: TransferPlan, tmp_path: Path) -> None:
    history, told = done(plan, tmp_path)
    file = some_file(history)
    file.write_bytes(b"new")
    history.note_content(str(file.relative_to(history.destination)), b"new")
    assert judge(history, told).wrong == []


def test_what_is_not_told_is_lost(plan: TransferPlan, tmp_path: Path) -> None:
    history, told = done(plan, tmp_path, files_transferred=len(plan.arrivals) - 1)
    told["transferred"].pop()
    assert len(judge(history, told).lost) == 1


def test_what_is_told_twice(plan: TransferPlan, tmp_path: Path) -> None:
    history, told = done(plan, tmp_path)
    told["transferred"].append(told["transferred"][0])
    assert len(judge(history, told).duplicated) == 2  # and one more than was counted


def test_a_failure_of_the_tasks_own(plan: TransferPlan, tmp_path: Path) -> None:
    fatal = {"code": "FILE_NOT_FOUND", "description": ""}
    history, told = done(plan, tmp_path, status="FAILED", fatal_error=fatal)
    assert len(judge(history, told).lost) == 1
    history.gone.add(f"{TREE}/{plan.files[0].path}")
    assert judge(history, told).wrong == []


def test_an_error_without_consequence(plan: TransferPlan, tmp_path: Path) -> None:
    history, told = done(plan, tmp_path)
    told["events"] = [{"code": "TIMEOUT", "is_error": True, "details": '{"error": "x"}'}]
    assert len(judge(history, told).unexplained) == 1


def test_what_somebody_else_had(plan: TransferPlan, tmp_path: Path) -> None:
    cancelled = {"code": "CANCELED", "description": ""}
    history, told = done(plan, tmp_path, status="FAILED", fatal_error=cancelled)
    path = plan.singles[0].path
    told["transferred"] = [
        t for t in told["transferred"] if not t["destination_path"].endswith(path)
    ]
    (history.destination / path).write_bytes(some_file(history).read_bytes())
    shifted = f"{path} was given up, and holds another file's bytes"
    assert shifted in judge(history, told).lost
    details = '{"error": "6 files", "next": "none"}'
    told["events"].append({"code": IN_DOUBT, "is_error": True, "details": details})
    assert shifted not in judge(history, told).lost


def test_deletes(tmp_path: Path) -> None:
    plan = next(p for n in count() if isinstance(p := draw(SEED, n), DeletePlan) and p.pattern)
    history, told = done(plan, tmp_path)
    goes = [path for path, _ in plan.files if plan.goes(path)]
    assert len(judge(history, told).lost) == len(goes) > 0
    for path in goes:
        (history.destination / path).unlink()
    assert judge(history, told).wrong == []
    stays = next(path for path, _ in plan.files if not plan.goes(path))
    (history.destination / stays).unlink()
    assert len(judge(history, told).lost) == 1


# The order of commits.


def log(*rows: dict[str, Any]) -> Sequence[Seen]:
    """Rows of one task, each a transaction of its own if it does not say."""
    empty = dict.fromkeys(Seen._fields)
    file = {"task_no": 1, "file_no": 1, "item_no": 0, "path": b"f", "after": 10}
    return [
        Seen(**(empty | file | {"seq": seq, "transaction": seq} | row))
        for seq, row in enumerate(rows, 1)
    ]


def moved(was: State | None, is_now: State | None, **more: Any) -> dict[str, Any]:
    """The file, from one state to another."""
    return {"what": "file", "was": was, "is_now": is_now, **more}


def read(rows: Sequence[Seen], failed: str | None = None) -> ledger.Ledger:
    """`failed`: what the task died of."""
    return ledger.read(rows, {} if failed is None else {1: failed})


ADDED = moved(None, State.PENDING)
TAKEN = moved(State.PENDING, State.IN_FLIGHT)
BACK = (
    moved(State.IN_FLIGHT, State.PENDING, transaction=98),
    {"what": "resent", "transaction": 98},
)
UNSENT = moved(State.IN_FLIGHT, State.PENDING)
LOST = moved(State.IN_FLIGHT, State.CONTESTED)
ARRIVED = (
    moved(State.IN_FLIGHT, None, transaction=99),
    {"what": "history", "is_now": 0, "transaction": 99},
)
TOLD = {"what": "event", "code": "TIMEOUT", "is_now": 1}
STARTED = {"what": "event", "code": "STARTED", "is_now": 0}
CANCELLED = {"what": "cancel"}


def test_what_has_arrived_is_not_sent_again() -> None:
    assert read(log(ADDED, TAKEN, *ARRIVED)).resent_covered == []
    again = read(log(ADDED, TAKEN, *ARRIVED, ADDED, TAKEN))
    assert [size for _, size in again.resent_covered] == [10]


def test_what_is_done_again_has_a_reason() -> None:
    assert read(log(ADDED, TAKEN, TOLD, *BACK, TAKEN, *ARRIVED)).unexplained == []
    assert read(log(ADDED, TAKEN, *BACK, TOLD, TAKEN, *ARRIVED)).unexplained == []
    assert read(log(ADDED, TAKEN, UNSENT, TAKEN, *ARRIVED)).unexplained == []
    skipped = {"what": "history", "is_now": 1}  # another file's failure, which spoils this one
    assert read(log(ADDED, TAKEN, *BACK, skipped, TAKEN, *ARRIVED)).unexplained == []
    for rest in (BACK, (*BACK, STARTED), (LOST,)):
        found = read(log(ADDED, TOLD, TAKEN, *rest, TAKEN, *ARRIVED, TOLD))
        assert len(found.unexplained) == 1


def test_what_a_task_gives_up_at_its_end() -> None:
    """It sends once more what may be shifted, and again what that voids."""
    rounds = (*BACK, TAKEN, moved(State.IN_FLIGHT, State.PENDING, transaction=97))
    rounds = (*rounds, {"what": "resent", "transaction": 97}, TAKEN, *ARRIVED)
    for end, code in ((CANCELLED, "CANCELED"), (TOLD, "TIMEOUT")):
        assert read(log(ADDED, TAKEN, end, *rounds), failed=code).unexplained == []
        assert len(read(log(ADDED, TAKEN, *rounds, end), failed=code).unexplained) == 2
    assert read(log(ADDED, TAKEN, CANCELLED, *BACK), failed="CANCELED").unexplained == []
    assert len(read(log(ADDED, TAKEN, TOLD, *rounds)).unexplained) == 1


# The servers' logs.


def test_a_session_that_began_later_sends_nothing_that_is_kept(tmp_path: Path) -> None:
    server = tmp_path / "server.log"
    server.write_text(
        "[7] Sun Nov 29 20:00:00 2026 :: New connection from: localhost:1\n"
        "[8] Sun Nov 29 20:10:00 2026 :: New connection from: localhost:2\n"
        "[7] Sun Nov 29 20:10:01 2026 :: localhost:1: [CLIENT]: ERET P 100 50 /f\n"
        "[8] Sun Nov 29 20:10:01 2026 :: localhost:2: [CLIENT]: ERET P 120 50 /f\n"
        "[8] Sun Nov 29 20:10:02 2026 :: localhost:2: [CLIENT]: RETR /g\n"
    )
    began = [one.session_began_s for one in serverlogs.sent(server.read_text())]
    assert began == [began[0], began[0] + 600, began[0] + 600]

    def again(part: Kept) -> list[int]:
        return [size for _, size in serverlogs.sent_again([server], {"/f": [part], "/g": [part]})]

    half_way = began[0] + 300
    assert again(Kept(0, 150, half_way, half_way + 900)) == [30, 150]
    assert again(Kept(0, 100, half_way, half_way + 900)) == [100]
    assert again(Kept(0, 150, half_way, half_way + 305)) == []  # dropped at about that time
    assert again(Kept(0, 150, half_way, half_way + 60)) == []
    assert again(Kept(0, 150, half_way + 600, half_way + 900)) == []


# What the relay knows of data channels.


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_blocks_are_followed_however_they_come(size: int) -> None:
    handshake = bytes([22, 3, 1, 0, 5]) + b"hello" + bytes([23, 3, 3, 0, 2]) + b"ok"
    block = bytes([0]) + (4).to_bytes(8, "big") + (10).to_bytes(8, "big") + b"data"
    end = bytes([0x48]) + bytes(8) + (1).to_bytes(8, "big")
    stream = handshake + block + block + end + block
    blocks = Blocks()
    found = b""
    whole: list[Span] = []
    for first in range(0, len(stream), size):
        chunk = stream[first : first + size]
        for span in blocks.spans(chunk):
            found += chunk[span.first : span.after]
            whole += [span] if span.header is not None else []
    assert found == b"data" * 3
    assert len(whole) == (3 if size == 1000 else 0)
    for span in whole:
        assert stream[span.header : span.after] == block
