"""Request documents that make tasks: `transfer` and `delete` (Transfer API, "task submission")."""

from datetime import datetime
from string import hexdigits
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, Field, model_validator

from towpath.transfer import names, times
from towpath.transfer.api.bodies import ApiPath, Document, Text, not_supported, refuse
from towpath.transfer.filter_rules import MAX_PATTERN_CHARACTERS, MAX_RULES, Kind
from towpath.transfer.store.tasks import NewItem

MAX_LABEL_CHARACTERS = 128

CHECKSUM_DIGITS: Final = {
    "MD5": 32,
    "SHA1": 40,
    "SHA256": 64,
    "SHA512": 128,
    "ADLER32": 8,
    "BLAKE3": 64,
}
"""What GridFTP servers offer (CKSM), and the hexadecimal digits of each."""

EXTERNAL_ALGORITHM: Final = "MD5"
"""Of an external checksum that comes without one (Transfer API, "external_checksum")."""


def _label(text: str) -> str:
    if len(text) > MAX_LABEL_CHARACTERS or text != text.strip() or not text.isprintable():
        raise refuse(
            "invalid_label",
            f"a label has at most {MAX_LABEL_CHARACTERS} printable characters on one line,"
            " without blanks around it",
        )
    return text


def _deadline(text: str) -> str:
    try:
        times.parse(text)
    except ValueError as error:
        raise refuse("invalid_time", str(error)) from None
    return text


def _algorithm(text: str) -> str:
    name = text.upper().replace("-", "")
    if name not in CHECKSUM_DIGITS:
        raise refuse("not_supported", f"the algorithms are {', '.join(CHECKSUM_DIGITS)}")
    return name


def _hex(text: str) -> str:
    digest = text.lower()
    if not set(digest) <= set(hexdigits):
        raise refuse("invalid_checksum", "a checksum is written in hexadecimal digits")
    return digest


Label = Annotated[Text, AfterValidator(_label)]
Deadline = Annotated[Text, AfterValidator(_deadline)]


class TransferItem(Document):
    """One file or tree. `recursive` None: find out."""

    DATA_TYPE: Literal["transfer_item"] = "transfer_item"
    source_path: ApiPath
    destination_path: ApiPath
    recursive: bool | None = None
    external_checksum: Annotated[Text, AfterValidator(_hex)] | None = None
    checksum_algorithm: Annotated[Text, AfterValidator(_algorithm)] | None = None

    @property
    def algorithm(self) -> str | None:
        """Of its checksums; None: the servers' fastest."""
        if self.external_checksum is None:
            return self.checksum_algorithm
        return self.checksum_algorithm or EXTERNAL_ALGORITHM

    @model_validator(mode="after")
    def _external_checksum_fits(self) -> Self:
        if self.external_checksum is None:
            return self
        if self.recursive:
            raise refuse(
                "invalid_checksum", "external_checksum is of a file; a recursive item has none"
            )
        assert self.algorithm is not None, "an external checksum has one"
        digits = CHECKSUM_DIGITS[self.algorithm]
        if len(self.external_checksum) != digits:
            raise refuse(
                "invalid_checksum",
                f"external_checksum: {self.algorithm} has {digits} hexadecimal digits,"
                f" these are {len(self.external_checksum)}",
            )
        return self


class AgainDocument(Document):
    """Body of POST /task/<id>/run_again. Without `label` the task gets the earlier one's."""

    submission_id: UUID
    label: Label | None = None


class FilterRuleDocument(Document):
    """One of a transfer's filter rules."""

    DATA_TYPE: Literal["filter_rule"] = "filter_rule"
    method: Literal["exclude", "include"]
    name: Annotated[Text, Field(min_length=1, max_length=MAX_PATTERN_CHARACTERS)]
    type: Kind | None = None


class DeleteItem(Document):
    """One path to delete."""

    DATA_TYPE: Literal["delete_item"] = "delete_item"
    path: ApiPath

    @model_validator(mode="after")
    def _not_everything(self) -> Self:
        if names.absolute(names.to_wire(self.path), "/~") == "/":
            raise refuse("invalid_path", "the root directory cannot be deleted")
        return self


class _Submission(Document):
    submission_id: UUID
    label: Label | None = None
    deadline: Deadline | None = None
    notify_on_succeeded: bool = True
    notify_on_failed: bool = True
    notify_on_inactive: bool = True
    store_base_path_info: bool = False

    def parsed_deadline(self) -> datetime | None:
        """The deadline asked for."""
        return None if self.deadline is None else times.parse(self.deadline)

    def _notifications(self) -> dict[str, Any]:
        return {
            "notify_on_succeeded": self.notify_on_succeeded,
            "notify_on_failed": self.notify_on_failed,
            "notify_on_inactive": self.notify_on_inactive,
            # Present only if so: the engine moves other deadlines on while there is progress.
            **({"deadline_given": True} if self.deadline is not None else {}),
        }


Tuning = Annotated[int, Field(ge=1, le=1000)]


