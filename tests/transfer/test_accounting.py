"""Where time goes adds up, whatever happened."""

from itertools import pairwise
from math import inf, isclose

from hypothesis import given
from hypothesis import strategies as st

from towpath.transfer import accounting
from towpath.transfer.accounting import (
    Away,
    Category,
    Entry,
    Facts,
    Holder,
    Spent,
    Standing,
)

BEGAN = 1_000.0
MOMENTS = st.floats(BEGAN - 50, BEGAN + 500, allow_nan=False)
WEIGHTS = st.dictionaries(
    st.tuples(st.sampled_from(Category), st.sampled_from(("", "source", "x"))),
    st.floats(0, 100),
    max_size=5,
)


@st.composite
def standings(draw: st.DrawFn) -> list[Standing]:
    """Rising in time, but for a clock that was set."""
    moments = draw(st.lists(MOMENTS, min_size=1, max_size=8))
    if draw(st.booleans()):
        moments.sort()
    return [
        Standing(
            at,
            draw(st.sampled_from(("ACTIVE", "INACTIVE"))),
            draw(st.booleans()),
            draw(st.booleans()),
            draw(st.sampled_from((None, None, 3, 4))),
            draw(st.sampled_from((None, 7, 8))),
            draw(MOMENTS),
        )
        for at in moments
    ]


FACTS = st.builds(
    Facts,
    away=st.lists(st.builds(Away, MOMENTS, MOMENTS | st.just(inf), st.just("source")), max_size=3),
    holders=st.dictionaries(
        st.just(7), st.builds(Holder, st.just("a"), MOMENTS | st.just(inf)), max_size=1
    ),
    queue=st.sampled_from((Category.QUEUE_OWNER, Category.QUEUE_WORKERS)),
)


@given(
    standings(),
    FACTS,
    WEIGHTS,
    st.sampled_from((None, 3, 4)),
    MOMENTS,
    MOMENTS,
    st.none() | st.floats(0, 500),
)
def test_all_of_the_time_is_counted_once(
    noted: list[Standing],
    facts: Facts,
    weights: dict[Entry, float],
    epoch: int | None,
    since: float,
    now: float,
    measured_s: float | None,
) -> None:
    spent: Spent = {}
    accounting.settle(
        spent,
        noted,
        facts,
        since=since,
        now=now,
        epoch=epoch,
        weights=weights,
        measured_s=measured_s,
    )
    assert all(seconds >= 0 for details in spent.values() for seconds in details.values())
    in_order = all(a.at <= b.at for a, b in pairwise([noted[0]._replace(at=since), *noted[1:]]))
    if in_order and measured_s is None:
        assert isclose(accounting.total(spent), max(now - since, 0), abs_tol=1e-6)
    filled = accounting.whole(spent, 100.0)
    assert isclose(accounting.total(filled), 100.0)
    assert all(seconds >= -1e-9 for details in filled.values() for seconds in details.values())


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0, 10))))
def test_few_details_are_kept_and_no_second_is_lost(told: list[tuple[str, float]]) -> None:
    spent: Spent = {}
    for detail, seconds in told:
        accounting.add(spent, (Category.PAUSED, detail), seconds)
    assert len(spent.get(Category.PAUSED, {})) <= accounting.DETAILS_KEPT + 1
    assert isclose(accounting.total(spent), sum(seconds for _, seconds in told), abs_tol=1e-6)


def account(noted: list[Standing], facts: Facts, until: float) -> dict[Entry, float]:
    spent: Spent = {}
    accounting.account(spent, noted, facts, since=0, until=until)
    return {(c, d): seconds for c, details in spent.items() for d, seconds in details.items()}


def standing(at: float, **facts: object) -> Standing:
    usual = Standing(at, "ACTIVE", paused=False, suspended=False, epoch=None, waits_for=None,
                     not_before=0.0)  # fmt: skip
    return usual._replace(**facts)  # type: ignore[arg-type]


