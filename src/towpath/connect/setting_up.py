"""`towpath connect setup`: a key is redeemed, and an agent's directory made."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Final

import asyncssh

from towpath.connect import proxy as proxies
from towpath.connect.admitting import own_home
from towpath.connect.choices import Choices, Folder
from towpath.connect.directory import (
    PERSONAL,
    AgentDirectory,
    Identity,
    certificate_request,
    new_host_key,
)
from towpath.connect.errors import ConnectError, Trouble
from towpath.connect.service import Service, fetch_authority
from towpath.connect.setup_key import SetupKey
from towpath.connect.sharing import folder

NAME_LENGTH: Final = 128
"""Characters of a node's name."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the command line says besides the key."""

    name: str | None = None
    proxy: str | None = None
    listen_ports: tuple[int, int] | None = None
    relay_only: bool = False
    replace: bool = False
    """Whether an agent that was set up here before may go."""


async def set_up(text: str, directory: AgentDirectory, wishes: Wishes) -> Identity:
    """Redeem the key and write everything down. Raises `ConnectError`, `OSError`.

    The key is spent only when everything that can go wrong here has gone right.
    """
    key = SetupKey.parse(text)
    if directory.is_set_up and not wishes.replace:
        known = directory.identity()
        raise ConnectError(
            Trouble.REFUSED,
            f"“{known.display_name}” is set up in {directory.root} already. Another one beside it "
            "needs another --dir; to have this one in its place, add --replace",
        )
    directory.prepare()
    choices = first_choices(directory)
    name = (wishes.name or socket.gethostname())[:NAME_LENGTH]
    host_key = new_host_key()
    tunnel_key = asyncssh.generate_private_key("ssh-ed25519", comment="towpath connect")
    way = wishes.proxy or proxies.from_environment(key.host)
    authority = await fetch_authority(key, way)
    async with Service(key.url, authority=authority, proxy=way) as service:
        redeemed = await service.redeem(
            key,
            tunnel_key=tunnel_key.export_public_key().decode("ascii").strip(),
            certificate_request=certificate_request(host_key, name),
            node_name=name,
        )
    identity = Identity(
        url=key.url,
        endpoint_id=redeemed.endpoint_id,
        node_id=redeemed.node_id,
        kind=redeemed.kind,
        display_name=redeemed.display_name,
        owner=redeemed.owner,
        node_name=name,
        proxy=wishes.proxy,
        listen_ports=wishes.listen_ports,
        relay_only=wishes.relay_only,
    )
    directory.write(
        identity,
        token=redeemed.agent_token,
        tunnel_key=tunnel_key,
        host_key=host_key,
        authority=authority,
        configuration=redeemed.configuration,
        choices=choices if redeemed.kind == PERSONAL else Choices(),
    )
    return identity


def first_choices(directory: AgentDirectory) -> Choices:
    """As Globus Connect Personal has it: the home directory, read and write."""
    home = folder(own_home(), write=True, own=directory.root)
    return Choices(folders=(Folder(home.path, home.access),))
