"""Trusted authorities: certificates, signing policies, revocation lists of a Globus directory.

The directory's format is that of `X509_CERT_DIR`: `<hash>.0` an authority, `<hash>.signing_policy`
the names it may sign, `<hash>.r0` its revocation list (optional).
"""

from __future__ import annotations

import os
import re
import ssl
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from towpath.gridftp.security.certificates import (
    Certificate,
    certificates_in,
    issuer_of_revocation_list,
    revocation_lists_in,
)
from towpath.gridftp.security.errors import SecurityError, SecurityKind
from towpath.gridftp.security.names import canonical, one_line

if TYPE_CHECKING:
    from cryptography import x509

MAX_FILE_BYTES = 16 * 1024 * 1024
"""Revocation lists of large authorities have a few MiB; anything beyond is not read."""

_AUTHORITY = re.compile(r"\.\d$")
_REVOCATION = re.compile(r"\.r\d$")
_POLICY = ".signing_policy"

_VERIFY_ALLOW_PROXY_CERTS = ssl.VerifyFlags.VERIFY_ALLOW_PROXY_CERTS


class SigningPolicy(NamedTuple):
    """What one authority may sign: `subjects` are patterns with `*` and `?`."""

    authority: str
    subjects: tuple[str, ...]

    def allows(self, subject: str) -> bool:
        """Whether the authority may sign this one-line name."""
        return any(_glob(pattern, subject) for pattern in self.subjects)


def parse_signing_policy(text: str) -> list[SigningPolicy]:
    """Read a signing policy file (the EACL subset that Globus uses). Raises `ValueError`.

    Several `access_id_CA` blocks may follow each other; rights other than `CA:sign` grant nothing.
    """
    policies: list[SigningPolicy] = []
    authority: str | None = None
    may_sign = False
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        words = line.split(None, 2)
        keyword, value = words[0].lower(), words[2].strip() if len(words) == 3 else ""
        if not value:
            raise ValueError(f"line {number}: expected three words")
        if keyword.startswith("access_id"):
            authority = canonical(_unquote(value)) if keyword == "access_id_ca" else None
            may_sign = False
        elif keyword == "pos_rights":
            may_sign = _unquote(value) == "CA:sign"
        elif keyword == "neg_rights":
            may_sign = False
        elif keyword == "cond_subjects":
            if authority is not None and may_sign:
                policies.append(SigningPolicy(authority, tuple(_patterns(value))))
        else:
            raise ValueError(f"line {number}: unknown keyword {words[0]!r}")
    return policies


