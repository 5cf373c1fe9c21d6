"""Times as the APIs write and read them: UTC, ISO 8601, whole seconds."""

from datetime import UTC, datetime

import orjson


def show(moment: datetime | None) -> str | None:
    """`2021-09-02T18:04:47+00:00`; None stays None."""
    if moment is None:
        return None
    # as isoformat does, in a third of its time
    return orjson.dumps(moment.astimezone(UTC), option=orjson.OPT_OMIT_MICROSECONDS)[1:-1].decode()


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
