"""Makes the sample endpoints known to the service: their authority, and their rows."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from towpath.gridftp.security.authority import Authority
from towpath.platform.database import Database
from towpath.platform.files import private_directory, write_private
from towpath.samples.layout import HOST, ORGANIZATION, SAMPLES, Place
from towpath.transfer.store import endpoints
from towpath.transfer.store.endpoints import Endpoint

AUTHORITY_LIFETIME = timedelta(days=3650)
RENEW_BEFORE = timedelta(days=400)
"""A new authority is made at a start: the service may run for a year until the next."""
BACKLOG = 200

DETAILS = {
    "description": "Example data to read in /share/godata, and a home of your own to write to.",
    "organization": "Towpath",
    "keywords": "sample tutorial",
}


class SamplesError(Exception):
    """The sample endpoints' files cannot be used; the message says which, and what to do."""


def authority_of(place: Place, now: datetime) -> Authority:
    """That of the samples, made at the first start. Raises `OSError`, `SamplesError`."""
    private_directory(place.root)
    file = place.authority_file
    try:
        kept = Authority.load(file.read_bytes())
        if kept.not_after - now > RENEW_BEFORE:
            return kept
    except FileNotFoundError:
        pass
    except ValueError as error:
        raise SamplesError(
            f"{file} cannot be used ({error}); remove it to make a new one, or set"
            " samples.enabled = false"
        ) from error
    made = Authority.create(ORGANIZATION, now, AUTHORITY_LIFETIME)
    write_private(file, made.to_pem())
    return made


@dataclass(frozen=True)
class Prepared:
    """All that is needed to serve them."""

    authority: Authority
    listeners: Mapping[UUID, socket.socket]

    def close(self) -> None:
        """Stop listening."""
        for one in self.listeners.values():
            one.close()

    @property
    def authorities(self) -> dict[UUID, Authority]:
        """Who issues credentials for which endpoint."""
        return dict.fromkeys(self.listeners, self.authority)


async def prepare(
    database: Database, place: Place, owner: tuple[UUID, str], now: datetime
) -> Prepared:
    """Files, authority, sockets and rows. `owner`: of the endpoints, identity and name.

    Raises `OSError`, `SamplesError`.
    """
    authority = await asyncio.to_thread(authority_of, place, now)
    await asyncio.to_thread(place.prepare)
    prepared = Prepared(authority, await _listeners(database))
    try:
        await _register(database, prepared, owner)
    except BaseException:
        prepared.close()
        raise
    return prepared


async def _listeners(database: Database) -> dict[UUID, socket.socket]:
    """A listening socket for each: on the port that it had before, as tasks that run know it."""
    found: dict[UUID, socket.socket] = {}
    for sample in SAMPLES:
        async with database.connection() as conn:
            known = await endpoints.get(conn, sample.id)
        found[sample.id] = _listen(0 if known is None else known.port)
    return found


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port), backlog=BACKLOG)
    except OSError:
        if not port:
            raise
    return socket.create_server((HOST, 0), backlog=BACKLOG)


async def _register(database: Database, prepared: Prepared, owner: tuple[UUID, str]) -> None:
    owner_id, owner_string = owner
    for sample in SAMPLES:
        wanted = Endpoint(
            id=sample.id,
            owner_id=owner_id,
            owner_string=owner_string,
            display_name=sample.name,
            host=HOST,
            port=prepared.listeners[sample.id].getsockname()[1],
            subject=None,
            data_hosts=(),
            public=True,
            details=DETAILS,
        )
        trust_files = prepared.authority.trust_files
        async with database.transaction() as conn:
            if await endpoints.get(conn, sample.id, lock=True) is None:
                await endpoints.insert(conn, wanted, trust_files)
            else:
                await endpoints.update(conn, wanted, trust_files)
                await endpoints.bring_back(conn, sample.id)


async def withdraw(database: Database) -> None:
    """The deployment has none (any more)."""
    for sample in SAMPLES:
        async with database.transaction() as conn:
            if await endpoints.get(conn, sample.id, lock=True) is not None:
                await endpoints.mark_deleted(conn, sample.id)
