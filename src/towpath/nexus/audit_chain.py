"""The chain of the audit log, as pure functions: each link's hash covers all links before it."""

import hashlib
import json
from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass, fields

from towpath.nexus.store.audit import Head, Record, Sealed

START = Head(0, bytes(32))
"""What the first link hangs on."""


@dataclass(frozen=True)
class Verdict:
    """What a look at the whole chain found."""

    head: Head
    """The last link that is as it was sealed."""
    broken_at: int | None = None
    """The sequence number of the first one that is not."""
    why: str = ""


def link(record: Record, before: Head) -> Sealed:
    """``record`` as the link after ``before``."""
    sequence = before.sequence + 1
    facts = {field.name: getattr(record, field.name) for field in fields(Record)}
    return Sealed(
        **facts,
        sequence=sequence,
        previous_hash=before.hash,
        hash=_hash(record, sequence, before.hash),
    )


def links(records: Sequence[Record], before: Head) -> list[Sealed]:
    """``records`` as the links after ``before``, in order."""
    made: list[Sealed] = []
    for record in records:
        made.append(link(record, before))
        before = head_of(made[-1])
    return made


def head_of(sealed: Sealed) -> Head:
    """The chain's head if ``sealed`` is its last link."""
    return Head(sealed.sequence, sealed.hash)


def _hash(record: Record, sequence: int, previous: bytes) -> bytes:
    """SHA-256 of the canonical JSON: keys sorted, no spaces, ASCII, times in UTC to the µs."""
    document = {field.name: getattr(record, field.name) for field in fields(Record)} | {
        "at": record.at.isoformat(timespec="microseconds"),
        "actor": None if record.actor is None else str(record.actor),
        "client": None if record.client is None else str(record.client),
        "sequence": sequence,
        "previous_hash": previous.hex(),
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).digest()


async def check(chain: AsyncIterable[Sealed], checkpoint: Head | None) -> Verdict:
    """Whether every link is as it was sealed, and the chain goes at least to ``checkpoint``."""
    head = START
    async for one in chain:
        sequence = head.sequence + 1
        if one.sequence != sequence:
            return Verdict(
                head, sequence, f"it is missing: after {head.sequence} comes {one.sequence}"
            )
        if one.previous_hash != head.hash:
            return Verdict(head, sequence, "it does not hang on the one before it")
        if one.hash != _hash(one, sequence, head.hash):
            return Verdict(head, sequence, "it was changed")
        if (
            checkpoint is not None
            and sequence == checkpoint.sequence
            and one.hash != checkpoint.hash
        ):
            return Verdict(head, sequence, "it is not the one that the checkpoint was made of")
        head = head_of(one)
    if checkpoint is not None and head.sequence < checkpoint.sequence:
        return Verdict(
            head,
            head.sequence + 1,
            f"the end is missing: the checkpoint was made of {checkpoint.sequence}",
        )
    return Verdict(head)
