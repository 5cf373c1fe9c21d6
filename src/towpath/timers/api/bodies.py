"""What may be sent: documents of both APIs, checked as far as Timers can. What only Transfer knows
(paths, sync levels of the future) it says at the first run.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    Tag,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from towpath.platform import times
from towpath.timers.api.documents import ACTION_URL
from towpath.timers.schedule import Schedule

Instant = datetime
"""For documents with a field `datetime`, in which the word means that."""

NAME_CHARACTERS: Final = 256
LABEL_CHARACTERS: Final = 128
"""As Transfer has it."""
LONGEST_INTERVAL_S: Final = 10 * 366 * 86_400
"""Ten years: who wants more means something else."""
LAST: Final = datetime(3000, 1, 1, tzinfo=UTC)
"""No run later than this: a calendar has an end, too."""

ACTION_URLS: Final = frozenset({ACTION_URL, "https://transfer.actions.globus.org/transfer/run"})
"""Under which the older API is asked for a transfer."""
_NO_DEADLINE = "a deadline is for one task, and a timer makes several: leave it out"


def refuse(kind: str, message: str) -> PydanticCustomError:
    """An error to raise in a validator."""
    # the message goes through a template: braces of the user's text are not fields
    return PydanticCustomError(kind, "{text}", {"text": message})


def _clean(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise refuse("value_error.text", "the text is not valid Unicode") from None
    if "\0" in text:
        raise refuse("value_error.text", "the text must not hold a NUL")
    return text


def storable(document: Any) -> Any:
    """What JSON and PostgreSQL can both hold. Raises what validators raise."""
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    except TypeError:  # FastAPI gives the bytes of what is not called JSON
        raise refuse("value_error.json", "send JSON, with Content-Type: application/json") from None
    except (ValueError, RecursionError):
        raise refuse("value_error.json", "the document is not plain JSON") from None
    if "\\u0000" in text:
        raise refuse("value_error.text", "texts must not hold a NUL")
    _clean(text)
    return document


def moment(text: object) -> datetime:
    """A time as people write it: without a zone it is UTC. Whole seconds."""
    if not isinstance(text, str):
        raise refuse("value_error.time", "a time is a text such as 2030-01-31T12:00:00+00:00")
    try:
        found = times.parse(text).replace(microsecond=0)
    except ValueError as error:
        raise refuse("value_error.time", str(error)) from None
    if found > LAST:
        raise refuse("value_error.time", f"no later than the year {LAST.year}")
    return found


Text = Annotated[StrictStr, AfterValidator(_clean)]
Name = Annotated[Text, Field(max_length=NAME_CHARACTERS)]
Label = Annotated[Text, Field(max_length=LABEL_CHARACTERS)]
Moment = Annotated[datetime, BeforeValidator(moment, json_schema_input_type=str)]
Interval = Annotated[StrictInt, Field(ge=1, le=LONGEST_INTERVAL_S)]
Count = Annotated[StrictInt, Field(ge=1, le=2**31 - 1)]


class Document(BaseModel):
    """A part of a request. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Once(Document):
    """One run, at a time or at once."""

    type: Literal["once"]
    datetime: Moment | None = None


class End(Document):
    """After so many runs, or at a time."""

    condition: Literal["iterations", "time"]
    count: Count | None = None
    iterations: Count | None = None
    """`count` under the name that the SDK's documentation has for it."""
    datetime: Moment | None = None

    @model_validator(mode="after")
    def _what_it_says(self) -> Self:
        if self.condition == "time" and self.datetime is None:
            raise refuse("value_error.missing", "the condition time needs a datetime")
        if self.condition == "iterations" and self.most_runs is None:
            raise refuse("value_error.missing", "the condition iterations needs a count")
        return self

    @property
    def most_runs(self) -> int | None:
        """So many runs."""
        return self.count or self.iterations if self.condition == "iterations" else None

    @property
    def until(self) -> Instant | None:
        """No run later."""
        return self.datetime if self.condition == "time" else None


class Recurring(Document):
    """Runs at equal distances."""

    type: Literal["recurring"]
    interval_seconds: Interval
    start: Moment | None = None
    end: End | None = None


class Item(BaseModel):
    """One file or tree; its other fields are Transfer's."""

    model_config = ConfigDict(extra="allow", frozen=True)

    source_path: Text
    destination_path: Text
    recursive: StrictBool | None = None


class TransferBody(BaseModel):
    """A transfer document without `submission_id`; what is not named here is Transfer's."""

    model_config = ConfigDict(extra="allow", frozen=True)

    DATA_TYPE: Literal["transfer"] = "transfer"
    source_endpoint: UUID
    destination_endpoint: UUID
    DATA: Annotated[list[Item], Field(min_length=1)]
    label: Label | None = None
    sync_level: Annotated[StrictInt, Field(ge=0, le=3)] | None = None
    verify_checksum: StrictBool = False
    preserve_timestamp: StrictBool = False
    encrypt_data: StrictBool = False
    skip_source_errors: StrictBool = False
    fail_on_quota_errors: StrictBool = False
    delete_destination_extra: StrictBool = False
    notify_on_succeeded: StrictBool = True
    notify_on_failed: StrictBool = True
    notify_on_inactive: StrictBool = True

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, document: Any) -> Any:
        if isinstance(document, dict) and document.get("deadline") is not None:
            raise refuse("value_error.not_supported", f"deadline: {_NO_DEADLINE}")
        return storable(document)

    def document(self) -> dict[str, Any]:
        """As each run submits it: as it was given, but for what belongs to one submission."""
        given = self.model_dump(mode="json", exclude_unset=True)
        for name in ("submission_id", "skip_activation_check"):
            given.pop(name, None)
        return {"DATA_TYPE": self.DATA_TYPE, **given}


