"""A MyProxy client: get a credential for a pass phrase, keep one at a server, fetch trust roots."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from ssl import DER_cert_to_PEM_cert
from typing import Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from towpath.gridftp.client.dial import Dial, Server, Timeouts, default_dial, keep_alive, reason_of
from towpath.gridftp.client.session import utc_now
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.refusals import classify_myproxy
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.errors import SecurityError, SecurityKind
from towpath.gridftp.security.gsi import Initiator
from towpath.gridftp.security.proxies import make_proxy_request, sign_proxy_request
from towpath.gridftp.security.trust import TrustRoots
from towpath.gridftp.wire.myproxy import (
    MESSAGE_LIMIT_BYTES,
    TRUST_ROOTS_LIMIT_BYTES,
    Command,
    MessageReader,
    Request,
    Response,
    Status,
    StoredCredential,
    encode_certificates,
)

LOGON_LIFETIME: Final = timedelta(hours=12)
STORED_LIFETIME: Final = timedelta(days=7)
"""Both are what myproxy-logon and myproxy-init ask for."""

MIN_PASSPHRASE: Final = 6
"""Characters of one that a credential is stored under; the server's own rule."""

_READ_BYTES: Final = 64 * 1024

T = TypeVar("T")


class MyProxy:
    """One MyProxy server. Each operation is a connection of its own.

    All methods raise GridFTPError: LOGIN for a wrong pass phrase or an unknown user, UNTRUSTED_HOST
    before anything secret is sent, AUTHENTICATION when the server does not take `credential`.
    Neither pass phrases nor keys are in any error.
    """

    def __init__(
        self,
        server: Server,
        trust: TrustRoots,
        *,
        dial: Dial = default_dial,
        timeouts: Timeouts | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.server = server
        self._trust = trust
        self._dial = dial
        self._timeouts = timeouts or Timeouts()
        self._clock = clock

    async def logon(
        self,
        username: str,
        passphrase: str,
        *,
        lifetime: timedelta = LOGON_LIFETIME,
        name: str = "",
        credential: Credential | None = None,
    ) -> Credential:
        """A fresh credential: a proxy of the stored one of this `name`, or a new certificate.

        The server may give less than `lifetime`. `credential` is for servers that want to know who
        asks. The key is made here and stays here.
        """
        request = Request(
            Command.GET,
            username,
            passphrase,
            lifetime_s=int(lifetime.total_seconds()),
            credential_name=name,
        )
        # The key takes as long as the server needs to check the pass phrase.
        making_key = asyncio.create_task(asyncio.to_thread(make_proxy_request))
        try:
            async with self._asked(request, credential) as (exchange, _):
                key_pem, certificate_request = await making_key
                exchange.send(certificate_request)
                chain = await exchange.wanted(exchange.reader.certificates)
                await exchange.response()
        finally:
            making_key.cancel()
        return self._received(chain, key_pem)

    async def store(
        self,
        username: str,
        passphrase: str,
        *,
        credential: Credential,
        lifetime: timedelta = STORED_LIFETIME,
        logon_lifetime: timedelta = LOGON_LIFETIME,
        name: str = "",
        description: str = "",
    ) -> datetime:
        """Give the server a proxy of `credential` to keep; until when it is good.

        Who knows the pass phrase gets proxies of it, each good for at most `logon_lifetime`. The
        key of `credential` stays here. One stored before under this user and name is replaced.
        """
        self._require_length(passphrase)
        request = Request(
            Command.PUT,
            username,
            passphrase,
            lifetime_s=int(logon_lifetime.total_seconds()),
            credential_name=name,
            description=description,
        )
        async with self._asked(request, credential) as (exchange, _):
            wanted = await exchange.wanted(exchange.reader.certificate_request)
            now = self._clock()
            try:
                proxy = await asyncio.to_thread(
                    sign_proxy_request, credential, wanted, lifetime, now
                )
            except ValueError as error:
                raise self._error(Kind.PROTOCOL, str(error)) from None
            chain = [item.public_bytes(Encoding.DER) for item in credential.certificates]
            exchange.send(encode_certificates([proxy, *chain]))
            await exchange.response()
        return x509.load_der_x509_certificate(proxy).not_valid_after_utc

    async def info(
        self, username: str, *, credential: Credential, name: str = ""
    ) -> tuple[StoredCredential, ...]:
        """The credentials of this user that the owner of `credential` has stored."""
        request = Request(Command.INFO, username, credential_name=name)
        async with self._asked(request, credential) as (_, response):
            return response.credentials

    async def destroy(self, username: str, *, credential: Credential, name: str = "") -> None:
        """Have a stored credential removed by its owner."""
        request = Request(Command.DESTROY, username, credential_name=name)
        async with self._asked(request, credential):
            pass

    async def change_passphrase(
        self, username: str, old: str, new: str, *, credential: Credential, name: str = ""
    ) -> None:
        """Have the pass phrase of a stored credential changed by its owner."""
        self._require_length(new)
        request = Request(
            Command.CHANGE_PASSPHRASE, username, old, new_passphrase=new, credential_name=name
        )
        async with self._asked(request, credential):
            pass

    async def trust_roots(self) -> Mapping[str, bytes]:
        """The files of the server's trusted-certificates directory, by name.

        Only as good as the server, which must be trusted already. UNSUPPORTED if it gives none.
        """
        async with self._asked(Request(Command.GET_TRUST_ROOTS), None) as (_, response):
            if not response.trust_roots:
                raise self._error(Kind.UNSUPPORTED, "the server has no trust roots to give")
            return response.trust_roots

    @asynccontextmanager
    async def _asked(
        self, request: Request, credential: Credential | None
    ) -> AsyncIterator[tuple[_Exchange, Response]]:
        """A connection on which `request` was sent and has been granted."""
        secrets = tuple(filter(None, (request.passphrase, request.new_passphrase)))
        large = request.command is Command.GET_TRUST_ROOTS
        reader = MessageReader(TRUST_ROOTS_LIMIT_BYTES if large else MESSAGE_LIMIT_BYTES)
        server = self.server
        security = Initiator(credential, self._trust, server.host, server.subject, now=self._clock)
        try:
            message = request.encode()
            first = await asyncio.to_thread(_first_tokens, security)
            async with self._connected() as connection:
                exchange = _Exchange(connection, security, reader, self._timeouts, secrets)
                await exchange.shake_hands(first)
                exchange.send(message)
                yield exchange, await exchange.response()
        except GridFTPError as error:
            error.where = error.where or str(server)
            raise

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[socket.socket]:
        limit = self._timeouts.connect_s
        try:
            async with asyncio.timeout(limit):
                connection = await self._dial(self.server.host, self.server.port)
        except TimeoutError:
            raise self._error(Kind.CONNECT, f"no connection within {limit:g} s") from None
        with connection:
            try:
                keep_alive(connection)
            except OSError as error:
                raise _broken(error) from None
            yield connection

    def _received(self, chain: tuple[bytes, ...], key_pem: bytes) -> Credential:
        try:
            first, *rest = [DER_cert_to_PEM_cert(item).encode() for item in chain]
            credential = Credential.from_pem(first + key_pem + b"".join(rest))
        except ValueError as error:
            raise self._error(
                Kind.PROTOCOL, f"the server's certificates cannot be used: {error}"
            ) from None
        try:
            credential.require_valid(self._clock())
        except SecurityError as error:
            raise self._error(Kind.CREDENTIAL_EXPIRED, error.message) from None
        return credential

    def _require_length(self, passphrase: str) -> None:
        # Told here, where none is sent. The server would take an empty one, and keep the key in
        # clear.
        if len(passphrase) < MIN_PASSPHRASE:
            raise self._error(
                Kind.LOGIN, f"a pass phrase must have at least {MIN_PASSPHRASE} characters"
            )

    def _error(self, kind: Kind, message: str) -> GridFTPError:
        return GridFTPError(kind, message, str(self.server))


class _Exchange:
    """One connection: a GSI login as on a control channel, but on the bare TCP stream; then
    messages in turns. What the server has not been asked for, it is not told."""

    def __init__(
        self,
        connection: socket.socket,
        security: Initiator,
        reader: MessageReader,
        timeouts: Timeouts,
        secrets: tuple[str, ...],
    ) -> None:
        self.reader = reader
        self._connection = connection
        self._security = security
        self._timeouts = timeouts
        self._secrets = secrets
        self._outgoing: list[bytes] = []

    async def shake_hands(self, first: list[bytes]) -> None:
        """Until the server has proven who it is; `first` are the tokens to begin with."""
        limit = self._timeouts.login_s
        try:
            async with asyncio.timeout(limit):
                self._outgoing += first
                while not self._security.handshake_done:
                    self._outgoing += self._security.step(await self._bytes())
        except TimeoutError:
            raise GridFTPError(
                Kind.TIMEOUT, f"the server did not finish the login within {limit:g} s", ""
            ) from None
        except SecurityError as error:
            raise _translated(error) from None

    def send(self, message: bytes) -> None:
        """One message, which goes out when its answer is waited for.

        The server takes what it finds at one moment for one message, so each is sent after the
        answer to the one before.
        """
        self._outgoing.append(self._security.wrap(message))

    async def response(self) -> Response:
        """The next response, which is OK. Raises what it means if it is not."""
        response = await self._next(self.reader.response)
        self._require_ok(response)
        return response

    async def wanted(self, take: Callable[[], T | Response | None]) -> T:
        """The next message, of the kind that `take` gives. Raises what comes in its place."""
        message: T | Response = await self._next(take)
        if isinstance(message, Response):
            self._require_ok(message)
            raise GridFTPError(Kind.PROTOCOL, "the server sent nothing but its consent", "")
        return message

    async def _next(self, take: Callable[[], T | None]) -> T:
        limit = self._timeouts.reply_s
        try:
            async with asyncio.timeout(limit):
                message = take()
                while message is None:
                    data = await self._bytes()
                    # MiB of trust roots take a while.
                    message = await asyncio.to_thread(self._digest, data, take)
                return message
        except TimeoutError:
            raise GridFTPError(Kind.TIMEOUT, f"no answer within {limit:g} s", "") from None
        except SecurityError as error:
            raise _translated(error) from None

    def _digest(self, data: bytes, take: Callable[[], T | None]) -> T | None:
        self.reader.feed(self._security.unwrap(data))
        return take()

    async def _bytes(self) -> bytes:
        loop = asyncio.get_running_loop()
        if self._outgoing:
            outgoing = b"".join(self._outgoing)
            self._outgoing.clear()
            # A server that has hung up may have said why: what came in is read all the same.
            with contextlib.suppress(OSError):
                await loop.sock_sendall(self._connection, outgoing)
        try:
            # Not by a stream: that forgets what it has read when the connection is reset.
            data = await loop.sock_recv(self._connection, _READ_BYTES)
        except OSError as error:
            raise _broken(error) from None
        if not data:
            raise GridFTPError(Kind.CONNECTION_LOST, "the server closed the connection", "")
        return data

    def _require_ok(self, response: Response) -> None:
        if response.status is Status.CHALLENGE:
            raise GridFTPError(Kind.LOGIN, "the server wants another proof than a pass phrase", "")
        if response.status is Status.REFUSED:
            text = "\n".join(response.errors)
            error = classify_myproxy(text, where="")
            if any(secret in text for secret in self._secrets):
                error.reply = None  # it goes into logs
            raise error


def _first_tokens(security: Initiator) -> list[bytes]:
    """Reads all authorities, which takes a while. Raises for an expired credential."""
    try:
        return security.step(None)
    except SecurityError as error:
        raise _translated(error) from None


def _translated(error: SecurityError) -> GridFTPError:
    kind = Kind[error.kind.value]
    if error.kind is SecurityKind.AUTHENTICATION and "ALERT" not in error.message:
        # Not the server's own TLS alert, so it is not our credential that it dislikes.
        kind = Kind.PROTOCOL
    return GridFTPError(kind, error.message, "")


def _broken(error: OSError) -> GridFTPError:
    return GridFTPError(Kind.CONNECTION_LOST, f"the connection broke ({reason_of(error)})", "")
