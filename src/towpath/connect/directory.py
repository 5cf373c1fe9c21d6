"""An agent's directory: what it is, its keys, what was chosen. 0700, files 0600."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import asyncssh
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from towpath.connect.choices import ChoiceError, Choices
from towpath.connect.configuration import Configuration
from towpath.connect.errors import ConnectError, Trouble
from towpath.platform.files import private_directory, write_private

ENVIRONMENT: Final = "TOWPATH_CONNECT_DIR"
PERSONAL: Final = "personal"
SERVER: Final = "server"


def default_directory() -> Path:
    """``$TOWPATH_CONNECT_DIR``, else ``~/.local/share/towpath-connect``."""
    named = os.environ.get(ENVIRONMENT)
    return Path(named) if named else Path.home() / ".local" / "share" / "towpath-connect"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a setup made of this machine; nothing secret."""

    url: str
    """The service's origin."""
    endpoint_id: str
    node_id: str
    kind: str
    display_name: str
    owner: str
    node_name: str
    proxy: str | None
    """Of the setup; None: as the environment says."""
    listen_ports: tuple[int, int] | None = None
    """Where data connections may come in directly."""
    relay_only: bool = False
    """Whether no data connection is to go another way than by a relay."""


class AgentDirectory:
    """The files. What reads and writes raises `OSError`."""

    def __init__(self, root: Path) -> None:
        self.root: Final = root
        self.identity_file: Final = root / "agent.json"
        self.token_file: Final = root / "token"
        self.tunnel_key_file: Final = root / "tunnel_key"
        self.host_key_file: Final = root / "host_key.pem"
        self.authority_file: Final = root / "service_ca.pem"
        self.configuration_file: Final = root / "configuration.json"
        self.choices_file: Final = root / "choices.json"
        self.control_socket: Final = root / "control.sock"
        self.paths_socket: Final = root / "paths.sock"
        self.lock_file: Final = root / "lock"
        self.log_directory: Final = root / "log"
        self.start_log: Final = root / "start.log"
        """What a start in the background has said."""

    @property
    def is_set_up(self) -> bool:
        """Whether a setup has been made here, whole."""
        return self.identity_file.exists()

    def prepare(self) -> None:
        """Make the directory."""
        private_directory(self.root)

    # -- the identity: written last, so that half a setup is none

    def write(
        self,
        identity: Identity,
        *,
        token: str,
        tunnel_key: asyncssh.SSHKey,
        host_key: ec.EllipticCurvePrivateKey,
        authority: str | None,
        configuration: Configuration,
        choices: Choices,
    ) -> None:
        """All that a setup makes."""
        self.prepare()
        self.identity_file.unlink(missing_ok=True)
        write_private(self.token_file, token.encode("ascii"))
        write_private(self.tunnel_key_file, tunnel_key.export_private_key())
        write_private(
            self.host_key_file,
            host_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )
        if authority is None:
            self.authority_file.unlink(missing_ok=True)
        else:
            write_private(self.authority_file, authority.encode("ascii"))
        self.keep_configuration(configuration)
        self.keep_choices(choices)
        self.keep_identity(identity)

    def keep_identity(self, identity: Identity) -> None:
        """Replace what is known of it."""
        write_private(self.identity_file, json.dumps(asdict(identity), indent=1).encode())

    def identity(self) -> Identity:
        """Raises `ConnectError` where no setup has been made."""
        try:
            found: dict[str, Any] = json.loads(self.identity_file.read_bytes())
            if found.get("listen_ports") is not None:
                first, last = found["listen_ports"]
                found["listen_ports"] = (int(first), int(last))
            return Identity(**found)
        except FileNotFoundError:
            raise ConnectError(
                Trouble.REFUSED,
                f"no agent was set up in {self.root}: run 'towpath connect setup KEY' first",
            ) from None
        except (ValueError, TypeError) as error:
            raise ConnectError(
                Trouble.REFUSED,
                f"{self.identity_file} cannot be read ({error}): set the agent up again",
            ) from error

    # -- parts

    def token(self) -> str:
        """The agent's, a secret."""
        return self.token_file.read_text("ascii").strip()

    def authority(self) -> str | None:
        """PEM of the service's authority; None: a public one."""
        try:
            return self.authority_file.read_text("ascii")
        except FileNotFoundError:
            return None

    def tunnel_key(self) -> asyncssh.SSHKey:
        """By which relays know this agent."""
        return asyncssh.import_private_key(self.tunnel_key_file.read_bytes())

    def host_key(self) -> ec.EllipticCurvePrivateKey:
        """Of the GridFTP server's certificate."""
        key = load_pem_private_key(self.host_key_file.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConnectError(Trouble.REFUSED, f"{self.host_key_file} is no key of an agent")
        return key

    def keep_configuration(self, configuration: Configuration) -> None:
        """So that an agent starts while the service is away."""
        write_private(self.configuration_file, configuration.to_bytes())

    def configuration(self) -> Configuration:
        """The last one. Raises `ConnectError`."""
        try:
            return Configuration.from_document(json.loads(self.configuration_file.read_bytes()))
        except ValueError as error:
            raise ConnectError(
                Trouble.REFUSED, f"{self.configuration_file} cannot be read: {error}"
            ) from error

    def keep_choices(self, choices: Choices) -> None:
        """What was chosen."""
        write_private(self.choices_file, choices.to_bytes())

    def choices(self) -> Choices:
        """Raises `ConnectError`."""
        try:
            return Choices.from_document(json.loads(self.choices_file.read_bytes()))
        except (ValueError, ChoiceError) as error:
            raise ConnectError(
                Trouble.REFUSED, f"{self.choices_file} cannot be read: {error}"
            ) from error


def new_host_key() -> ec.EllipticCurvePrivateKey:
    """P-256, as our authorities' own."""
    return ec.generate_private_key(ec.SECP256R1())


def certificate_request(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    """PEM. The service decides by itself what it certifies; the name is for its log."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name[:64] or "agent")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode("ascii")
