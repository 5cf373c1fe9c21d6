"""A session that dies in the middle of a listing, which no real server does on request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.transfer.browse.browser import Browser, Page
from towpath.transfer.browse.filters import parse_filters, parse_order
from towpath.transfer.rights import Who

FOLDER = Entry(name="/", type=EntryType.DIRECTORY, size=0)
BATCHES = [[Entry(name=name, type=EntryType.FILE, size=1)] for name in ("a", "b", "c")]


class Session:
    """Lists `batches` of the three, then is lost, or all."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    async def stat(self, _path: str) -> Entry:
        return FOLDER

    async def list(self, _path: str) -> AsyncIterator[list[Entry]]:
        for batch in BATCHES[: self.batches]:
            yield batch
        if self.batches < len(BATCHES):
            raise GridFTPError(Kind.CONNECTION_LOST, "the server closed the session", where="here")


class Borrowed:
    """The first one was parked."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def died_unseen(self, _error: GridFTPError) -> bool:
        return True


class Sessions:
    """Gives one after the other."""

    def __init__(self, *sessions: Session) -> None:
        self.left = list(sessions)

    @asynccontextmanager
    async def borrow(self, *_whose: object, **_how: object) -> AsyncIterator[Borrowed]:
        yield Borrowed(self.left.pop(0))


async def test_what_a_lost_listing_had_brought_is_not_listed_twice() -> None:
    sessions: Any = Sessions(Session(2), Session(3))
    page = Page(parse_order(None), parse_filters(()), show_hidden=True, limit=100, offset=0)
    listed = await Browser(sessions).list(uuid4(), Who.alone(uuid4()), "/", page)
    assert ([entry.name for entry in listed.entries], listed.total) == (["a", "b", "c"], 3)
