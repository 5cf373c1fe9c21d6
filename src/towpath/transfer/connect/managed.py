"""What managers set of a collection through the GCS Manager API, and what the agents say of it.

An agent's configuration is the site's word: what is shown, and the most that may be done there.
Managers name and describe it, and may allow less, never more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from towpath.transfer.store.endpoints import Endpoint

TEXTS = (
    "description",
    "organization",
    "department",
    "keywords",
    "contact_email",
    "contact_info",
    "info_link",
    "user_message",
    "user_message_link",
    "default_directory",
)
"""For people. A null takes away what the agents say."""
MAX_ROOTS = 100
"""Of an endpoint: a site opens a few file systems."""


@dataclass(frozen=True, slots=True)
class Root:
    """A directory below which the site lets managers make collections."""

    path: str
    """Absolute; without a slash at the end, but for all there is."""
    access: Literal["r", "rw"]

    def holds(self, path: str) -> bool:
        """Whether a path (absolute, without `..`) is it, or below."""
        return path == self.path or path.startswith(self.path.rstrip("/") + "/")

    def to_document(self) -> dict[str, str]:
        """As it is kept."""
        return {"path": self.path, "access": self.access}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Root":
        """The opposite."""
        return cls(document["path"], document["access"])


def root_of(roots: list[Root], path: str) -> Root | None:
    """The root in which a path lies: the innermost, which may allow less than one around it."""
    around = [root for root in roots if root.holds(path)]
    return max(around, key=lambda root: len(root.path), default=None)


def reported_of(collection: Endpoint) -> dict[str, Any]:
    """What the agents say of a collection; before that was kept, it is what it was."""
    if collection.reported is not None:
        return dict(collection.reported)
    return {
        "name": collection.display_name,
        "access": collection.access,
        "public": collection.public,
        "details": collection.details,
    }


def agents_name(collection: Endpoint) -> str:
    """What the agents call a collection; its managers may have named it otherwise since."""
    name: str = reported_of(collection)["name"]
    return name


def overlaid(collection: Endpoint) -> Endpoint:
    """A collection as it is for its users."""
    reported, managed = reported_of(collection), collection.managed
    details = dict(reported["details"])
    for name in TEXTS:
        if name in managed:
            details[name] = managed[name]
    if "allow_guest_collections" in managed and details.get("shareable") is not False:
        details["shareable"] = managed["allow_guest_collections"]
    access = "r" if "r" in (reported["access"], managed.get("access")) else "rw"
    return replace(
        collection,
        display_name=managed.get("display_name") or reported["name"],
        public=bool(managed.get("public", reported["public"])),
        details={name: value for name, value in details.items() if value is not None},
        access=cast("Literal['r', 'rw']", access),
        reported=reported,
    )


def changed(collection: Endpoint, changes: Mapping[str, Any]) -> Endpoint:
    """A collection after its managers have set some fields."""
    kept = reported_of(collection)
    return overlaid(replace(collection, reported=kept, managed={**collection.managed, **changes}))
