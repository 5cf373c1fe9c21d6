"""Logs on at MyProxy servers for users, who give a pass phrase and get a credential."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

from towpath.gridftp.client.dial import Server, Timeouts
from towpath.gridftp.client.myproxy import MyProxy
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.trust import TrustRoots
from towpath.transfer.browse.gates import Gates
from towpath.transfer.sessions import EndpointSessions, SessionUnavailable

TIMEOUTS: Final = Timeouts(connect_s=10, login_s=15, reply_s=15)
"""Of each step."""
LOGON_S: Final = 45.0
"""Of all steps: below the 60 s after which clients ask again."""

AT_ONCE: Final = 2
"""Logons of one user: a page, and one that was left."""
WAIT_S: Final = 5.0

WRONG_MOST: Final = 10
WRONG_WITHIN_S: Final = 15 * 60.0
"""So many refused logons a user may have in so long: mistakes, but no search for pass phrases by
way of us. MyProxy servers count for themselves, too, or not."""
USERS_COUNTED: Final = 10_000
"""Those with the oldest mistakes are forgotten first."""


class TooManyGuesses(Exception):  # noqa: N818 - a state, named as one
    """The user has been refused too often; `retry_after_s` tells how long to wait."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"{WRONG_MOST} logons were refused")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user asks a MyProxy server for."""

    server: Server
    username: str
    passphrase: str = field(repr=False)
    lifetime: timedelta
    credential_name: str


class MyProxyLogons:
    """Logons of all users."""

    def __init__(
        self, sessions: EndpointSessions, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._gates: Gates[UUID] = Gates(
            AT_ONCE, WAIT_S, f"{AT_ONCE} logons of yours are already under way"
        )
        self._refused: OrderedDict[UUID, deque[float]] = OrderedDict()

    async def logon(
        self, user_id: UUID, wanted: Wanted, trust_files: Mapping[str, str]
    ) -> Credential:
        """What the server gives, which must prove itself to these trust roots.

        Raises GridFTPError, SessionUnavailable, TooBusy, TooManyGuesses. Nothing of it has the
        pass phrase in it, and nothing keeps it.
        """
        if not trust_files:
            raise SessionUnavailable(
                "the endpoint has no trust roots: no server can prove who it is",
                "have its owner add the authorities that its servers' certificates are from",
            )
        async with self._gates.place(user_id):
            self._check(user_id)
            trust = await asyncio.to_thread(TrustRoots.from_files, trust_files)
            myproxy = MyProxy(wanted.server, trust, dial=self._sessions.dial, timeouts=TIMEOUTS)
            try:
                async with asyncio.timeout(LOGON_S):
                    return await myproxy.logon(
                        wanted.username,
                        wanted.passphrase,
                        lifetime=wanted.lifetime,
                        name=wanted.credential_name,
                    )
            except TimeoutError:
                raise GridFTPError(
                    Kind.TIMEOUT, f"no credential within {LOGON_S:g} s", str(wanted.server)
                ) from None
            except GridFTPError as error:
                if error.kind in (Kind.LOGIN, Kind.UNKNOWN):
                    self._count(user_id)
                raise

    def _check(self, user_id: UUID) -> None:
        refused = self._refused.get(user_id, deque())
        since = self._clock() - WRONG_WITHIN_S
        while refused and refused[0] <= since:
            refused.popleft()
        if len(refused) >= WRONG_MOST:
            raise TooManyGuesses(refused[0] - since)

    def _count(self, user_id: UUID) -> None:
        self._refused.setdefault(user_id, deque()).append(self._clock())
        self._refused.move_to_end(user_id)
        if len(self._refused) > USERS_COUNTED:
            self._refused.popitem(last=False)