class TransferDocument(_Submission):
    """Body of POST /transfer."""

    DATA_TYPE: Literal["transfer"] = "transfer"
    source_endpoint: UUID
    destination_endpoint: UUID
    DATA: list[TransferItem] = Field(default_factory=list)
    sync_level: Annotated[int, Field(ge=0, le=3)] | None = None
    verify_checksum: bool = False
    preserve_timestamp: bool = False
    encrypt_data: bool = False
    skip_source_errors: bool = False
    fail_on_quota_errors: bool = False
    delete_destination_extra: bool = False
    recursive_symlinks: Literal["ignore", "keep", "copy"] = "ignore"
    filter_rules: Annotated[list[FilterRuleDocument], Field(max_length=MAX_RULES)] | None = None
    source_local_user: Text | None = None
    destination_local_user: Text | None = None
    perf_cc: Tuning | None = None
    perf_p: Tuning | None = None
    perf_pp: Tuning | None = None
    perf_udt: bool | None = None

    @model_validator(mode="after")
    def _supported(self) -> Self:
        if not self.DATA:
            raise refuse("no_transfer_items", "A transfer requires at least one item")
        refused = {
            "source_local_user": bool(self.source_local_user),
            "destination_local_user": bool(self.destination_local_user),
        }
        for name, asked in refused.items():
            if asked:
                raise not_supported(name)
        return self

    def options(self) -> dict[str, Any]:
        """What the engine and the task document read."""
        return {
            **self._notifications(),
            "sync_level": self.sync_level,
            "verify_checksum": self.verify_checksum,
            "preserve_timestamp": self.preserve_timestamp,
            "encrypt_data": self.encrypt_data,
            "skip_source_errors": self.skip_source_errors,
            "fail_on_quota_errors": self.fail_on_quota_errors,
            "delete_destination_extra": self.delete_destination_extra,
            "recursive_symlinks": self.recursive_symlinks,
            "filter_rules": [rule.model_dump(exclude_none=True) for rule in self.filter_rules]
            if self.filter_rules
            else None,
            "perf_cc": self.perf_cc,
            "perf_p": self.perf_p,
            "perf_pp": self.perf_pp,
        }

    def items(self) -> list[NewItem]:
        """As the store takes them; tens of milliseconds for a large batch."""
        return [
            NewItem(
                item.source_path,
                item.destination_path,
                item.recursive,
                item.algorithm,
                item.external_checksum,
            )
            for item in self.DATA
        ]

    def check_destinations(self) -> None:
        """No two files may have one destination: only one of them could stay. ValueError.

        Trees may, they are merged; and so may items of which nobody knows yet what they are.
        """
        several: dict[str, list[int]] = {}
        for number, item in enumerate(self.DATA):
            if not item.recursive:
                path = names.absolute(names.to_wire(item.destination_path), "/~")
                several.setdefault(path, []).append(number)
        for numbers in several.values():
            if len(numbers) == 1 or all(self.DATA[n].recursive is None for n in numbers):
                continue
            file = next(n for n in numbers if self.DATA[n].recursive is False)
            other = next(n for n in numbers if n != file)
            first, second = sorted((file, other))
            raise ValueError(
                f"DATA.{first} and DATA.{second}: {self.DATA[first].source_path!r} and"
                f" {self.DATA[second].source_path!r} cannot both be copied to"
                f" {self.DATA[second].destination_path!r}: give one of them another destination"
            )

    def check_apart(self, source_base: str = "", destination_base: str = "") -> None:
        """For a transfer within one server: no item may be copied onto, or into, itself.
        The bases are where the roots of the two are in its storage.

        A file would be truncated before it is read; a tree would grow without end. ValueError.
        """
        for number, item in enumerate(self.DATA):
            source = source_base + names.absolute(names.to_wire(item.source_path), "/~")
            destination = destination_base + names.absolute(
                names.to_wire(item.destination_path), "/~"
            )
            below = source.rstrip("/") + "/"
            if destination == source or (
                item.recursive is not False and destination.startswith(below)
            ):
                raise ValueError(
                    f"DATA.{number}: source and destination overlap: {item.source_path!r} cannot"
                    f" be copied to {item.destination_path!r} on the same server"
                )


class DeleteDocument(_Submission):
    """Body of POST /delete."""

    DATA_TYPE: Literal["delete"] = "delete"
    endpoint: UUID
    DATA: list[DeleteItem] = Field(default_factory=list)
    recursive: bool = False
    ignore_missing: bool = False
    interpret_globs: bool = False
    local_user: Text | None = None

    @model_validator(mode="after")
    def _supported(self) -> Self:
        if not self.DATA:
            raise refuse("no_transfer_items", "A delete requires at least one item")
        if self.local_user:
            raise not_supported("local_user")
        return self

    def options(self) -> dict[str, Any]:
        """What the engine and the task document read."""
        return {
            **self._notifications(),
            "recursive": self.recursive,
            "ignore_missing": self.ignore_missing,
            "interpret_globs": self.interpret_globs,
        }

    def items(self) -> list[NewItem]:
        """As the store takes them; tens of milliseconds for a large batch."""
        return [NewItem(item.path, None, self.recursive) for item in self.DATA]
