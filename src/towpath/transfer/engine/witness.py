"""The worker's side of its witness (`engine.witness_process`, decision 11).

A lease is proven to be still only if the witness has known it from its beginning, and has had each
session that may write from before anything was sent. So whatever goes wrong here costs a proof, and
never makes one: a witness that cannot be told something is killed.
"""

import contextlib
import itertools
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import structlog

from towpath.gridftp.client.channel import ControlChannel
from towpath.transfer.engine import witness_process
from towpath.transfer.engine.witness_process import (
    BEGUN,
    ENDED,
    HELD,
    MESSAGE,
    RELEASED,
    UNSURE,
)
from towpath.transfer.store.leases import Grant

log = structlog.get_logger()

AGAIN_AFTER_S = 60.0
"""One that was lost is replaced, but not again and again."""
END_S = 2.0
"""For a process that was killed."""


class Witness:
    """Tells the witness of leases and sessions. Nothing here waits, or raises."""

    def __init__(self, database_url: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`start` it."""
        self._database_url = database_url
        self._clock = clock
        self._link: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._numbers = itertools.count(1)

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return None if self._link is None or self._process is None else self._process.pid

    def begins(self, grant: Grant) -> None:
        """A lease begins. No session of it has been opened."""
        if self._link is None and self._clock() - self._started_at >= AGAIN_AFTER_S:
            self.start()
        self._tell(BEGUN, _key(grant))

    def ends(self, grant: Grant) -> None:
        """All that was done under the lease has come to its end."""
        self._tell(ENDED, _key(grant))

    def hold(self, grant: Grant, channel: ControlChannel, *, writes: bool) -> None:
        """Before anything but a login has been sent; `writes`: commands that write may follow."""
        number, key = next(self._numbers), _key(grant)

        def release(peer_ended: bool) -> None:  # noqa: FBT001 - called by the channel
            self._tell(RELEASED, key, number, flag=peer_ended)

        try:
            descriptor = channel.share(release)
        except OSError:
            self._tell(UNSURE, key)
            return
        if descriptor is not None:
            self._tell(
                HELD,
                key,
                number,
                flag=writes,
                reset_is_end=channel.reset_is_end,
                descriptors=[descriptor],
            )

    def start(self) -> None:
        """Start the process; without one, nothing is ever proven."""
        self._started_at = self._clock()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", witness_process.__name__, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # a signal to the worker's group is not for it
                )
            ours.setblocking(False)
            ours.send(self._database_url.encode())
        except OSError as error:
            ours.close()
            log.warning("no witness", error=str(error))
        else:
            self._link = ours

    def close(self) -> None:
        """The worker has handed its tasks back. Who dies does not call this."""
        self._kill()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_S)

    def _tell(
        self,
        what: bytes,
        key: tuple[int, int],
        number: int = 0,
        *,
        flag: bool = False,
        reset_is_end: bool = False,
        descriptors: Sequence[int] = (),
    ) -> None:
        if self._link is None:
            return
        message = MESSAGE.pack(what, *key, number, flag, reset_is_end)
        try:
            socket.send_fds(self._link, [message], descriptors)
        except OSError as error:  # it is dead, or so slow that it might as well be
            log.warning("witness lost", error=str(error))
            self._kill()

    def _kill(self) -> None:
        if self._link is None:
            return
        assert self._process is not None
        self._process.kill()  # first: the end of the link would mean our death
        self._link.close()
        self._link = None


def _key(grant: Grant) -> tuple[int, int]:
    return grant.task_no, grant.lease_epoch
