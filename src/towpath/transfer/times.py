"""Times as the Transfer API writes and reads them: UTC, ISO 8601, whole seconds."""

from datetime import UTC, datetime


def show(moment: datetime | None) -> str | None:
    """`2021-09-02T18:04:47+00:00`; None stays None."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def show_exactly(seconds: float) -> str:
    """An instant, in seconds since 1970, with milliseconds: `2021-09-02T18:04:47.250+00:00`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def show_file_time(seconds: int | None) -> str | None:
    """A file's time (seconds since 1970): `2023-12-18 16:52:50+00:00`, with a space.

    None for a time that no calendar holds: servers report what their disks say.
    """
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None


def parse(text: str) -> datetime:
    """`YYYY-MM-DD`, `YYYY-MM-DD HH:MM:SS`, with `T`, with `Z` or an offset; without one it is UTC.

    Raises ValueError with a message for the user.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text[:40]!r} is not a time such as 2030-01-31 12:00:00") from None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text[:40]!r} is outside of the calendar") from None
