"""Who a server is: what its certificate says and proves, without a session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from towpath.gridftp.client.dial import Dial, Server, Timeouts
from towpath.gridftp.client.login import GsiLogin
from towpath.gridftp.client.reach import connect
from towpath.gridftp.client.session import utc_now
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.certificates import Certificate
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.errors import SecurityError
from towpath.gridftp.security.gsi import Initiator, Onlooker
from towpath.gridftp.security.trust import TrustRoots


async def prove(
    server: Server,
    *,
    credential: Credential | None,
    trust: TrustRoots,
    dial: Dial,
    timeouts: Timeouts,
    clock: Callable[[], datetime] = utc_now,
) -> str:
    """The subject of the server's certificate, once it has proven to be this host; then hang up.

    It may be asked anonymously. Raises GridFTPError: UNTRUSTED_HOST, with the fact HOST_SUBJECT if
    only the name is wrong; AUTHENTICATION when the server ends the handshake; and as `greet`.
    """
    initiator = Initiator(credential, trust, server.host, server.subject, now=clock)
    await _shake_hands(server, initiator, dial, timeouts)
    return initiator.peer_subject


async def shown_certificate(
    server: Server, *, dial: Dial, timeouts: Timeouts, clock: Callable[[], datetime] = utc_now
) -> Certificate | None:
    """The certificate that a server shows, whoever made it; None when it makes no sense.

    It proves nothing: anybody can show it. Raises GridFTPError, as `prove`.
    """
    onlooker = Onlooker(now=clock)
    await _shake_hands(server, onlooker, dial, timeouts)
    return onlooker.certificate


async def _shake_hands(
    server: Server, initiator: Initiator, dial: Dial, timeouts: Timeouts
) -> None:
    where = str(server)
    try:
        await asyncio.to_thread(initiator.prepare)
    except SecurityError as error:
        raise GridFTPError(Kind[error.kind.value], error.message, where) from None
    channel, _ = await connect(server, dial, timeouts, clear_text=False)
    try:
        login = GsiLogin(channel, initiator, lambda: None)
        login.start()
        async with asyncio.timeout(timeouts.login_s):
            await login.verified
    except TimeoutError:
        raise GridFTPError(
            Kind.TIMEOUT, f"no certificate within {timeouts.login_s:g} s", where
        ) from None
    finally:
        channel.fail(GridFTPError(Kind.CONNECTION_LOST, "we hung up", where))
