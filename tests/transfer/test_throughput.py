"""A task's throughput as it is kept: few points, however long it runs."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from towpath.transfer.throughput import FIRST_INTERVAL_S, MOST_POINTS, Point, Throughput

START = Point(1000.0, 0, 0, 0)


def run(steps: list[tuple[float, int]]) -> tuple[Throughput, list[Point]]:
    """What is kept of a task that did so much after so many seconds, and what it really did."""
    kept, real = Throughput(points=[START]), [START]
    for pause_s, size in steps:
        before = real[-1]
        real.append(Point(before.at + pause_s, before.bytes + size, before.files + 1, 0))
        kept = kept.note(before._replace(at=real[-1].at), real[-1])
    return kept, real


@given(st.lists(st.tuples(st.floats(0.01, 3000), st.integers(0, 10**9)), max_size=900))
def test_a_plot_is_bounded_in_order_and_true(steps: list[tuple[float, int]]) -> None:
    kept, real = run(steps)
    points = list(kept.points)
    assert points[0] == START
    assert len(points) <= MOST_POINTS
    assert all(earlier.at < later.at for earlier, later in pairwise(points))
    for point in points:
        had = [one for one in real if one.at <= point.at]
        assert point.bytes == had[-1].bytes
    assert real[-1].at - points[-1].at < kept.interval_s


def test_a_long_task_is_told_as_coarsely_as_needed() -> None:
    kept, real = run([(0.2, 10)] * 20_000)
    assert MOST_POINTS / 3 < len(kept.points) <= MOST_POINTS
    assert kept.interval_s == FIRST_INTERVAL_S * 16
    apart = [later.at - earlier.at for earlier, later in pairwise(kept.points)]
    assert max(apart[:-1]) < 2 * kept.interval_s
    assert kept.points[-1].at > real[-1].at - kept.interval_s


def test_nothing_happened_where_nothing_was_noted() -> None:
    kept, _ = run([(1, 10), (0.5, 5), (100, 20)])
    assert [(point.at - START.at, point.bytes) for point in kept.points] == [
        (0, 0),
        (1, 10),
        (100.5, 15),
        (101.5, 35),
    ]


def test_a_clock_that_is_set_back_costs_what_it_had_told() -> None:
    kept, _ = run([(1, 10)] * 10)
    again = kept.note(Point(1004.5, 100, 10, 0), Point(1004.5, 110, 11, 0))
    assert [point.at for point in again.points] == [1000, 1001, 1002, 1003, 1004, 1004.5]
