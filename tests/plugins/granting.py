"""An endpoint of our own server that takes grants, and who makes them: the service, or a thief."""

import getpass
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from plugins.own_server import OwnServer, own_server
from towpath.connect.logins import GrantLogins, Place
from towpath.demo.authority import Domain
from towpath.dsi.posix import PosixStorage
from towpath.dsi.storage import Storage
from towpath.grants import (
    Grant,
    GrantRefused,
    KeySet,
    Prefix,
    Reason,
    SigningKey,
    Verifier,
    certificate_sha256,
    mint,
)
from towpath.gridftp.client.dial import Server
from towpath.gridftp.client.session import Session, Timeouts
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.server.frames import Opening

ISSUER = "https://move.example.org"
ENDPOINT = "2f8c0c4e-5d0f-4e55-9c29-3b1c1df6a001"
SOMEBODY = "a2a8e2f0-95a1-4bb2-9d3c-0f4a0f4a0001"
READ = (Prefix("/", write=False),)
WRITE = (Prefix("/", write=True),)
QUICK = Timeouts(connect_s=10, login_s=20, reply_s=20, close_s=2)


def hash_of(credential: Credential) -> str:
    """As a grant names the certificate of whoever may show it."""
    (first, *_) = credential.certificates
    return certificate_sha256(first.public_bytes(Encoding.DER))


@dataclass
class Granting:
    """A running endpoint, and the service it belongs to."""

    server: OwnServer
    domain: Domain
    key: SigningKey
    credential: Credential
    """The service's."""
    clock: list[float] = field(default_factory=lambda: [0.0])
    """Seconds by which the endpoint's clock is ahead."""

    def grant(self, prefixes: tuple[Prefix, ...] = WRITE, **changes: Any) -> Grant:
        """What the service would sign now, with changes that it would not make."""
        made = Grant.issue(
            issuer=ISSUER,
            audience=ENDPOINT,
            subject=SOMEBODY,
            account=getpass.getuser(),
            collection=ENDPOINT,
            prefixes=prefixes,
            certificate_sha256=hash_of(self.credential),
            now=time.time() + self.clock[0],
        )
        return replace(made, **changes)

    def token(self, prefixes: tuple[Prefix, ...] = WRITE, **changes: Any) -> str:
        """The same, signed."""
        return mint(self.grant(prefixes, **changes), self.key)

    async def open(self, token: str, credential: Credential | None = None) -> Session:
        """Our client's login with it."""
        return await Session.open(
            Server("localhost", self.server.port),
            credential=credential or self.credential,
            trust=self.domain.trust,
            token=lambda: token,
            timeouts=QUICK,
        )


@contextmanager
def granting(
    domain: Domain,
    root: Path | Storage | Callable[[Opening], Storage],
    *,
    extra: Mapping[str, str] = MappingProxyType({}),
    **options: Any,
) -> Iterator[Granting]:
    """An endpoint whose collection is a directory, another storage, or chosen for each session."""
    key = SigningKey.new()
    keys = KeySet.of([key])
    clock = [0.0]

    def now() -> float:
        return time.time() + clock[0]

    def place_of(grant: Grant) -> Place:
        if grant.account != getpass.getuser():
            raise GrantRefused(Reason.ACCOUNT, "there is no such account here", grant.grant_id)
        return Place(getpass.getuser(), "/home", extra)

    tokens = GrantLogins(
        Verifier(issuer=ISSUER, audience=ENDPOINT, keys=lambda: keys, now=now), place_of
    )
    storage = PosixStorage(root) if isinstance(root, Path) else root
    options.setdefault("gridmap", False)
    with own_server(domain, storage, tokens=tokens, now=now, **options) as server:
        yield Granting(server, domain, key, domain.user.credential(), clock)
