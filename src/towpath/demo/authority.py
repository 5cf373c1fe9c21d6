"""A trust domain of its own: certificate authority, host, user and proxy certificates."""

import getpass
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from towpath.gridftp.security.authority import Authority
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.proxies import make_proxy
from towpath.gridftp.security.trust import TrustRoots

LIFETIME = timedelta(days=30)


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
        local = ("127.0.0.1",) if "localhost" in hosts else ()
        made = self._authority.issue(
            common_name,
            datetime.now(UTC),
            LIFETIME,
            hosts=(*hosts, *local),
            organization=organization,
        )
        return self._write(name, made)

    def _create_authority(self) -> None:
        authority = Authority.create(self.organization, datetime.now(UTC), LIFETIME, _new_key)
        self._write("ca", Credential.from_pem(authority.to_pem()))
        for name, text in authority.trust_files.items():
            (self.trust_dir / name).write_text(text)

    def revoke(self, issued: Issued, *, valid: timedelta = LIFETIME) -> None:
        """Publish a revocation list with this certificate in the trust directory.

        `valid`: for so long from now; an old one that nobody renewed, if negative.
        """
        now = datetime.now(UTC)
        revoked = self._authority.revocation_list(
            issued.certificate_file.read_bytes(), now, now + valid
        )
        (authority_file,) = self.trust_dir.glob("*.0")
        authority_file.with_suffix(".r0").write_bytes(revoked)

    @property
    def authority(self) -> Issued:
        """The authority's own certificate."""
        return self._issued("ca")

    @property
    def _authority(self) -> Authority:
        return Authority.load(self.authority.credential().to_pem(), _new_key)

    def _issued(self, name: str) -> Issued:
        return Issued(self.directory / f"{name}.pem", self.directory / f"{name}.key")

    def _write(self, name: str, credential: Credential) -> Issued:
        files = self._issued(name)
        files.certificate_file.write_bytes(credential.chain_pem)
        write_secret(files.key_file, credential.key_pem)
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