class NewTimer(Document):
    """What POST /v2/timer makes."""

    timer_type: Literal["transfer"]
    name: Name = ""
    schedule: Annotated[Once | Recurring, Field(discriminator="type")]
    body: TransferBody

    @model_validator(mode="before")
    @classmethod
    def _no_flows(cls, document: Any) -> Any:
        if isinstance(document, dict) and document.get("timer_type") == "flow":
            raise refuse(
                "value_error.not_supported",
                "flow timers are not offered: this deployment has no Flows; the timer_type that"
                " there is is transfer",
            )
        return document

    def planned(self, now: datetime) -> Schedule:
        """The schedule; what has no start begins now."""
        now = now.replace(microsecond=0)
        if isinstance(self.schedule, Once):
            return Schedule(self.schedule.datetime or now)
        end = self.schedule.end
        return Schedule(
            self.schedule.start or now,
            self.schedule.interval_seconds,
            None if end is None else end.most_runs,
            None if end is None else end.until,
        )


class NewTimerRequest(Document):
    """Body of POST /v2/timer."""

    timer: NewTimer


def _whole(interval: object) -> object:
    """The older API's intervals may be written as numbers with a fraction, which is zero."""
    if isinstance(interval, float) and interval.is_integer():
        return int(interval)
    return interval


OldInterval = Annotated[Interval, BeforeValidator(_whole, json_schema_input_type=float)]


class OldItem(Document):
    """One file or tree."""

    source_path: Text
    destination_path: Text
    recursive: StrictBool | None = None


class OldAction(BaseModel):
    """What the transfer action takes; its other fields are those of a transfer."""

    model_config = ConfigDict(extra="allow", frozen=True)

    source_endpoint_id: UUID
    destination_endpoint_id: UUID
    transfer_items: Annotated[list[OldItem], Field(min_length=1)]


def _form(body: object) -> str:
    """Older releases of the SDK sent transfer documents as they are."""
    return "transfer" if isinstance(body, Mapping) and "DATA" in body else "action"


class OldCallback(Document):
    """The callback's body."""

    body: Annotated[
        Annotated[OldAction, Tag("action")] | Annotated[TransferBody, Tag("transfer")],
        Discriminator(_form),
    ]

    def transfer(self) -> TransferBody:
        """The transfer document that it means."""
        if isinstance(self.body, TransferBody):
            return self.body
        given = self.body.model_dump(mode="json", exclude_unset=True)
        items = given.pop("transfer_items")
        return TransferBody.model_validate(
            {
                **given,
                "DATA_TYPE": "transfer",
                "source_endpoint": given.pop("source_endpoint_id"),
                "destination_endpoint": given.pop("destination_endpoint_id"),
                "DATA": [{"DATA_TYPE": "transfer_item", **item} for item in items],
            }
        )


class NewJobRequest(Document):
    """Body of POST /jobs/."""

    name: Name | None = None
    start: Moment
    interval: OldInterval | None = None
    stop_after: Moment | None = None
    stop_after_n: Count | None = None
    callback_url: Text
    callback_body: OldCallback
    scope: Text | None = None

    @field_validator("callback_url")
    @classmethod
    def _is_transfer(cls, url: str) -> str:
        if url not in ACTION_URLS:
            raise refuse(
                "value_error.not_supported", f"the one action that there is is {ACTION_URL}"
            )
        return url

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, document: Any) -> Any:
        return storable(document)

    @model_validator(mode="after")
    def _once_or_often(self) -> Self:
        if self.interval is None and self.stop_after_n not in (None, 1):
            raise refuse("value_error.missing", "interval: several runs need one")
        return self

    def planned(self) -> Schedule:
        """The schedule."""
        if self.interval is None or self.stop_after_n == 1:
            return Schedule(self.start, until=self.stop_after)
        return Schedule(self.start, self.interval, self.stop_after_n, self.stop_after)


class Changes(BaseModel):
    """Body of PATCH /jobs/<id>. What else a timer does is changed by making another one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name | None = None
    start: Moment | None = None
    interval: OldInterval | None = None
    stop_after: Moment | None = None
    stop_after_n: Count | None = None

    def applied(self, schedule: Schedule) -> Schedule:
        """The schedule with them; null takes an end away."""
        given = self.model_fields_set
        return Schedule(
            self.start or schedule.start,
            self.interval if "interval" in given else schedule.interval_s,
            self.stop_after_n if "stop_after_n" in given else schedule.most_runs,
            self.stop_after if "stop_after" in given else schedule.until,
        )


class Resume(Document):
    """Body of POST /jobs/<id>/resume. Without `update_credentials`: as the reason wants it."""

    update_credentials: StrictBool | None = None
