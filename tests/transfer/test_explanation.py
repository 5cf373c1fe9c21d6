"""What is told of a task's time adds up, and is a sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.transfer.accounting import MEANING, Category, Spent
from towpath.transfer.explanation import (
    _CLAUSES,
    CLAUSES,
    Speeds,
    Sure,
    duration,
    explain,
    guess,
    in_ms,
)

NAMES = {"source": "Tape", "destination": "lake.example.org"}
SPENT = st.dictionaries(
    st.sampled_from(Category),
    st.dictionaries(
        st.sampled_from(("", "source", "destination", "ada")),
        st.floats(0, 1e6),
        min_size=1,
        max_size=3,
    ),
)


@given(SPENT, st.floats(0, 1e6), st.floats(1, 1e9) | st.none())
def test_seconds_add_up_and_the_sentence_ends(
    spent: Spent, wall_s: float, speed: float | None
) -> None:
    told = explain(
        spent,
        wall_s,
        names=NAMES,
        beginning="It took",
        speeds=Speeds(speed, 1e9, 1e9),
    )
    assert sum(share.ms for share in told.shares) == told.wall_ms == round(wall_s * 1000)
    assert all(share.ms > 0 for share in told.shares)
    assert all(sum(p.ms for p in share.details) == share.ms for share in told.shares)
    assert 0 <= told.unexplained <= 1
    assert told.sentence.startswith("It took ")
    assert told.sentence.endswith(".")
    assert "{" not in told.sentence
    assert told.sentence.count(";") < CLAUSES
    if told.shares and told.shares[0].category is Category.MOVING:
        assert speed is None or speed * 2 > 1e9


def test_every_category_has_words() -> None:
    assert set(MEANING) == set(_CLAUSES) == set(Category)


def test_what_a_scientist_reads() -> None:
    spent: Spent = {
        Category.DESTINATION: {"": 5200.0},
        Category.SERVER_AWAY: {"destination": 720.0},
        Category.LISTING: {"source": 1300.0},
        Category.PAUSED: {"ada@example.org": 580.0},
    }
    told = explain(spent, 7800, names=NAMES, beginning="It took")
    assert told.sentence == (
        "It took 2 h 10 min: two thirds of it lake.example.org wrote as fast as it could;"
        " 21 min 40 s directories were listed and made at Tape;"
        " 12 min it waited for lake.example.org, which did not answer."
    )
    assert [share.sure for share in told.shares[:2]] == [Sure.LIKELY, Sure.MEASURED]
    unknown = explain({}, 60, names={}, beginning="It has taken")
    assert unknown.unexplained == 1
    assert unknown.sentence == "It has taken 1 min: nearly all of it nobody knows what it did."


@pytest.mark.parametrize(
    ("speeds", "bound"),
    [
        (Speeds(100, 300, 250), Category.NETWORK),
        (Speeds(100, 110, 250), Category.SOURCE),
        (Speeds(100, 300, 50), Category.DESTINATION),
        (Speeds(100, 110, 110), None),
        (Speeds(100, None, 500), None),
        (Speeds(None, 100, 500), None),
    ],
)
def test_a_guess_by_what_the_ends_did_with_others(speeds: Speeds, bound: Category | None) -> None:
    assert guess(speeds) is bound
    told = explain({Category.MOVING: {"": 5.0}}, 5, names=NAMES, beginning="", speeds=speeds)
    [share] = told.shares
    assert share.category is (bound or Category.MOVING)
    assert share.sure is (Sure.UNKNOWN if bound is None else Sure.GUESS)


@given(SPENT, st.integers(0, 10**9))
def test_milliseconds_are_whole(spent: Spent, wall_ms: int) -> None:
    assert sum(part.ms for part in in_ms(spent, wall_ms)) == wall_ms


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (0, "0.0 s"),
        (840, "0.8 s"),
        (45_000, "45 s"),
        (60_000, "1 min"),
        (125_000, "2 min 5 s"),
        (3_599_900, "1 h"),
        (7_800_000, "2 h 10 min"),
        (90_000_000, "25 h"),
        (180_000_000, "2 days 2 h"),
    ],
)
def test_durations(ms: int, words: str) -> None:
    assert duration(ms) == words
