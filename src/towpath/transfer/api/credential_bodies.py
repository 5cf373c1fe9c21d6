"""Request documents about credentials."""

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from towpath.gridftp.client.dial import Server
from towpath.gridftp.client.myproxy import LOGON_LIFETIME
from towpath.gridftp.wire.myproxy import DEFAULT_PORT
from towpath.transfer.api.bodies import Document, Text, refuse
from towpath.transfer.api.endpoint_bodies import host_name
from towpath.transfer.browse.logon import Wanted

MAX_LIFETIME_H = 24 * 366 * 10
"""MyProxy counts seconds in 32 bits. The server gives what it will give."""
MAX_CHARACTERS = 1024
"""The client refuses what is longer than a server takes; this bounds what it has to look at."""


class CredentialDocument(Document):
    """A proxy, in PEM: certificate, key, chain."""

    proxy: Text


def _server(text: str) -> str:
    myproxy_server(text)
    return text


def myproxy_server(text: str) -> Server:
    """HOST, HOST:PORT or [ADDRESS]:PORT. Raises a validation error."""
    host, colon, digits = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, digits = text, str(DEFAULT_PORT)
    if not (
        digits.isascii() and digits.isdigit() and len(digits) <= 5 and 0 < int(digits) < 1 << 16
    ):
        raise refuse("invalid_host", "a MyProxy server is HOST or HOST:PORT")
    return Server(host_name(host), int(digits))


Value = Annotated[Text, Field(max_length=MAX_CHARACTERS)]


class LogonDocument(Document):
    """A logon at a MyProxy server. The pass phrase is used once, and kept nowhere."""

    server: Annotated[Value, AfterValidator(_server)]
    username: Annotated[Value, Field(min_length=1)]
    passphrase: Annotated[SecretStr, Field(min_length=1, max_length=MAX_CHARACTERS)]
    lifetime_h: Annotated[int, Field(ge=1, le=MAX_LIFETIME_H)] | None = None
    credential_name: Value | None = None

    def wanted(self) -> Wanted:
        """As the logon takes it."""
        lifetime = LOGON_LIFETIME if self.lifetime_h is None else timedelta(hours=self.lifetime_h)
        return Wanted(
            myproxy_server(self.server),
            self.username,
            self.passphrase.get_secret_value(),
            lifetime,
            self.credential_name or "",
        )
