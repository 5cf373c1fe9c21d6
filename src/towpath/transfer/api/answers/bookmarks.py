"""Bookmarks."""

from typing import Literal
from uuid import UUID

from towpath.transfer.api.answers.base import Answer


class Bookmark(Answer):
    """A place with a name. Its endpoint may be deleted by now."""

    DATA_TYPE: Literal["bookmark"]
    id: UUID
    name: str
    endpoint_id: UUID
    path: str
    pinned: bool


class BookmarkList(Answer):
    """All of the caller's."""

    DATA_TYPE: Literal["bookmark_list"]
    DATA: list[Bookmark]