def test_what_a_task_waits_for() -> None:
    noted = [
        standing(0),
        standing(10, epoch=1),
        standing(15, not_before=40),  # backs off
        standing(60, paused=True),
        standing(70, status="INACTIVE"),
        standing(80, waits_for=7),
        standing(100, suspended=True),
    ]
    facts = Facts(
        away=[Away(20, 30, "destination")],
        holders={7: Holder("theirs", 95)},
        queue=Category.QUEUE_OWNER,
        paused_by="ada",
        backs_off_for="source",
    )
    assert account(noted, facts, until=110) == {
        (Category.QUEUE_OWNER, ""): 10 + 20 + 5,
        (Category.RECOVERY, ""): 5,
        (Category.BACKOFF, "source"): 5 + 10,
        (Category.SERVER_AWAY, "destination"): 10,
        (Category.PAUSED, "ada"): 10,
        (Category.CREDENTIAL, "source"): 10,
        (Category.WAITING_FOR_TASK, "theirs"): 15,
        (Category.OWNER_SUSPENDED, ""): 10,
    }


def test_the_time_under_a_lease_is_shared_as_its_worker_says() -> None:
    noted = [standing(10, epoch=1), standing(30, epoch=2)]
    spent: Spent = {}
    weights = {(Category.SOURCE, ""): 1.0, (Category.CHECKSUM, ""): 3.0}
    accounting.settle(spent, noted, Facts(), since=20, now=50, epoch=2, weights=weights)
    assert spent == {
        Category.RECOVERY: {"": 10},  # what the first worker did not tell before it was lost
        Category.SOURCE: {"": 5},
        Category.CHECKSUM: {"": 15},
    }


def told(spent: Spent, *, since: float, now: float, measured_s: float) -> Spent:
    """By the worker that has the task since 1010."""
    noted = [standing(1010, epoch=1)]
    weights = {(Category.SOURCE, ""): measured_s}
    accounting.settle(
        spent,
        noted,
        Facts(),
        since=since,
        now=now,
        epoch=1,
        weights=weights,
        measured_s=measured_s,
    )
    return spent


def test_a_clock_that_is_set_makes_no_time_and_takes_none() -> None:
    """Forth by an hour and back, while a worker tells."""
    spent = told({}, since=1010, now=4612, measured_s=2.0)
    told(spent, since=4612, now=1014, measured_s=2.0)
    told(spent, since=1014, now=1016.5, measured_s=2.0)
    assert spent == {Category.SOURCE: {"": 2.0 + 2.0 + 2.5}}


def test_how_a_task_stood_is_counted_from_when_it_was_told_last() -> None:
    """Also if it was noted while the clock was an hour ahead."""
    spent: Spent = {}
    noted = [standing(4600), standing(1030, epoch=2)]
    accounting.account(spent, noted, Facts(), since=1010, until=1032)
    assert spent == {Category.QUEUE_WORKERS: {"": 20.0}, Category.RECOVERY: {"": 2.0}}


def test_what_a_worker_has_measured_stays() -> None:
    """While nobody had the task the clock was set forth by an hour, and later back."""
    spent: Spent = {
        Category.SOURCE: {"": 40.0},
        Category.SERVICE: {"": 10.0},
        Category.RECOVERY: {"": 3600.0},
        Category.PAUSED: {"ada": 1200.0},
    }
    found = accounting.whole(spent, 90.0)
    assert {category: round(sum(of_it.values()), 6) for category, of_it in found.items()} == {
        Category.SOURCE: 40,
        Category.SERVICE: 10,
        Category.RECOVERY: 30,
        Category.PAUSED: 10,
    }


def test_it_is_kept_as_json() -> None:
    spent: Spent = {Category.PAUSED: {"ada": 1.5}, Category.LOGIN: {"": 0.25}}
    assert accounting.load(accounting.dump(spent)) == spent
