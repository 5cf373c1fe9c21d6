"""Times as the Transfer API writes and reads them: UTC, ISO 8601, whole seconds."""

from datetime import UTC, datetime

from towpath.platform.times import parse, show

__all__ = ["parse", "show", "show_exactly", "show_file_time"]


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
