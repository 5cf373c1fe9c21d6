"""When a timer runs, as arithmetic."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from towpath.timers.schedule import Schedule, first, following, may_begin

EARLY, LATE = (datetime(year, 1, 1) for year in (2000, 2100))  # noqa: DTZ001 - as hypothesis wants
moments = st.datetimes(EARLY, LATE, timezones=st.just(UTC))
intervals = st.integers(1, 10 * 366 * 86_400)
schedules = st.builds(
    Schedule,
    moments,
    st.none() | intervals,
    st.none() | st.integers(1, 50),
    st.none() | moments,
)


@given(schedules, moments, st.integers(0, 60))
def test_the_next_run_is_the_first_on_the_grid_that_is_later(
    schedule: Schedule, after: datetime, begun: int
) -> None:
    found = following(schedule, after=after, begun=begun)
    if found is None:
        return
    assert found > after
    assert found >= schedule.start
    assert schedule.until is None or found <= schedule.until
    assert schedule.most_runs is None or begun < schedule.most_runs
    if schedule.interval_s is None:
        assert (found, begun) == (schedule.start, 0)
    else:
        interval = timedelta(seconds=schedule.interval_s)
        assert (found - schedule.start) % interval == timedelta(0)
        assert found == schedule.start or found - interval <= after


@given(schedules, moments)
def test_no_run_is_lost_that_the_end_allows(schedule: Schedule, after: datetime) -> None:
    free = Schedule(schedule.start, schedule.interval_s)
    wanted = following(free, after=after, begun=0)
    found = following(schedule, after=after, begun=0)
    assert found == (wanted if wanted is not None and may_begin(schedule, wanted) else None)


@given(st.builds(Schedule, moments, intervals, st.integers(1, 30), st.none()))
def test_runs_on_time_are_as_many_as_were_asked_for(schedule: Schedule) -> None:
    assert schedule.most_runs is not None
    assert schedule.interval_s is not None
    at, count = first(schedule), 0
    while at is not None:
        count += 1
        last = at
        at = following(schedule, after=at, begun=count)
    assert count == schedule.most_runs
    assert last - schedule.start == timedelta(seconds=schedule.interval_s) * (count - 1)


def test_an_interval_is_seconds_where_clocks_are_put_back() -> None:
    summer = datetime.fromisoformat("2026-10-24T12:00:00+02:00")
    schedule = Schedule(summer, 86_400)
    found = following(schedule, after=summer, begun=1)
    assert found == datetime.fromisoformat("2026-10-25T11:00:00+01:00")


def test_what_would_end_before_it_begins_never_runs() -> None:
    start = datetime(2026, 1, 2, tzinfo=UTC)
    schedule = Schedule(start, 60, None, start - timedelta(days=1))
    assert first(schedule) is None
    assert following(schedule, after=start, begun=0) is None
