"""Trusted authorities: certificates, signing policies, revocation lists of a Globus directory.

The directory's format is that of `X509_CERT_DIR`: `<hash>.0` an authority, `<hash>.signing_policy`
the names it may sign, `<hash>.r0` its revocation list (optional).
"""

import hashlib
import os
import re
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from towpath.gridftp.security.errors import SecurityError, SecurityKind
from towpath.gridftp.security.names import canonical, is_proxy, one_line

MAX_FILE_BYTES = 16 * 1024 * 1024
"""Revocation lists of large authorities have a few MiB; anything beyond is not read."""

_AUTHORITY = re.compile(r"\.\d$")
_REVOCATION = re.compile(r"\.r\d$")
_POLICY = ".signing_policy"

_VERIFY_ALLOW_PROXY_CERTS = ssl.VerifyFlags.VERIFY_ALLOW_PROXY_CERTS


@dataclass(frozen=True, slots=True)
class SigningPolicy:
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


@dataclass(frozen=True, eq=False, repr=False)
class TrustRoots:
    """A set of trusted authorities. `skipped` names files that could not be read."""

    files: Mapping[str, str]
    skipped: tuple[str, ...] = ()

    @classmethod
    def from_directory(cls, path: str | os.PathLike[str]) -> "TrustRoots":
        """Read a certificates directory; files that make no sense are left out, as Globus does.

        Raises `OSError` when the directory cannot be read, `ValueError` when no authority is in it.
        """
        files: dict[str, str] = {}
        skipped: list[str] = []
        for entry in sorted(Path(path).iterdir()):
            if not _is_wanted(entry.name):
                continue
            try:
                text = _read(entry)
                _check(entry.name, text)
            except (OSError, ValueError):
                skipped.append(entry.name)
            else:
                files[entry.name] = text
        return cls._of(files, tuple(skipped), where=str(path))

    @classmethod
    def from_files(cls, files: Mapping[str, str]) -> "TrustRoots":
        """The same from memory, `{file name: text}`. Raises `ValueError` naming a bad file."""
        wanted = {name: text for name, text in files.items() if _is_wanted(name)}
        for name, text in wanted.items():
            try:
                _check(name, text)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return cls._of(wanted, (), where="these files")

    @classmethod
    def _of(cls, files: dict[str, str], skipped: tuple[str, ...], where: str) -> "TrustRoots":
        if not any(_AUTHORITY.search(name) for name in files):
            raise ValueError(f"no trusted authority (<hash>.0) in {where}")
        return cls(files, skipped)

    def __repr__(self) -> str:
        return f"TrustRoots({len(self.authorities)} authorities, {self.fingerprint[:12]})"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all files: equal roots have equal fingerprints."""
        digest = hashlib.sha256()
        for name, text in sorted(self.files.items()):
            for part in (name.encode(), text.encode()):
                digest.update(len(part).to_bytes(8, "big") + part)
        return digest.hexdigest()

    @cached_property
    def authorities(self) -> tuple[x509.Certificate, ...]:
        """The authorities' certificates, each once."""
        found: dict[bytes, x509.Certificate] = {}
        for name, text in self.files.items():
            if _AUTHORITY.search(name):
                for certificate in x509.load_pem_x509_certificates(text.encode()):
                    found[certificate.public_bytes(Encoding.DER)] = certificate
        return tuple(found.values())

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
    def revocation_lists(self) -> dict[x509.Name, list[x509.CertificateRevocationList]]:
        """Revocation lists by issuer."""
        found: dict[x509.Name, list[x509.CertificateRevocationList]] = {}
        for name, text in self.files.items():
            if _REVOCATION.search(name):
                revoked = x509.load_pem_x509_crl(text.encode())
                found.setdefault(revoked.issuer, []).append(revoked)
        return found

    def client_context(self) -> ssl.SSLContext:
        """A TLS client context that verifies chains (proxies too) against these roots only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= _VERIFY_ALLOW_PROXY_CERTS
        context.load_verify_locations(
            cadata=b"".join(item.public_bytes(Encoding.DER) for item in self.authorities)
        )
        return context

    def check_chain(self, chain: Iterable[x509.Certificate], now: datetime) -> None:
        """Check a verified chain (leaf to root) against signing policies and revocation lists.

        OpenSSL has checked signatures and validity by then; these two are left to the application.
        Raises `SecurityError(UNTRUSTED_HOST)`.
        """
        certificates = list(chain)
        for certificate, issuer in pairwise(certificates):
            if not is_proxy(certificate):
                self._check_policy(certificate)
                self._check_revocation(certificate, issuer, now)

    def _check_policy(self, certificate: x509.Certificate) -> None:
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
        self, certificate: x509.Certificate, issuer: x509.Certificate, now: datetime
    ) -> None:
        key = issuer.public_key()
        for revoked in self.revocation_lists.get(certificate.issuer, []):
            if not revoked.is_signature_valid(key):  # type: ignore[arg-type]
                continue  # another authority of the same name, or a forged list
            if revoked.next_update_utc is not None and revoked.next_update_utc < now:
                raise SecurityError(
                    SecurityKind.UNTRUSTED_HOST,
                    f"the revocation list of {one_line(revoked.issuer)} is out of date",
                )
            if revoked.get_revoked_certificate_by_serial_number(certificate.serial_number):
                raise SecurityError(
                    SecurityKind.UNTRUSTED_HOST,
                    f"the certificate of {one_line(certificate.subject)} has been revoked",
                )


def _is_wanted(name: str) -> bool:
    return bool(_AUTHORITY.search(name) or _REVOCATION.search(name) or name.endswith(_POLICY))


def _read(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError("too large")
    return content.decode("utf-8", "replace")


def _check(name: str, text: str) -> None:
    if name.endswith(_POLICY):
        parse_signing_policy(text)
    elif _REVOCATION.search(name):
        x509.load_pem_x509_crl(text.encode())
    else:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(
            cadata=b"".join(
                item.public_bytes(Encoding.DER)
                for item in x509.load_pem_x509_certificates(text.encode())
            )
        )


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