class TrustRoots:
    """A set of trusted authorities; use `from_directory` or `from_files`."""

    def __init__(self, files: Mapping[str, str], skipped: tuple[str, ...] = ()) -> None:
        self.files = files
        self.skipped = skipped
        """Names of the files that could not be read."""
        self._parsed: dict[bytes, x509.CertificateRevocationList] = {}

    @classmethod
    def from_directory(cls, path: str | os.PathLike[str]) -> TrustRoots:
        """Read a certificates directory; files that make no sense are left out, as Globus does.

        Raises `OSError` when the directory cannot be read, `ValueError` when no authority is in it.
        """
        files: dict[str, str] = {}
        skipped: list[str] = []
        scratch = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for entry in sorted(Path(path).iterdir()):
            if not _is_wanted(entry.name):
                continue
            try:
                text = _read(entry)
                _check(entry.name, text, scratch)
            except (OSError, ValueError):
                skipped.append(entry.name)
            else:
                files[entry.name] = text
        return cls._of(files, tuple(skipped), where=str(path))

    @classmethod
    def from_files(cls, files: Mapping[str, str]) -> TrustRoots:
        """The same from memory, `{file name: text}`. Raises `ValueError` naming a bad file."""
        wanted = {name: text for name, text in files.items() if _is_wanted(name)}
        scratch = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for name, text in wanted.items():
            try:
                _check(name, text, scratch)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return cls._of(wanted, (), where="these files")

    @classmethod
    def _of(cls, files: dict[str, str], skipped: tuple[str, ...], where: str) -> TrustRoots:
        if not any(_AUTHORITY.search(name) for name in files):
            raise ValueError(f"no trusted authority (<hash>.0) in {where}")
        return cls(files, skipped)

    def __repr__(self) -> str:
        return f"TrustRoots({len(self.authorities)} authorities)"

    @cached_property
    def contents(self) -> tuple[tuple[str, str], ...]:
        """All files with their names, in order: roots with equal contents are equal."""
        return tuple(sorted(self.files.items()))

    @cached_property
    def authorities(self) -> tuple[bytes, ...]:
        """The authorities' certificates (DER), each once."""
        found: dict[bytes, None] = {}
        for name, text in self.files.items():
            if _AUTHORITY.search(name):
                found.update(dict.fromkeys(certificates_in(text)))
        return tuple(found)

    @cached_property
    def policies(self) -> dict[str, list[SigningPolicy]]:
        """Signing policies by the authority's name."""
        found: dict[str, list[SigningPolicy]] = {}
        for name, text in self.files.items():
            if name.endswith(_POLICY):
                for policy in parse_signing_policy(text):
                    found.setdefault(policy.authority, []).append(policy)
        return found

    @cached_property
    def revocation_lists(self) -> dict[str, list[bytes]]:
        """Revocation lists (DER) by their issuer's name."""
        found: dict[str, list[bytes]] = {}
        for name, text in self.files.items():
            if _REVOCATION.search(name):
                for der in revocation_lists_in(text):
                    issuer = one_line(issuer_of_revocation_list(der))
                    found.setdefault(issuer, []).append(der)
        return found

    def client_context(self) -> ssl.SSLContext:
        """A TLS client context that verifies chains (proxies too) against these roots only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        return self._equipped(context)

    def server_context(self) -> ssl.SSLContext:
        """The same for a TLS server, which refuses clients without a certificate.

        Without session tickets: GSI has no resumption, and initiators do not expect them.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        return self._equipped(context)

    def _equipped(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= _VERIFY_ALLOW_PROXY_CERTS
        context.load_verify_locations(cadata=b"".join(self.authorities))
        return context

    def check_chain(self, chain: Iterable[Certificate], now: datetime) -> None:
        """Check a verified chain (leaf to root) against signing policies and revocation lists.

        OpenSSL has checked signatures and validity by then; these two are left to the application.
        Raises `SecurityError(UNTRUSTED_HOST)`.
        """
        for certificate, issuer in pairwise(chain):
            if not certificate.is_proxy:
                self._check_policy(certificate)
                self._check_revocation(certificate, issuer, now)

    def _check_policy(self, certificate: Certificate) -> None:
        authority, subject = one_line(certificate.issuer), one_line(certificate.subject)
        policies = self.policies.get(canonical(authority))
        if not policies:
            raise SecurityError(
                SecurityKind.UNTRUSTED_HOST, f"no signing policy is installed for {authority}"
            )
        if not any(policy.allows(canonical(subject)) for policy in policies):
            raise SecurityError(
                SecurityKind.UNTRUSTED_HOST,
                f"the signing policy of {authority} does not let it sign {subject}",
            )

    def _check_revocation(
        self, certificate: Certificate, issuer: Certificate, now: datetime
    ) -> None:
        authority = one_line(certificate.issuer)
        listed = self.revocation_lists.get(authority)
        if not listed:
            return
        from cryptography import x509  # noqa: PLC0415 - see `certificates`

        key = x509.load_der_x509_certificate(issuer.der).public_key()
        for der in listed:
            revoked = self._parse_revocation_list(der, authority)
            if not revoked.is_signature_valid(key):  # type: ignore[arg-type]
                continue  # another authority of the same name, or a forged list
            if revoked.next_update_utc is not None and revoked.next_update_utc < now:
                raise SecurityError(
                    SecurityKind.UNTRUSTED_HOST,
                    f"the revocation list of {authority} is out of date",
                )
            if revoked.get_revoked_certificate_by_serial_number(certificate.serial):
                raise SecurityError(
                    SecurityKind.UNTRUSTED_HOST,
                    f"the certificate of {one_line(certificate.subject)} has been revoked",
                )

    def _parse_revocation_list(self, der: bytes, authority: str) -> x509.CertificateRevocationList:
        from cryptography import x509  # noqa: PLC0415 - see `certificates`

        if der not in self._parsed:
            try:
                self._parsed[der] = x509.load_der_x509_crl(der)
            except ValueError:
                raise SecurityError(
                    SecurityKind.UNTRUSTED_HOST,
                    f"the revocation list of {authority} cannot be read",
                ) from None
        return self._parsed[der]


class TrustDirectory:
    """Trusted authorities as they are on disk now: revocation lists are renewed every some hours,
    and one that is out of date lets nobody in. Safe to use from several threads."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read it. Raises as `TrustRoots.from_directory`."""
        self._path = Path(path)
        self._lock = threading.Lock()
        self._seen = self._state()
        self._current = TrustRoots.from_directory(path)

    @property
    def current(self) -> TrustRoots:
        """As they were read last."""
        return self._current

    def refresh(self) -> bool:
        """Read the directory again if anything in it has changed, and tell whether it had. Blocks.

        Raises `OSError`, `ValueError`; then what was read last stays.
        """
        with self._lock:
            state = self._state()
            if state == self._seen:
                return False
            self._current = TrustRoots.from_directory(self._path)
            self._seen = state
            return True

    def _state(self) -> list[tuple[str, int, int, int]]:
        found: list[tuple[str, int, int, int]] = []
        for path in self._path.iterdir():
            with suppress(FileNotFoundError):  # a link to nothing, or gone meanwhile
                status = path.stat()
                found.append((path.name, status.st_mtime_ns, status.st_size, status.st_ino))
        return sorted(found)


def _is_wanted(name: str) -> bool:
    return bool(_AUTHORITY.search(name) or _REVOCATION.search(name) or name.endswith(_POLICY))


def _read(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError("too large")
    return content.decode("utf-8", "replace")


def _check(name: str, text: str, scratch: ssl.SSLContext) -> None:
    """Raise `ValueError` when a file makes no sense."""
    if name.endswith(_POLICY):
        parse_signing_policy(text)
    elif _REVOCATION.search(name):
        for der in revocation_lists_in(text):
            issuer_of_revocation_list(der)
    else:
        try:
            scratch.load_verify_locations(cadata=b"".join(certificates_in(text)))
        except ssl.SSLError as error:
            raise ValueError(f"OpenSSL does not take it ({error.reason or error})") from None


def _unquote(value: str) -> str:
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value


def _patterns(value: str) -> list[str]:
    """`'"/O=A/*" "/O=B/*"'` to its patterns; one pattern may stand without inner quotes."""
    inner = _unquote(value) if value.startswith("'") else value
    quoted = re.findall(r'"([^"]*)"', inner)
    return [canonical(item) for item in quoted] if quoted else [canonical(inner.strip())]


def _glob(pattern: str, subject: str) -> bool:
    """Wildcard match in linear space and O(n*m) time: no regular expression to blow up."""
    at = subject_at = 0
    star = mark = -1
    while subject_at < len(subject):
        if at < len(pattern) and pattern[at] == "*":
            star, mark = at, subject_at
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", subject[subject_at]):
            at += 1
            subject_at += 1
        elif star >= 0:
            mark += 1
            at, subject_at = star + 1, mark
        else:
            return False
    return pattern[at:].strip("*") == ""
