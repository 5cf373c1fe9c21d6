"""One session's part in listing a tree: directories asked for ahead, read in order.

It begins with MLSC, which comes encrypted over the control channel, at once, and through every
firewall. When much waits it has the server open a data channel and asks by MLSD: three times
cheaper at the server, and for us too.

There is also MLSR, one command for a whole tree. It is not used: GCT takes the first name of each
thousand for the directory's own, and if that name is a directory, it and all below it are missing
from an answer that ends in success.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from towpath.gridftp.client.asked import LINE_COST_BYTES, Asked, Place, Way
from towpath.gridftp.client.channel import Receiver
from towpath.gridftp.client.data.listing import Arriving, ListingChannel
from towpath.gridftp.client.data.setup import local_address
from towpath.gridftp.client.listing_costs import data_gain_s, data_setup_s, login_s
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind, Scope
from towpath.gridftp.refusals import classify
from towpath.gridftp.wire import commands
from towpath.gridftp.wire.listings import Entry, EntryType, parse_status_line
from towpath.gridftp.wire.replies import Reply

if TYPE_CHECKING:
    from towpath.gridftp.client.tree_listing import Tree

BATCH_ENTRIES: Final = 1000
"""Entries handed on at a time."""

IN_FLIGHT: Final = 600
"""Directories asked for ahead; a server takes about 1,000 queued commands."""

DATA_ENTRIES: Final = 10_000
DATA_ENTRIES_PER_S: Final = 200_000
"""Of these, by MLSD, as many as have about so many entries, and what is on the way meanwhile.
What one session has asked for no other can help with."""

CONTROL_ENTRIES: Final = 500
CONTROL_ENTRIES_PER_S: Final = 30_000
"""The same for MLSC."""

FEW: Final = 4
"""Directories by MLSC while it is about to be known whether there will be data channels."""

CONTROL_WAITING_BYTES: Final = 1024 * 1024
"""Lines of MLSC received and not yet read, before nothing more is taken from the server."""

CONNECT_WAIT_S: Final = 5.0
"""For the server's data connection; one that comes at all comes within a few round trips."""

DRAIN_S: Final = 3.0
"""For the answers to what was asked for ahead and is not wanted any more."""

_COUNT = re.compile(rb"(?:^|\n)[^\r\n]*\btype=cdir;[^\r\n]*\bx\.count=([0-9]{1,9});", re.IGNORECASE)


@dataclass(slots=True)
class Done:
    """How many directories are done with."""

    directories: int = 0
    listed: int = 0
    """Of these, to the end."""
    by_data: int = 0
    entries: int = 0


class RootError(Exception):
    """The tree has no root that can be listed."""

    def __init__(self, error: GridFTPError) -> None:
        super().__init__(str(error))
        self.error = error


class DataTrouble(Exception):  # noqa: N818 - not an error to anybody but the session
    """The session's data channel is of no use, and so is the session."""

    def __init__(self, error: GridFTPError) -> None:
        super().__init__(str(error))
        self.error = error


class Restart(Exception):  # noqa: N818
    """The session is given up although it works: what it is in the middle of takes too long."""


class _Setting(Receiver):
    """Takes the answers to what sets up the data channel."""

    takes_intermediate = False

    def __init__(self, lister: Lister) -> None:
        self._lister = lister

    def reply(self, reply: Reply) -> None:
        """A refused one is easily missed: the server would go on without it."""
        if not reply.ok:
            self._lister.setting_refused(reply)

    def lost(self, error: GridFTPError) -> None:
        """The directories tell."""


