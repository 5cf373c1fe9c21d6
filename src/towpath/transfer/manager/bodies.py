"""What request documents are made of. Unknown fields are ignored (GCS Manager API)."""

import posixpath
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from towpath.transfer.api.bodies import ApiPath, Document, Text, refuse

MAX_NAME_CHARACTERS = 128
MAX_TEXT_CHARACTERS = 4096
MAX_LIST = 1000
MAX_KEYWORD_CHARACTERS = 256


def typed(name: str) -> Any:
    """Of DATA_TYPE: it is of that kind, in any version that the clients write (1.x)."""

    def check(text: str) -> str:
        if not text.startswith(f"{name}#1."):
            raise refuse("data_type", f"this is a document of type {name}#1.x")
        return text

    return AfterValidator(check)


def _name(text: str) -> str:
    if not text.strip() or len(text) > MAX_NAME_CHARACTERS or not text.isprintable():
        raise refuse(
            "invalid_name", f"a name is 1 to {MAX_NAME_CHARACTERS} printable characters on one line"
        )
    return text.strip()


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise refuse("invalid_path", "the path is absolute")
    if ".." in path.split("/"):
        raise refuse("invalid_path", "the path has no '..'")
    return posixpath.normpath(path).replace("//", "/")


def _keyword(text: str) -> str:
    if "," in text or not text.isprintable():
        raise refuse("invalid_keyword", "a keyword has no comma")
    return text


Name = Annotated[Text, AfterValidator(_name)]
LongText = Annotated[Text, Field(max_length=MAX_TEXT_CHARACTERS)]
AbsolutePath = Annotated[ApiPath, AfterValidator(_absolute)]
Keyword = Annotated[Text, Field(max_length=MAX_KEYWORD_CHARACTERS), AfterValidator(_keyword)]
Names = Annotated[list[Annotated[Text, Field(max_length=256)]], Field(max_length=MAX_LIST)]
Flag = bool


class Contact(Document):
    """Texts for people, which endpoints and collections have."""

    description: LongText | None = None
    organization: LongText | None = None
    department: LongText | None = None
    contact_email: LongText | None = None
    contact_info: LongText | None = None
    info_link: LongText | None = None
    keywords: Annotated[list[Keyword], Field(max_length=100)] | None = None


def keyword_text(keywords: Sequence[str] | None) -> str | None:
    """As Transfer has them: one text."""
    return ", ".join(keywords) if keywords else None
