"""The witness: a small process beside a worker, which sees the end of its sessions when it dies.

    python -m towpath.transfer.engine.witness_process DESCRIPTOR

DESCRIPTOR is a socket from the worker (`engine.witness`), from which come messages, and duplicates
of the control connections of its tasks' sessions. Nobody but the worker has the other end, so when
that ends the worker is dead, and can send nothing any more. Then the witness closes the sessions as
a lane does, waits for the servers' end of file, and notes the leases of which nothing can write
any more. It has no keys, and can read nothing of what it throws away.

It imports little, since there is one for each worker, all the time.
"""

import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence

MESSAGE = struct.Struct("=cqqq??")
"""What; task_no; lease epoch; the session's number; of a session whether it may write (HELD), or
whether its end was confirmed (RELEASED); and whether a reset shows its end, too (HELD)."""
BEGUN, HELD, RELEASED, UNSURE, ENDED = b"b", b"h", b"r", b"u", b"e"

URL_BYTES = 64 * 1024

SOURCES_S = 0.3
"""For sources to end, before destinations are closed, as `Lane.close` does: a GCT server that is
cut off among queued STORs may hang for good, one whose sender is gone fails them all."""
QUIET_S = 0.05
"""A destination that says nothing for so long has answered all that it will answer."""
ANSWERS_S = 0.8
"""From the beginning: for destinations to answer."""
ENDS_S = (1.5, 5.0)
"""From the beginning: for destinations to end. What is known after the first is noted then, so that
one that hangs holds up no other lease: a new worker takes two seconds to start, and has read the
plan after that. On a machine with too much to do both are late."""
NOTE_S = 10.0
"""How long the database may be away; a task that was not taken over by then is the exception."""
NOTE_AGAIN_S = 0.2
READ_BYTES = 64 * 1024

Key = tuple[int, int]
"""A lease: task_no, epoch."""


class Held:
    """A duplicate of a session's control connection. It is touched only when the worker is dead."""

    def __init__(self, descriptor: int, *, writes: bool, reset_is_end: bool) -> None:
        self.connection = socket.socket(fileno=descriptor)
        self.writes = writes
        self._reset_is_end = reset_is_end
        self.over = False
        """Whether nothing more is to come."""
        self.ended = False
        """Whether the server has ended its session."""
        self._hung_up = False
        self._broke_before = False

    def hang_up(self) -> None:
        """Tell the server that this is all, once."""
        if self._hung_up:
            return
        self._hung_up = True
        try:
            self.connection.shutdown(socket.SHUT_WR)
        except OSError:
            # Already gone, and the worker may have taken note of why: an end of file proves nothing
            self._broke_before = True

    def read(self) -> None:
        """Throw away what has come, and take note of an end."""
        try:
            data = self.connection.recv(READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except ConnectionResetError:
            self.over, self.ended = True, self._reset_is_end
        except OSError:  # the network gave up: nobody knows what the server does
            self.over = True
        else:
            if not data:
                self.hang_up()
                self.over, self.ended = True, not self._broke_before


class Lease:
    """What the worker has told of one."""

    def __init__(self) -> None:
        self.sure = True
        """Whether all of its sessions are known."""
        self.held: dict[int, Held] = {}

    def release(self, number: int, *, confirmed: bool) -> None:
        """The worker has closed a session; `confirmed`: the server, too."""
        held = self.held.pop(number, None)
        if held is not None:
            held.connection.close()
            self.sure &= confirmed or not held.writes

    @property
    def still(self) -> bool:
        """Whether nothing of it can write any more."""
        return self.sure and all(held.ended for held in self.writing)

    @property
    def writing(self) -> list[Held]:
        """Its sessions that may write."""
        return [held for held in self.held.values() if held.writes]


def watch(link: socket.socket) -> dict[Key, Lease]:
    """Until the worker's end: the leases that it had then."""
    leases: dict[Key, Lease] = {}
    while True:
        message, descriptors, _, _ = socket.recv_fds(link, MESSAGE.size, 1)
        if not message:
            return leases
        what, task_no, epoch, number, flag, reset_is_end = MESSAGE.unpack(message)
        key = (task_no, epoch)
        if what == BEGUN:
            leases[key] = Lease()
        elif what == ENDED and key in leases:
            for held in leases.pop(key).held.values():
                held.connection.close()
        lease = leases.get(key)
        if what == HELD and descriptors:
            held = Held(descriptors[0], writes=flag, reset_is_end=reset_is_end)
            if lease is None:
                held.connection.close()
            else:
                lease.held[number] = held
        elif lease is None:
            continue
        elif what == HELD:  # we may have no more descriptors
            lease.sure &= not flag
        elif what == UNSURE:
            lease.sure = False
        elif what == RELEASED:
            lease.release(number, confirmed=flag)


def see_the_end(
    leases: dict[Key, Lease], clock: Callable[[], float] = time.monotonic
) -> Iterator[list[Key]]:
    """Close all sessions, and wait for their servers: those that are still, as they come."""
    began = clock()
    all_held = [held for lease in leases.values() for held in lease.held.values()]
    sources = [held for held in all_held if not held.writes]
    destinations = [held for held in all_held if held.writes]
    for held in sources:
        held.hang_up()
    _listen(sources, began + SOURCES_S, clock)
    _listen(destinations, began + ANSWERS_S, clock, quiet_s=QUIET_S)
    for held in destinations:
        held.hang_up()
    unknown = {key: lease for key, lease in leases.items() if lease.sure}
    for end_s in ENDS_S:
        _listen([h for lease in unknown.values() for h in lease.writing], began + end_s, clock)
        still = [key for key, lease in unknown.items() if lease.still]
        unknown = {key: lease for key, lease in unknown.items() if not lease.still}
        yield still


def _listen(
    some: Sequence[Held],
    until: float,
    clock: Callable[[], float],
    quiet_s: float | None = None,
) -> None:
    """Until all are over, it is time, or none has said anything for `quiet_s`."""
    poll = select.poll()
    waited_for = {held.connection.fileno(): held for held in some if not held.over}
    for descriptor in waited_for:
        poll.register(descriptor, select.POLLIN)
    while waited_for and (left_s := until - clock()) > 0:
        wait_s = left_s if quiet_s is None else min(left_s, quiet_s)
        ready = poll.poll(wait_s * 1000)
        if not ready and quiet_s is not None:
            return
        for descriptor, _ in ready:
            held = waited_for[descriptor]
            held.read()
            if held.over:
                poll.unregister(descriptor)
                del waited_for[descriptor]


def note(url: str, still: Sequence[Key]) -> None:
    """Tell whoever takes these tasks over."""
    import psycopg  # noqa: PLC0415 - most witnesses never need it

    from towpath.transfer.store.still import note_still  # noqa: PLC0415

    until = time.monotonic() + NOTE_S
    while True:
        try:
            note_still(url, still)
        except psycopg.OperationalError:
            if time.monotonic() > until:
                return
            time.sleep(NOTE_AGAIN_S)
        else:
            return


def main(descriptor: int) -> None:
    """Until the worker's end, and what is to be done then."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # who stops everything stops the worker, too
    link = socket.socket(fileno=descriptor)
    url = link.recv(URL_BYTES).decode()
    for still in see_the_end(watch(link)):
        if still:
            note(url, still)


if __name__ == "__main__":
    main(int(sys.argv[1]))
