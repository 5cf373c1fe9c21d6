"""``towpath admin``: what a deployment's operator does on its database itself."""

import click

from towpath.cli.admin_audit import audit
from towpath.cli.admin_client import client
from towpath.cli.admin_connect import connect
from towpath.cli.admin_group import group
from towpath.cli.admin_keys import keys
from towpath.cli.admin_manifests import manifests
from towpath.cli.admin_provider import provider
from towpath.cli.admin_relay import relay
from towpath.cli.admin_seal_key import seal_key
from towpath.cli.admin_user import user


@click.group(name="admin")
def command() -> None:
    """Look after the deployment; on its database, so also while the service does not run."""


command.add_command(audit)
command.add_command(group)
command.add_command(client)
command.add_command(connect)
command.add_command(keys)
command.add_command(manifests)
command.add_command(provider)
command.add_command(relay)
command.add_command(seal_key)
command.add_command(user)
