"""The server's side of a GSI login, in Python: for servers that must do what no real one does."""

import ssl

from towpath.demo.authority import Issued
from towpath.gridftp.security.credentials import load_key
from towpath.gridftp.security.trust import TrustRoots


class Acceptor:
    """The server's side of a GSI handshake, one token at a time."""

    def __init__(
        self,
        trust: TrustRoots,
        host: Issued,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        tickets: int = 0,
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VerifyFlags.VERIFY_ALLOW_PROXY_CERTS
        context.maximum_version = version
        context.num_tickets = tickets
        context.load_verify_locations(cadata=b"".join(trust.authorities))
        load_key(context, host.credential().to_pem())
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.shaken = False

    def answer(self, token: bytes) -> bytes:
        """The answer to a token of the handshake."""
        self.incoming.write(token)
        if not self.shaken:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                return self.outgoing.read()
            self.shaken = True
            if not self.outgoing.pending:
                self.tls.write(b"\0")
        return self.outgoing.read()

    def read(self) -> bytes:
        return self.tls.read(65536)

    def write(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.outgoing.read()
