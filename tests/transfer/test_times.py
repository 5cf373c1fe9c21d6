"""Times in and out."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.transfer import times


@pytest.mark.parametrize(
    "text",
    ["2030-01-02", "2030-01-02 00:00:00", "2030-01-02T00:00:00Z", "2030-01-02T02:00:00+02:00"],
)
def test_parse(text: str) -> None:
    assert times.parse(text) == datetime(2030, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "soon", "2030-13-01", "0001-01-01T00:00:00+14:00"])
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match="'"):
        times.parse(text)


def test_show() -> None:
    moment = datetime(2021, 9, 2, 20, 4, 47, 99, tzinfo=timezone(timedelta(hours=2)))
    assert times.show(moment) == "2021-09-02T18:04:47+00:00"
    assert times.show(None) is None
    assert times.show_file_time(1_702_918_370) == "2023-12-18 16:52:50+00:00"
    assert times.show_file_time(10**18) is None


@given(
    st.datetimes(
        datetime(1, 1, 2),  # noqa: DTZ001 - hypothesis adds the zone
        datetime(9999, 12, 30),  # noqa: DTZ001
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
    )
)
def test_shown_is_what_python_shows(moment: datetime) -> None:
    assert times.show(moment) == moment.astimezone(UTC).isoformat(timespec="seconds")
