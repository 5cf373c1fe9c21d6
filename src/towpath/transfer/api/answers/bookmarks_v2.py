"""Documents of the routes under /v2, in the shape of JSON:API."""

from typing import Literal
from uuid import UUID

from towpath.transfer.api.answers.base import Answer


class Meta(Answer):
    """Of an answer."""

    request_id: str


class CollectionIdentifier(Answer):
    """Which collection."""

    type: Literal["Collection"]
    id: UUID


class CollectionLink(Answer):
    """A relationship to it."""

    data: CollectionIdentifier


class BookmarkRelationships(Answer):
    """What a bookmark belongs to."""

    collection: CollectionLink


class BookmarkAttributes(Answer):
    """Of a bookmark."""

    name: str
    path: str
    pinned: bool


class BookmarkResource(Answer):
    """A bookmark."""

    type: Literal["Bookmark"]
    id: UUID
    attributes: BookmarkAttributes
    relationships: BookmarkRelationships


class CollectionAttributes(Answer):
    """What is told of a bookmark's collection."""

    display_name: str
    high_assurance: bool


class CollectionResource(Answer):
    """A bookmark's collection, as far as the caller sees it."""

    type: Literal["Collection"]
    id: UUID
    attributes: CollectionAttributes


class BookmarkV2(Answer):
    """One bookmark."""

    data: BookmarkResource
    included: list[CollectionResource]
    meta: Meta


class BookmarksV2(Answer):
    """All bookmarks of the caller, by name."""

    data: list[BookmarkResource]
    included: list[CollectionResource]
    links: None
    meta: Meta


class Done(Answer):
    """That something was done."""

    meta: Meta
