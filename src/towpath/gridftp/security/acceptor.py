"""The server's side of a GSI login: the other end of `gsi.Initiator` (RFC 2228, GFD.20).

Tokens are the bytes of TLS records, without framing. After the handshake the initiator sends one
byte of application data: `0`, or `D` to delegate; then we send a certificate request (PKCS#10), and
get a proxy certificate for its key.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable
from datetime import datetime
from enum import Enum, auto

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from towpath.gridftp.security.certificates import Certificate
from towpath.gridftp.security.credentials import Credential, load_key
from towpath.gridftp.security.errors import SecurityError, SecurityKind
from towpath.gridftp.security.gsi import MAX_TOKEN_BYTES, is_whole_der, verified_chain
from towpath.gridftp.security.names import identity, one_line
from towpath.gridftp.security.proxies import KEY_BITS
from towpath.gridftp.security.trust import TrustRoots

_RECORD_BYTES = 16 * 1024
"""What one TLS record can hold at most."""

_RECORD_HEAD_BYTES = 5

_PORTION_BYTES = 16 * 1024
"""Given to the TLS engine at one go: its buffers keep the size that they once had to have."""

_CERT_HAS_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED


def new_key() -> rsa.RSAPrivateKey:
    """A key for a delegated credential. Takes 50 to 300 ms, without the interpreter's lock."""
    return rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)


class HostSecurity:
    """What all logins of a server share: its credential, whom it trusts, and the TLS context."""

    def __init__(
        self,
        host: Credential,
        trust: TrustRoots,
        *,
        now: Callable[[], datetime],
        key: Callable[[], rsa.RSAPrivateKey] = new_key,
    ) -> None:
        """`host`: certificate and key of the host. `key`: makes the key of a delegated credential.

        Raises `ssl.SSLError` when OpenSSL does not take the credential.
        """
        self.host = host
        self.trust = trust
        self.now = now
        self.key = key
        self.context = trust.server_context()
        load_key(self.context, host.to_pem())

    def acceptor(self) -> Acceptor:
        """For one connection."""
        return Acceptor(self)


class _State(Enum):
    HANDSHAKE = auto()
    FLAG = auto()
    CERTIFICATE = auto()
    DONE = auto()
    FAILED = auto()


