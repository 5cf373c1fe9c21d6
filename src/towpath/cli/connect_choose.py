"""``towpath connect``: what its owner chooses. Written down, and told to the agent if it runs."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from towpath.connect import local_control
from towpath.connect.admitting import AccountRefused, account_for
from towpath.connect.choices import ChoiceError, Choices, Collection, Root
from towpath.connect.directory import PERSONAL, SERVER, AgentDirectory
from towpath.connect.errors import ConnectError
from towpath.connect.mapping import Mapping, from_globus
from towpath.connect.sharing import folder


def pause(directory: Path, *, paused: bool) -> None:
    """Pause it, or end that."""
    _change(directory, lambda choices: replace(choices, paused=paused))
    click.echo("Paused. 'towpath connect resume' ends that." if paused else "Not paused any more.")


def limit(directory: Path, rate: int | None) -> None:
    """Of the bandwidth."""
    _change(directory, lambda choices: replace(choices, limit_bytes_s=rate))
    click.echo("No limit." if rate is None else f"At most {rate / 1e6:g} MB/s.")


def drain(directory: Path, *, draining: bool) -> None:
    """No new sessions."""
    _change(directory, lambda choices: replace(choices, draining=draining), kind=SERVER)
    click.echo(
        "No new sessions come here. See 'towpath connect status' for those that are open."
        if draining
        else "Sessions come again."
    )


def sessions(directory: Path, count: int) -> None:
    """So many at most."""
    _change(directory, lambda choices: replace(choices, max_sessions=count))
    click.echo(f"At most {count} sessions at a time, from the next start on.")


def share(directory: Path, path: Path, *, write: bool) -> None:
    """A folder more."""
    own = AgentDirectory(directory).root

    def change(choices: Choices) -> Choices:
        return choices.sharing(folder(path, write=write, own=own))

    changed = _change(directory, change, kind=PERSONAL)
    _show_folders(changed)


def unshare(directory: Path, path: Path) -> None:
    """A folder less. It may be gone from the disk."""

    def change(choices: Choices) -> Choices:
        return choices.not_sharing(str(path.expanduser().resolve()))

    changed = _change(directory, change, kind=PERSONAL)
    _show_folders(changed)


def _show_folders(choices: Choices) -> None:
    if not choices.folders:
        click.echo("Nothing is shared now.")
    for one in choices.folders:
        click.echo(f"{'read and write' if one.access == 'rw' else 'read only     '}  {one.path}")


def add_collection(
    directory: Path, name: str, base_path: Path, *, read_only: bool, accounts: tuple[str, ...]
) -> None:
    """A collection more."""
    base = _directory(base_path, "--base-path")
    _check_accounts(accounts)
    added = Collection(name, str(base), "r" if read_only else "rw", accounts)
    _change(directory, lambda choices: choices.with_collection(added), kind=SERVER)
    click.echo(f"“{name}” shows {base}{', read only' if read_only else ''}.")


def list_collections(directory: Path) -> None:
    """Each on a line."""
    for one in _read(directory, SERVER).collections:
        who = ", ".join(one.accounts) or "all accounts of persons"
        click.echo(f"{one.name}  {one.base_path}  {one.access}  {who}")


def remove_collection(directory: Path, name: str) -> None:
    """A collection less."""
    _change(directory, lambda choices: choices.without_collection(name), kind=SERVER)
    click.echo(f"“{name}” is shown no more.")


def add_root(directory: Path, path: Path, *, read_only: bool, accounts: tuple[str, ...]) -> None:
    """A directory more in which managers make collections."""
    _check_accounts(accounts)
    root = Root(str(_directory(path, "PATH")), "r" if read_only else "rw", accounts)
    _change(directory, lambda choices: choices.with_root(root), kind=SERVER)
    list_roots(directory)


def list_roots(directory: Path) -> None:
    """Each on a line."""
    for one in _read(directory, SERVER).roots:
        who = ", ".join(one.accounts) or "all accounts of persons"
        click.echo(f"{one.path}  {one.access}  {who}")


def remove_root(directory: Path, path: Path) -> None:
    """One less. It may be gone from the disk."""
    place = str(path.resolve())
    _change(directory, lambda choices: choices.without_root(place), kind=SERVER)
    click.echo(f"Managers make no collections in {place} any more.")


def _directory(path: Path, option: str) -> Path:
    place = path.resolve()
    if not place.is_dir():
        raise click.BadParameter(f"{place} is no directory", param_hint=option)
    return place


def _check_accounts(accounts: tuple[str, ...]) -> None:
    for account in accounts:
        try:
            account_for(account, accounts)
        except AccountRefused as refusal:
            raise click.BadParameter(str(refusal), param_hint="--allow") from None


def add_mapping(directory: Path, match: str, account: str, options: dict[str, Any]) -> None:
    """A rule more, at the end."""
    try:
        rule = Mapping(match=match, output=account, **options)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    _change(
        directory, lambda choices: choices.with_mappings((*choices.mappings, rule)), kind=SERVER
    )
    list_mappings(directory)


def list_mappings(directory: Path) -> None:
    """Each on a line."""
    for number, one in enumerate(_read(directory, SERVER).mappings, 1):
        marks = [word for word in ("literal", "ignore_case") if getattr(one, word)]
        more = f"  ({', '.join(marks)})" if marks else ""
        click.echo(f"{number}  {one.source}  {one.match}  ->  {one.output}{more}")


def remove_mapping(directory: Path, number: int) -> None:
    """A rule less."""

    def change(choices: Choices) -> Choices:
        if number > len(choices.mappings):
            raise ChoiceError(f"there are {len(choices.mappings)} rules")
        rest = [one for at, one in enumerate(choices.mappings, 1) if at != number]
        return choices.with_mappings(rest)

    _change(directory, change, kind=SERVER)
    list_mappings(directory)


def import_mappings(directory: Path, file: Path) -> None:
    """These rules instead of those before."""
    try:
        rules = from_globus(json.loads(file.read_bytes()))
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{file}: {error}") from None
    _change(directory, lambda choices: choices.with_mappings(rules), kind=SERVER)
    list_mappings(directory)


def _read(directory: Path, kind: str | None = None) -> Choices:
    agent = AgentDirectory(directory)
    try:
        identity = agent.identity()
        if kind is not None and identity.kind != kind:
            what = "a personal endpoint" if identity.kind == PERSONAL else "a server"
            raise click.ClickException(f"“{identity.display_name}” is {what}, which has none of it")
        return agent.choices()
    except ConnectError as error:
        raise click.ClickException(error.message) from None
    except OSError as error:
        raise click.ClickException(f"{directory} cannot be read: {error}") from None


def _change(
    directory: Path, change: Callable[[Choices], Choices], *, kind: str | None = None
) -> Choices:
    """Write the changed choices down, and tell the agent if it runs."""
    _read(directory, kind)
    agent = AgentDirectory(directory)
    try:
        with _alone(agent):
            changed = change(agent.choices())
            agent.keep_choices(changed)
            try:
                answer = local_control.ask(
                    agent.control_socket, {"do": "choices", "choices": changed.to_document()}
                )
            except local_control.NotRunning:
                return changed
            if "error" in answer:
                raise click.ClickException(f"the agent that runs refuses it: {answer['error']}")
            if not answer.get("told", True):
                why = "; ".join(answer["warnings"]) or "it has not answered yet"
                click.echo(f"warning: it holds here, and the service was not told: {why}", err=True)
            elif changed.removed:  # said once: another node may have it again
                agent.keep_choices(replace(changed, removed=()))
            return changed
    except ChoiceError as error:
        raise click.ClickException(str(error)) from None
    except ConnectError as error:
        raise click.ClickException(error.message) from None
    except OSError as error:
        raise click.ClickException(f"the agent's directory, or the agent: {error}") from None


@contextmanager
def _alone(agent: AgentDirectory) -> Iterator[None]:
    """One command at a time changes the choices."""
    descriptor = os.open(agent.root / "choices.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
