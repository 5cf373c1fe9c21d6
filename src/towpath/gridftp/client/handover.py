"""How two servers are brought together: settings at both ends, one's address to the other."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Final

from towpath.gridftp.client.session import Session
from towpath.gridftp.data.protection import Protection
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.refusals import classify
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.wire import commands
from towpath.gridftp.wire.addresses import HostPort, parse_passive
from towpath.gridftp.wire.replies import Reply

MARKER_INTERVAL_S: Final = 1

_ENCODED: Final = re.compile(r"[A-Za-z0-9+/=]{24,}")
"""What may be a piece of a credential in base64; no word of a reply is so long."""


async def introduce(
    source: Session,
    destination: Session,
    *,
    data_credential: DataCredential | None,
    protection: Protection,
    streams: int,
    markers: bool,
    data_hosts: frozenset[str],
) -> HostPort:
    """Set both ends up; the destination's address, for the source. See `Lane.open`."""
    security = _security_settings(data_credential, protection)
    interval = MARKER_INTERVAL_S if markers else 0
    # The address first: the other answers are not waited for by anybody but us.
    there = [*security, "PASV", f"TREV PERF {interval}", "TREV RESTART 0"]
    here = [*security, commands.parallelism(streams)]
    answers_there = destination.submit(there)
    answers_here = source.submit(here)
    for session in (destination, source):
        session.ask()
    passive = (await _settled(destination, there, answers_there))[len(security)]
    addresses = parse_passive(passive, where=str(destination.server))
    address = _allowed(addresses[0], destination, data_hosts)
    await _settled(source, here, answers_here)
    return address


def _security_settings(data_credential: DataCredential | None, protection: Protection) -> list[str]:
    if data_credential is None:
        if protection is not Protection.CLEAR:
            raise ValueError("private data channels need a data credential")
        return ["DCAU N"]
    return [
        f"DCSC P {data_credential.blob}",
        "DCAU A",
        "PBSZ 1048576",
        f"PROT {protection.value}",
    ]


async def _settled(
    session: Session, lines: Sequence[str], futures: Sequence[asyncio.Future[Reply]]
) -> list[Reply]:
    """The replies of settings. Each one counts: a session whose DCSC was refused would go on with
    whatever credential it has."""
    await session.ready()
    replies = await session.answers(futures)
    for line, reply in zip(lines, replies, strict=True):
        if not reply.ok:
            error = classify(reply, where=str(session.server))
            # The verb only: the line of DCSC holds a private key, and servers repeat lines.
            error.setting = line.split(" ")[0]
            error.message = f"{error.setting} was refused: {error.message}"
            if error.setting == "DCSC" and error.reply is not None:
                error.reply = _ENCODED.sub("...", error.reply)
            raise error
    return replies


def _allowed(address: HostPort, destination: Session, data_hosts: frozenset[str]) -> HostPort:
    if address.host != destination.peer_ip and address.host not in data_hosts:
        raise GridFTPError(
            Kind.ADDRESS_REFUSED,
            f"the server wants its data sent to {address.host}, which is not its own address"
            " nor one of its data hosts",
            str(destination.server),
        )
    return address
