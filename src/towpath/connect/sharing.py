"""From shared folders to rules: what an agent lets anybody see, whatever a grant says."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from towpath.connect.choices import READ, WRITE, ChoiceError, Folder

SECRETS: Final = (
    ".ssh",
    ".gnupg",
    ".globus",
    ".globusonline",
    ".aws",
    ".azure",
    ".config/gcloud",
    ".config/rclone",
    ".kube",
    ".docker",
    ".netrc",
    ".git-credentials",
    ".password-store",
    ".pki",
    ".mozilla",
    ".config/google-chrome",
    ".config/chromium",
    ".local/share/keyrings",
    ".pgpass",
    ".my.cnf",
    ".npmrc",
    ".pypirc",
    ".config/gh",
    ".boto",
    ".s3cfg",
    ".local/share/towpath",
    ".local/share/towpath-connect",
)
"""Below a home: keys, passwords and sessions. Who shares a home does not think of them. The last
ones are a deployment's own, and what an agent of another service has."""


def folder(path: Path, *, write: bool, own: Path) -> Folder:
    """What sharing this path means. Raises `ChoiceError`; `own` is the agent's directory."""
    try:
        place = path.expanduser().resolve(strict=True)
        os.fsencode(place).decode("utf-8")
    except (OSError, RuntimeError) as error:
        raise ChoiceError(f"{path} cannot be shared: {error}") from None
    except UnicodeDecodeError:
        raise ChoiceError("a folder whose name is not UTF-8 cannot be shared by itself") from None
    shared = Folder(str(place), WRITE if write else READ)
    if place.is_relative_to(own.resolve()):
        raise ChoiceError(f"{place} belongs to the agent itself, which is never shared")
    return shared


def rules_of(folders: Sequence[Folder], *, home: Path, own: Path) -> list[tuple[str, str]]:
    """The rules of these folders (letters and path, as in `dsi.rules`), with what is never shared
    taken out."""
    if not folders:
        return [("N", "/")]
    named = {one.path for one in folders}
    rules = dict.fromkeys(_never(named, home), "N")
    rules |= {one.path: "RW" if one.access == WRITE else "R" for one in folders}
    rules[str(own.resolve())] = "N"
    return [(letters, place) for place, letters in rules.items()]


def _never(named: Iterable[str], home: Path) -> list[str]:
    """Secrets that nobody shares by name, where they are: a link may lead elsewhere."""
    named = set(named)
    places: dict[str, None] = {}
    for name in SECRETS:
        secret = home.resolve() / name
        for place in (secret, secret.resolve()):
            if str(place) not in named and place != home.resolve():
                places[str(place)] = None
    return list(places)
