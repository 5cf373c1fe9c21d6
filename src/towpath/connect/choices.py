"""What the owner of an agent has chosen: folders or collections, limits, whether it rests.

Kept at the agent, changed there only; the service is told. What a grant allows is narrowed to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, Final

from towpath.connect.configuration import KnownCollection
from towpath.connect.mapping import Mapping, to_globus

MAX_FOLDERS: Final = 200
"""A person keeps some; each is a rule that every command is held against."""
MAX_COLLECTIONS: Final = 200
"""Of one server."""
MAX_MAPPINGS: Final = 64
"""The service takes no more."""
MAX_ROOTS: Final = 100
"""Directories that a site opens for managers."""
MAX_ACCOUNTS: Final = 10_000
"""That one collection names."""

READ: Final = "r"
WRITE: Final = "rw"


class ChoiceError(ValueError):
    """It cannot be chosen; the text says why, for people."""


@dataclass(frozen=True)
class Folder:
    """A shared directory or file of a personal endpoint."""

    path: str
    """Absolute, with no link in it."""
    access: str
    """`r` or `rw`."""


@dataclass(frozen=True)
class Collection:
    """A tree that a server shows to many."""

    name: str
    base_path: str
    """Where it is here; its users see it as `/`."""
    access: str = WRITE
    accounts: tuple[str, ...] = ()
    """Who may be in it; nobody named: every account of a person."""


@dataclass(frozen=True)
class Root:
    """A directory below which managers of the endpoint may make collections at the service."""

    path: str
    """Absolute, with no link in it."""
    access: str = WRITE
    """The most that those collections may allow."""
    accounts: tuple[str, ...] = ()
    """Who may be in them; as of a collection."""

    def holds(self, path: str) -> bool:
        """Whether a path is it, or below."""
        place = PurePosixPath(path)
        return ".." not in place.parts and place.is_relative_to(self.path)


@dataclass(frozen=True)
class Choices:
    """All of it."""

    folders: tuple[Folder, ...] = ()
    collections: tuple[Collection, ...] = ()
    removed: tuple[str, ...] = ()
    """Collections that were taken away here: they go at the service too."""
    mappings: tuple[Mapping, ...] = ()
    mapped: bool = False
    """Whether mapping rules were ever set, or taken away, here."""
    roots: tuple[Root, ...] = ()
    rooted: bool = False
    """Whether roots were ever opened, or closed, here."""
    paused: bool = False
    draining: bool = False
    limit_bytes_s: int | None = None
    """Of all data connections together, each direction by itself."""
    max_sessions: int | None = None

    def to_document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def to_bytes(self) -> bytes:
        """To be kept in a file."""
        return json.dumps(self.to_document(), indent=1).encode()

    @classmethod
    def from_document(cls, document: object) -> Choices:
        """The opposite. Raises `ChoiceError`."""
        try:
            if not isinstance(document, dict):
                raise TypeError("no object")
            choices = cls(
                folders=tuple(Folder(**one) for one in document.get("folders", ())),
                collections=tuple(
                    Collection(**{**one, "accounts": tuple(one.get("accounts", ()))})
                    for one in document.get("collections", ())
                ),
                removed=tuple(map(str, document.get("removed", ()))),
                mappings=tuple(Mapping.from_document(one) for one in document.get("mappings", ())),
                mapped=bool(document.get("mapped", False)),
                roots=tuple(
                    Root(**{**one, "accounts": tuple(one.get("accounts", ()))})
                    for one in document.get("roots", ())
                ),
                rooted=bool(document.get("rooted", False)),
                paused=bool(document.get("paused", False)),
                draining=bool(document.get("draining", False)),
                limit_bytes_s=document.get("limit_bytes_s"),
                max_sessions=document.get("max_sessions"),
            )
        except (TypeError, ValueError, AttributeError) as error:
            raise ChoiceError(f"what was chosen cannot be read: {error}") from error
        choices.check()
        return choices

    def check(self) -> None:
        """Raises `ChoiceError` if there is too much of something, or a word is none."""
        for count, most, what in (
            (len(self.folders), MAX_FOLDERS, "folders"),
            (len(self.collections), MAX_COLLECTIONS, "collections"),
            (len(self.mappings), MAX_MAPPINGS, "mapping rules"),
            (len(self.roots), MAX_ROOTS, "roots"),
        ):
            if count > most:
                raise ChoiceError(f"{count} {what}; at most {most} can be had")
        parts: tuple[Folder | Collection | Root, ...] = (
            *self.folders,
            *self.collections,
            *self.roots,
        )
        accesses = {one.access for one in parts}
        for access in accesses - {READ, WRITE}:
            raise ChoiceError(f"{access!r} is neither r nor rw")
        for collection in self.collections:
            if len(collection.accounts) > MAX_ACCOUNTS:
                raise ChoiceError(f"{collection.name}: at most {MAX_ACCOUNTS} accounts are named")
        for root in self.roots:
            if len(root.accounts) > MAX_ACCOUNTS:
                raise ChoiceError(f"{root.path}: at most {MAX_ACCOUNTS} accounts are named")

    # -- folders

    def sharing(self, folder: Folder) -> Choices:
        """With this folder, in the place of what was said of it before."""
        rest = tuple(one for one in self.folders if one.path != folder.path)
        changed = replace(self, folders=tuple(sorted((*rest, folder), key=lambda one: one.path)))
        changed.check()
        return changed

    def not_sharing(self, path: str) -> Choices:
        """Without it. Raises `ChoiceError` when it is not shared."""
        rest = tuple(one for one in self.folders if one.path != path)
        if len(rest) == len(self.folders):
            shared = ", ".join(one.path for one in self.folders) or "nothing"
            raise ChoiceError(f"{path} is not shared by itself; what is: {shared}")
        return replace(self, folders=rest)

    # -- collections

    def collection(self, name: str) -> Collection | None:
        """By its name."""
        return next((one for one in self.collections if one.name == name), None)

    def with_collection(self, collection: Collection) -> Choices:
        """With this collection. Raises `ChoiceError` when the name is taken."""
        if self.collection(collection.name) is not None:
            raise ChoiceError(f"there is a collection {collection.name!r} already")
        changed = replace(
            self,
            collections=(*self.collections, collection),
            removed=tuple(one for one in self.removed if one != collection.name),
        )
        changed.check()
        return changed

    def without_collection(self, name: str) -> Choices:
        """Without it. Raises `ChoiceError` when there is none."""
        if self.collection(name) is None:
            raise ChoiceError(f"there is no collection {name!r}")
        rest = tuple(one for one in self.collections if one.name != name)
        return replace(self, collections=rest, removed=(*self.removed, name)[-MAX_COLLECTIONS:])

    # -- roots of managers' collections

    def with_root(self, root: Root) -> Choices:
        """With this root, in the place of what was said of it before."""
        rest = tuple(one for one in self.roots if one.path != root.path)
        roots = tuple(sorted((*rest, root), key=lambda one: one.path))
        changed = replace(self, roots=roots, rooted=True)
        changed.check()
        return changed

    def without_root(self, path: str) -> Choices:
        """Without it. Raises `ChoiceError` when there is none."""
        rest = tuple(one for one in self.roots if one.path != path)
        if len(rest) == len(self.roots):
            raise ChoiceError(f"{path} is not open for managers")
        return replace(self, roots=rest, rooted=True)

    def made_at_service(self, known: KnownCollection) -> tuple[Collection, Root] | None:
        """A collection that managers have made at the service, as far as it is allowed here, with
        the root in which it lies: the innermost. None: it lies in none."""
        around = [root for root in self.roots if root.holds(known.base_path)]
        if not around:
            return None
        root = max(around, key=lambda one: len(one.path))
        access = WRITE if WRITE == root.access == known.access else READ
        return Collection(known.name, known.base_path, access, root.accounts), root

    # -- mapping rules

    def with_mappings(self, mappings: Iterable[Mapping]) -> Choices:
        """With these rules instead of those before."""
        changed = replace(self, mappings=tuple(mappings), mapped=True)
        changed.check()
        return changed

    # -- for the service

    def report(
        self, version: str, node_name: str, *, known: Iterable[KnownCollection] = ()
    ) -> dict[str, Any]:
        """`PUT /connect/report`. `known`: collections that other nodes have told of; they stay."""
        others = [
            {"name": one.name, "base_path": one.base_path, "access": one.access}
            for one in known
            if one.name not in self.removed and self.collection(one.name) is None
        ]
        return {
            "version": version,
            "node_name": node_name,
            "paused": self.paused,
            "draining": self.draining,
            "folders": [asdict(one) for one in self.folders],
            "collections": [
                *others,
                *(
                    {
                        "name": one.name,
                        "base_path": one.base_path,
                        "access": one.access,
                        "policies": {"accounts": list(one.accounts)},
                    }
                    for one in self.collections
                ),
            ],
            "mappings": self._told_mappings(),
            "roots": [{"path": one.path, "access": one.access} for one in self.roots]
            if self.rooted
            else None,
        }

    def _told_mappings(self) -> list[dict[str, Any]] | None:
        """None: nothing was ever said of them here, another node may have."""
        if self.mappings:
            return [to_globus(self.mappings)]
        return [] if self.mapped else None


@dataclass
class Chosen:
    """The choices that hold now, for whoever asks."""

    current: Choices = field(default_factory=Choices)