class Acceptor:
    """Takes the login of one client: a pure state machine, no I/O.

    `step` takes each token of the client and gives what to answer with; once `complete`, commands
    come through `unwrap` and replies go through `wrap`. One `step` may take 300 ms of arithmetic:
    call it in a thread. It is called by one thread at a time.
    """

    def __init__(self, security: HostSecurity) -> None:
        """`security.acceptor()` makes one."""
        self._security = security
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = security.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._state = _State.HANDSHAKE
        self._key: rsa.RSAPrivateKey | None = None
        self._received = b""
        self._chain: list[Certificate] = []
        self.peer_subject = ""
        """Who the client is, in one line; known after the handshake."""
        self.delegated: Credential | None = None
        """What the client has delegated, if he has."""

    @property
    def peer_sha256(self) -> str:
        """SHA-256 (hex) of the certificate whose key the client has; empty before the handshake."""
        return hashlib.sha256(self._chain[0].der).hexdigest() if self._chain else ""

    @property
    def complete(self) -> bool:
        """Whether the client is logged in: the answer is 235, else 335."""
        return self._state is _State.DONE

    def step(self, token: bytes) -> bytes:
        """Take the client's token, give ours (it may be empty).

        Raises `SecurityError`: AUTHENTICATION, CREDENTIAL_EXPIRED. Then it is of no use any more.
        """
        if self._state in (_State.DONE, _State.FAILED):
            raise SecurityError(SecurityKind.AUTHENTICATION, "no token is expected now")
        try:
            self._take(token)
        except BaseException:
            self._state = _State.FAILED
            raise
        return self._outgoing.read()

    def forget_delegated(self) -> None:
        """It has been handed on: who takes over this process later must not find it here."""
        self.delegated = self._key = None

    def wrap(self, reply: bytes) -> bytes:
        """Encrypt; the result, in base64, is the text of a 632 line."""
        if len(reply) <= _PORTION_BYTES:
            self._tls.write(reply)
            return self._outgoing.read()
        parts: list[bytes] = []
        for start in range(0, len(reply), _PORTION_BYTES):
            self._tls.write(reply[start : start + _PORTION_BYTES])
            parts.append(self._outgoing.read())
        return b"".join(parts)

    def unwrap(self, token: bytes) -> bytes:
        """Decrypt the (base64-decoded) argument of `ENC`. Raises `SecurityError`."""
        if len(token) <= _PORTION_BYTES:
            self._incoming.write(token)
            return self._read(is_one_record=_is_one_record(token))
        if len(token) > MAX_TOKEN_BYTES:
            raise _failure("the client's token is too large")
        plain: list[bytes] = []
        for start in range(0, len(token), _PORTION_BYTES):
            self._incoming.write(token[start : start + _PORTION_BYTES])
            plain.append(self._read())
        return b"".join(plain)

    def _take(self, token: bytes) -> None:
        if len(token) > MAX_TOKEN_BYTES:
            raise _failure("the client's token is too large")
        self._incoming.write(token)
        if self._state is _State.HANDSHAKE and not self._handshake():
            return
        if data := self._read():
            if self._state is _State.FLAG:
                self._take_flag(data)
            else:
                self._take_certificate(data)

    def _handshake(self) -> bool:
        """Whether it is finished."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLCertVerificationError as error:
            if error.verify_code == _CERT_HAS_EXPIRED:
                raise SecurityError(
                    SecurityKind.CREDENTIAL_EXPIRED, "the client's certificate has expired"
                ) from None
            raise _failure(f"the client's certificate: {error.verify_message}") from None
        except ssl.SSLError as error:
            raise _failure(f"TLS handshake failed: {error.reason or error}") from None
        self._check_peer()
        if not self._outgoing.pending:
            # The initiator waits for something before it sends its flag.
            self._tls.write(b"\0")
        self._state = _State.FLAG
        return True

    def _check_peer(self) -> None:
        try:
            self._chain = [Certificate(der) for der in verified_chain(self._tls)]
            self.peer_subject = one_line(identity(self._chain).subject)
        except ValueError as error:
            raise _failure(f"the client's certificate makes no sense: {error}") from None
        try:
            self._security.trust.check_chain(self._chain, self._security.now())
        except SecurityError as error:
            raise _failure(error.message) from None

    def _take_flag(self, data: bytes) -> None:
        if data == b"0":
            self._state = _State.DONE
        elif data == b"D":
            self._state = _State.CERTIFICATE
            self._tls.write(self._request())
        else:
            raise _failure("the client asks for neither delegation nor none")

    def _request(self) -> bytes:
        self._key = self._security.key()
        # The subject says nothing: it is the issuer who names a proxy. GCT writes the same.
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "NULL SUBJECT NAME ENTRY")])
        builder = x509.CertificateSigningRequestBuilder().subject_name(name)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.DER)

    def _take_certificate(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > MAX_TOKEN_BYTES:
            raise _failure("the delegated certificate is too large")
        if not is_whole_der(self._received):
            return
        try:
            self.delegated = self._accept(self._received)
        except ValueError as error:
            raise _failure(f"the delegated certificate is of no use: {error}") from None
        self.delegated.require_valid(self._security.now())
        self._state = _State.DONE

    def _accept(self, der: bytes) -> Credential:
        """The credential of a delegated certificate. Raises `ValueError`."""
        assert self._key is not None
        if not Certificate(der).is_proxy:
            raise ValueError("it is no proxy certificate")
        certificate = x509.load_der_x509_certificate(der)
        issuer = x509.load_der_x509_certificate(self._chain[0].der)
        if certificate.public_key() != self._key.public_key():
            raise ValueError("it is for another key")
        try:
            certificate.verify_directly_issued_by(issuer)
        except (InvalidSignature, TypeError, ValueError):
            raise ValueError("the client has not signed it") from None
        key = self._key.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )
        chain = self._chain[:-1] or self._chain  # the root is for peers to have
        pem = "".join(ssl.DER_cert_to_PEM_cert(item.der) for item in chain)
        return Credential.from_pem(certificate.public_bytes(Encoding.PEM) + key + pem.encode())

    def _read(self, *, is_one_record: bool = False) -> bytes:
        parts: list[bytes] = []
        try:
            while part := self._tls.read(_RECORD_BYTES):
                if is_one_record:
                    return part
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            raise _failure(f"the secured channel broke: {error.reason or error}") from None
        return b"".join(parts)


def _is_one_record(token: bytes) -> bool:
    """Whether nothing comes after its first record: then nothing needs to be looked for."""
    return int.from_bytes(token[3:_RECORD_HEAD_BYTES], "big") == len(token) - _RECORD_HEAD_BYTES


def _failure(message: str) -> SecurityError:
    return SecurityError(SecurityKind.AUTHENTICATION, message)
