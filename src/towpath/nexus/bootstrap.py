"""The clients that a deployment needs before anyone can log in."""

import json
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from towpath.nexus import hashing
from towpath.nexus.store import clients
from towpath.platform.database import Database
from towpath.platform.files import write_private

OPERATOR = "operator"
TRANSFER = "transfer"
SIGNING_KEY_BITS = 2048


class BootstrapError(Exception):
    """A file with a client's secret cannot be used; the message says which."""


@dataclass(frozen=True)
class ClientSecret:
    """A client's id and secret, as its 0600 file has them."""

    client_id: UUID
    client_secret: str

    def __repr__(self) -> str:
        return f"ClientSecret({self.client_id})"

    @classmethod
    def read(cls, file: Path) -> "ClientSecret | None":
        """From ``file``; None if there is no such file. Raises :class:`BootstrapError`."""
        try:
            document = json.loads(file.read_bytes())
            return cls(UUID(document["client_id"]), str(document["client_secret"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BootstrapError(f"{file} cannot be used; remove it to make a new one") from error

    def write(self, file: Path) -> None:
        """To ``file``, 0600."""
        document = {"client_id": str(self.client_id), "client_secret": self.client_secret}
        write_private(file, json.dumps(document, indent=2).encode() + b"\n")


async def bootstrap(database: Database, secrets_directory: Path) -> dict[str, ClientSecret]:
    """Make, at the first start, the operator's client (the first administrator) and the services'.

    Returns role -> client. Database and file agree afterwards, whichever was lost: a lost file gets
    a new secret, a lost row is made again from the file. Raises :class:`BootstrapError`.
    """
    return {
        OPERATOR: await _ensure(
            database,
            secrets_directory / "operator.json",
            role=OPERATOR,
            name="Towpath operator",
            administrator=True,
        ),
        TRANSFER: await _ensure(
            database,
            secrets_directory / "transfer.json",
            role=TRANSFER,
            name="Towpath transfer service",
            administrator=False,
        ),
    }


async def _ensure(
    database: Database, file: Path, *, role: str, name: str, administrator: bool
) -> ClientSecret:
    kept = ClientSecret.read(file)
    async with database.transaction() as connection:
        known = await clients.client_of_role(connection, role)
        if kept is None:
            kept = ClientSecret(known or uuid4(), hashing.new_secret())
        exists = await clients.client_exists(connection, kept.client_id)
        if not exists:
            await clients.add_client(
                connection,
                client_id=kept.client_id,
                name=name,
                secret=kept.client_secret,
                administrator=administrator,
            )
        elif await clients.authenticate(connection, kept.client_id, kept.client_secret) is None:
            await clients.set_secret(connection, kept.client_id, kept.client_secret)
        await clients.set_role(connection, role, kept.client_id)
        # before the commit: a client whose secret nobody knows would be of no use
        kept.write(file)
    return kept


def signing_key(file: Path) -> rsa.RSAPrivateKey:
    """The key for id tokens, made on first use, which takes a moment: call it in a thread.

    Raises :class:`BootstrapError`.
    """
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        key = rsa.generate_private_key(65537, SIGNING_KEY_BITS)
        write_private(
            file,
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )
        return key
    try:
        loaded = serialization.load_pem_private_key(text, password=None)
    except ValueError as error:
        raise BootstrapError(f"{file} cannot be used; remove it to make a new one") from error
    if not isinstance(loaded, rsa.RSAPrivateKey):
        raise BootstrapError(f"{file} is not an RSA key, which the Globus clients need")
    return loaded