class Lister:
    """Lists with one session what a tree has to list. Use `run`, once."""

    def __init__(self, tree: Tree, session: Session) -> None:
        self._tree = tree
        self._session = session
        self._where = str(session.server)
        self._rtt_s = session.rtt_s
        # A name with line breaks may answer for the server there. By MLSD it can not; by MLSC only
        # for itself, if nothing else was asked.
        self._careful = session.channel.clear_text
        self._asked: deque[Asked] = deque()
        self._changed = asyncio.Event()
        self._data: ListingChannel | None = None
        self._setting_error: GridFTPError | None = None
        self._waiting_bytes = 0
        self._status: asyncio.Future[Reply] | None = None
        self._out: list[Entry] = []
        self._below: list[str] = []
        self._failed: list[tuple[str, GridFTPError]] = []
        self._done = Done()
        self._stuck = False
        """Whether the server is in the middle of something that takes long."""
        self._ending = False
        self.logged_in = False
        """Whether the server has accepted the login."""

    async def run(self) -> NoReturn:
        """List what there is, until cancelled.

        Raises GridFTPError when the session is lost, DataTrouble, Restart, and RootError. What it
        had not finished is then in `unfinished`, and what is ready to be told waits for `flush`.
        """
        self._session.submit([self._tree.facts])
        await self._fill()
        await self._session.accepted()
        self.logged_in = True
        while True:
            if self._asked:
                await self._settle(self._asked[0])
            else:
                await self.flush()
                await self._tree.wait_for_work(self._has_work)
            await self._fill()

    def unfinished(self) -> list[Place]:
        """The directories in hand, the one being read first."""
        return [asked.place for asked in self._asked]

    def give_back(self) -> None:
        """Leave the session to others."""
        if self._data is not None:
            self._data.close()

    async def end(self) -> None:
        """Close the session, with what belongs to it.

        GCT may leave its process hanging when the connection ends in the middle of queued MLSC, so
        they are answered first, if that does not take long.
        """
        self._asked.clear()
        self._ending = True
        if self._data is not None:
            self._data.close()
        try:
            if self._session.channel.unanswered and not self._stuck:
                self._session.channel.resume()
                await self._session.channel.drain(DRAIN_S)
        finally:
            await self._session.give_up()

    def fail_first(self, error: GridFTPError) -> None:
        """Do not try the directory being read again."""
        self._finish(self._asked.popleft(), error)

    async def flush(self) -> None:
        """Hand on what is ready: entries first, and only then the directories among them."""
        entries, self._out = self._out, []
        below, self._below = self._below, []
        failed, self._failed = self._failed, []
        done, self._done = self._done, Done()
        if entries or failed:
            await self._tree.tell(entries, failed)
        if below:
            self._tree.add(below)
            self._tree.hire_if_useful(self._rtt_s)
        if done.directories:
            self._tree.finished(done)

    # -- called by what receives

    def wake(self) -> None:
        """Something has come."""
        self._changed.set()

    def hold(self, count: int) -> bool:
        """Bytes of MLSC have come; whether they are wanted."""
        if self._ending:
            return False
        self._waiting_bytes += count
        if self._waiting_bytes > CONTROL_WAITING_BYTES:
            self._session.channel.pause()
            self.wake()
        return True

    def setting_refused(self, reply: Reply) -> None:
        """The data channel cannot be set up as it must be."""
        self._setting_error = self._setting_error or classify(reply, where=self._where)
        self.wake()

    def _data_changed(self) -> None:
        if self._data is not None and self._data.reached:
            self._tree.data_reached()
        self.wake()

    # -- asking

    def _has_work(self) -> bool:
        tree = self._tree
        if self._data is not None:
            return tree.offers(data=True)
        return tree.offers(data=False) or self._wants_data()

    def _wants_data(self) -> bool:
        return self._tree.wants_data(self, self._rtt_s, at_any_cost=self._careful)

    async def _fill(self) -> None:
        """Ask for more directories, as many as are good to have under way."""
        if self._data is None and self._wants_data():
            await self._open_data()
        if self.hungry:
            room = self._window - len(self._asked)
            for place in self._tree.take(room, data=self._data is not None):
                self._ask(place)
        self._session.channel.flush()

    @property
    def hungry(self) -> bool:
        """Whether more could be asked for."""
        window = self._window
        return len(self._asked) <= window - max(1, window // 4)

    @property
    def _window(self) -> int:
        if self._data is not None:
            entries = DATA_ENTRIES + DATA_ENTRIES_PER_S * self._rtt_s
        elif self._careful:
            return 1
        elif self._tree.about_to_know(self, self._rtt_s):
            return FEW
        else:
            entries = CONTROL_ENTRIES + CONTROL_ENTRIES_PER_S * self._rtt_s
        return max(2, min(IN_FLIGHT, round(entries / self._tree.mean_entries)))

    def _ask(self, place: Place) -> None:
        path = self._tree.absolute(place.path)
        by_data = self._data is not None and place.way is not Way.CONTROL
        asked = Asked(self, place, self._where, path, by_data=by_data)
        self._asked.append(asked)
        try:
            line = self._session.encode(commands.mlsd(path) if by_data else commands.mlsc(path))
        except GridFTPError as error:
            self._finish(self._asked.pop(), error)
            return
        if not place.path:
            # A file is listed too, as if it were a directory with one file.
            (self._status,) = self._session.submit([commands.mlst(path)])
        self._session.channel.queue(line, asked)

    async def _open_data(self) -> None:
        self._data = ListingChannel(
            await self._tree.security(),
            frozenset({self._session.peer_ip}),
            where=self._where,
            on_change=self._data_changed,
        )
        try:
            lines = self._data.listen(local_address(self._session.peer_ip))
        except (OSError, ValueError) as error:  # no port is free; the address is none for PORT
            raise DataTrouble(
                GridFTPError(Kind.DATA_REFUSED, f"cannot listen ({error})", self._where)
            ) from error
        setting = _Setting(self)
        for line in lines:
            self._session.channel.queue(self._session.encode(line), setting)

    # -- reading

    async def _settle(self, asked: Asked) -> None:
        """Read the first directory to its end."""
        while not self._has_ended(asked):
            self._changed.clear()
            if raw := self._next_of(asked):
                self._read(asked, raw)
                if len(self._out) >= BATCH_ENTRIES:
                    await self.flush()
                    await asyncio.sleep(0)  # others have something to do, too
            elif self._has_ended(asked):
                break
            elif self._done.directories or self._out:
                await self.flush()
            else:
                await self._fill()
                await self._wait(asked)
        self._asked.popleft()
        self._conclude(asked)

    def _has_ended(self, asked: Asked) -> bool:
        """Whether all of it has been read. Raises what ends the session."""
        if self._setting_error is not None:
            raise DataTrouble(self._setting_error)
        if asked.lost_by is not None:
            raise asked.lost_by
        if not asked.by_data:
            return asked.answer is not None and not asked.lines
        assert self._data is not None
        arriving = self._arriving(asked)
        if asked.answer is not None and (not asked.begun or not asked.answer.ok):
            return True
        if arriving is not None and arriving.complete:
            return asked.answer is not None
        if self._data.error is not None:
            raise DataTrouble(self._data.error)
        return False

    def _arriving(self, asked: Asked) -> Arriving | None:
        """What belongs to a directory: the server announces what it sends, in order, and sends
        nothing of a directory that it refuses."""
        assert self._data is not None
        return self._data.listings[0] if asked.begun and self._data.listings else None

    def _next_of(self, asked: Asked) -> bytes:
        """Whole lines of it that have come."""
        if not asked.by_data:
            lines = asked.next_lines()
            if not lines:
                return b""
            self._waiting_bytes -= sum(map(len, lines)) + len(lines) * LINE_COST_BYTES
            if self._waiting_bytes < CONTROL_WAITING_BYTES // 2:
                self._session.channel.resume()
            return b"\r\n".join(lines) + b"\r\n"
        arriving = self._arriving(asked)
        if arriving is None:
            return b""
        try:
            return asked.next_block(arriving)
        except GridFTPError as error:
            raise DataTrouble(error) from error

    def _read(self, asked: Asked, block: bytes) -> None:
        if not asked.by_data and not asked.seen and asked.answer is None:
            self._consider_restart(asked.place, block)
        asked.read(block)
        self._release(asked.overflow())

    def _consider_restart(self, place: Place, raw: bytes) -> None:
        """A huge directory takes less time anew, by data, than to its end in this way."""
        found = _COUNT.search(raw)
        if found is None or place.told or place.way is not Way.EITHER:
            return
        restart_s = login_s(self._rtt_s) + data_setup_s(self._rtt_s)
        if self._tree.data_possible and data_gain_s(int(found[1])) > restart_s:
            place.way = Way.DATA
            self._stuck = True
            raise Restart

    def _release(self, entries: list[Entry]) -> None:
        self._out += entries
        self._below += [
            entry.name
            for entry in entries
            if entry.type is EntryType.DIRECTORY and entry.link_target is None
        ]

    async def _wait(self, asked: Asked) -> None:
        """Until something comes. Raises when nothing does."""
        limit_s = self._session.timeouts.reply_s
        connecting = asked.by_data and self._data is not None and not self._data.connected
        if connecting:
            limit_s = min(limit_s, CONNECT_WAIT_S)
        try:
            async with asyncio.timeout(limit_s):
                await self._changed.wait()
        except TimeoutError:
            if asked.lines:  # slowly, but it comes
                return
            path = self._tree.absolute(asked.place.path)
            self._stuck = True
            if connecting:
                raise DataTrouble(
                    GridFTPError(Kind.DATA_REFUSED, "no data connection came", self._where, path)
                ) from None
            error = GridFTPError(
                Kind.TIMEOUT, f"no listing within {limit_s:g} s", self._where, path
            )
            self._session.channel.fail(error)
            raise error from None

    # -- the end of a directory

    def _conclude(self, asked: Asked) -> None:
        place, answer = asked.place, asked.answer
        assert answer is not None
        error = None
        if not answer.ok:
            error = classify(answer, where=self._where, path=self._tree.absolute(place.path))
        try:
            if asked.by_data:
                self._conclude_data(asked, error)
        except DataTrouble:
            self._tree.put_back([place])
            raise
        if error is not None and place.way is Way.EITHER and self._try_otherwise(asked, error):
            self._tree.put_back([place])
            return
        error = error or asked.bad or self._not_a_directory(place) or asked.missing()
        if error is None:
            self._release(asked.release())
        self._finish(asked, error)

    def _try_otherwise(self, asked: Asked, error: GridFTPError) -> bool:
        if asked.by_data and not error.permanent:
            asked.place.way = Way.CONTROL
            return True
        if not asked.by_data and error.kind is Kind.UNSUPPORTED and self._tree.data_possible:
            asked.place.way = Way.DATA
            return True
        return False

    def _conclude_data(self, asked: Asked, error: GridFTPError | None) -> None:
        """Whether the data channel is still in step. Raises DataTrouble if not."""
        assert self._data is not None
        if asked.begun:
            if error is not None:
                raise DataTrouble(error)
            if asked.rest:
                raise DataTrouble(self._nonsense("the listing breaks off"))
            self._data.listings.popleft()
        elif error is None:
            raise DataTrouble(self._nonsense("the server sent nothing and calls it a success"))
        elif error.scope is not Scope.FILE:
            raise DataTrouble(error)

    def _not_a_directory(self, place: Place) -> GridFTPError | None:
        """A file is listed like a directory that has it as its only file."""
        if place.path or self._status is None or not self._status.done():
            return None
        path = self._tree.absolute("")
        reply = self._status.result()
        if reply.ok and len(reply.raw) >= 3:
            if parse_status_line(reply.raw[1], where=self._where).is_directory:
                return None
            return GridFTPError(
                Kind.NOT_A_DIRECTORY, "it is a file, not a directory", self._where, path
            )
        return None if reply.ok else classify(reply, where=self._where, path=path)

    def _finish(self, asked: Asked, error: GridFTPError | None) -> None:
        self._done.directories += 1
        if error is None:
            self._done.listed += 1
            self._done.by_data += asked.by_data
            self._done.entries += asked.seen
        elif asked.place.path:
            self._failed.append((asked.place.path, error))
        else:
            raise RootError(error)

    def _nonsense(self, message: str) -> GridFTPError:
        return GridFTPError(Kind.PROTOCOL, message, self._where)
