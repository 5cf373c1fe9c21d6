"""Ids as the APIs write them."""

from uuid import UUID

import orjson


def show(one: UUID) -> str:
    """As `str` does, in a third of its time: a document of a task has five."""
    return orjson.dumps(one)[1:-1].decode()
