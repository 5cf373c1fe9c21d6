"""A trust domain of its own: certificate authority, host, user and proxy certificates."""

import getpass
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from towpath.gridftp.security.authority import subject_hash
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.proxies import make_proxy
from towpath.gridftp.security.trust import TrustRoots

LIFETIME = timedelta(days=30)
_SKEW = timedelta(hours=1)


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, as files (PEM; the key is mode 0600)."""

    certificate_file: Path
    key_file: Path

    def credential(self) -> Credential:
        """Certificate and key as a credential."""
        return Credential.from_pem(self.certificate_file.read_bytes() + self.key_file.read_bytes())


@dataclass(frozen=True)
class Domain:
    """One authority and all that two parties need to trust it; everything is below `directory`."""

    directory: Path
    organization: str

    @classmethod
    def create(cls, directory: Path, organization: str, user: str = "Alice") -> "Domain":
        """Make the authority, a host certificate for localhost, a user and her proxy.

        Takes about a second (four RSA keys).
        """
        domain = cls(directory, organization)
        domain.trust_dir.mkdir(parents=True, mode=0o755)
        domain._create_authority()
        domain.issue("host", "localhost", hosts=("localhost",))
        domain.issue("user", user)
        domain.gridmap_file.write_text(f'"/O={organization}/CN={user}" {getpass.getuser()}\n')
        write_secret(domain.proxy_file, domain.make_proxy().to_pem())
        return domain

    @property
    def trust_dir(self) -> Path:
        """The trusted-certificates directory (`X509_CERT_DIR`)."""
        return self.directory / "certificates"

    @property
    def proxy_file(self) -> Path:
        """The user's proxy (`X509_USER_PROXY`)."""
        return self.directory / "proxy.pem"

    @property
    def gridmap_file(self) -> Path:
        """Which local account a name is mapped to: the account that made this domain."""
        return self.directory / "gridmap"

    @property
    def host(self) -> Issued:
        """The certificate of localhost and 127.0.0.1."""
        return self._issued("host")

    @property
    def user(self) -> Issued:
        """The user's own certificate."""
        return self._issued("user")

    @property
    def trust(self) -> TrustRoots:
        """This authority only."""
        return TrustRoots.from_directory(self.trust_dir)

    @property
    def credential(self) -> Credential:
        """The user's proxy."""
        return Credential.from_proxy_file(self.proxy_file)

    def make_proxy(
        self, lifetime: timedelta = timedelta(hours=24), *, now: datetime | None = None
    ) -> Credential:
        """A proxy of the user; with `now` in the past, an expired one."""
        return make_proxy(self.user.credential(), lifetime, now or datetime.now(UTC))

    def issue(
        self,
        name: str,
        common_name: str,
        *,
        hosts: tuple[str, ...] = (),
        organization: str | None = None,
    ) -> Issued:
        """Sign a certificate as files `<name>.pem`, `<name>.key`; with `hosts` (names, or IPv4
        addresses), for a server."""
        key = _new_key()
        subject = _name(organization or self.organization, common_name)
        authority = x509.load_pem_x509_certificate(self._issued("ca").certificate_file.read_bytes())
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if hosts:
            purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
        builder = (
            _builder(subject, authority.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        )
        if hosts:
            local = ("127.0.0.1",) if "localhost" in hosts else ()
            names = x509.SubjectAlternativeName(map(_host_name, (*hosts, *local)))
            builder = builder.add_extension(names, critical=False)
        return self._write(name, builder.sign(self._authority_key(), hashes.SHA256()), key)

    def _create_authority(self) -> None:
        key = _new_key()
        name = _name(self.organization, f"{self.organization} CA")
        certificate = (
            _builder(name, name, key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        files = self._write("ca", certificate, key)
        stem = subject_hash(certificate.subject)
        (self.trust_dir / f"{stem}.0").write_bytes(files.certificate_file.read_bytes())
        (self.trust_dir / f"{stem}.signing_policy").write_text(
            f"access_id_CA   X509   '/O={self.organization}/CN={self.organization} CA'\n"
            "pos_rights     globus CA:sign\n"
            f"cond_subjects  globus '\"/O={self.organization}/*\"'\n"
        )

    def revoke(self, issued: Issued, *, valid: timedelta = LIFETIME) -> None:
        """Publish a revocation list with this certificate in the trust directory.

        `valid`: for so long from now; an old one that nobody renewed, if negative.
        """
        authority = x509.load_pem_x509_certificate(self._issued("ca").certificate_file.read_bytes())
        certificate = x509.load_pem_x509_certificate(issued.certificate_file.read_bytes())
        now = datetime.now(UTC)
        entry = (
            x509.RevokedCertificateBuilder()
            .serial_number(certificate.serial_number)
            .revocation_date(now)
            .build()
        )
        revoked = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(authority.subject)
            .last_update(now - _SKEW)
            .next_update(now + valid)
            .add_revoked_certificate(entry)
            .sign(self._authority_key(), hashes.SHA256())
        )
        (authority_file,) = self.trust_dir.glob("*.0")
        authority_file.with_suffix(".r0").write_bytes(revoked.public_bytes(Encoding.PEM))

    def _authority_key(self) -> rsa.RSAPrivateKey:
        key = self._issued("ca").credential().private_key
        assert isinstance(key, rsa.RSAPrivateKey)
        return key

    def _issued(self, name: str) -> Issued:
        return Issued(self.directory / f"{name}.pem", self.directory / f"{name}.key")

    def _write(self, name: str, certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> Issued:
        files = self._issued(name)
        files.certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        write_secret(files.key_file, pem)
        return files


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read (Globus refuses keys that others can)."""
    path.touch(mode=0o600)
    path.write_bytes(content)


def merge_trust(directory: Path, *domains: Domain) -> Path:
    """A trusted-certificates directory that holds several authorities."""
    directory.mkdir(parents=True)
    for domain in domains:
        for file in domain.trust_dir.iterdir():
            (directory / file.name).write_bytes(file.read_bytes())
    return directory


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _name(organization: str, common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name),
        ]
    )


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(IPv4Address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + LIFETIME)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_encipherment=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
