"""What a failure means for the task: one table, one pure decision.

A GridFTP error is typed where it is born (`gridftp.errors`); here it gets the event code of the
Transfer API and its consequence. Source: Transfer API documentation, "Task errors"; what is fatal
at once follows the Globus service, everything else is retried until the deadline.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto
from random import Random

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.transfer.store.events import Event, EventCode
from towpath.transfer.store.segments import Skipped


class Consequence(Enum):
    """What follows from a fault."""

    FAIL_TASK = auto()  # trying again cannot help
    SUSPEND_TASK = auto()  # waits for its owner (INACTIVE)
    RETRY_FILE = auto()  # this file again, later; the others go on
    RETRY_TASK = auto()  # nothing can go on: the task backs off and frees its place


# Event code of the API and words for each kind of failure.
_CODES: dict[Kind, tuple[EventCode, str]] = {
    Kind.NOT_FOUND: (EventCode.FILE_NOT_FOUND, "no such file or directory"),
    Kind.PERMISSION_DENIED: (EventCode.PERMISSION_DENIED, "permission denied"),
    Kind.PATH_NOT_ALLOWED: (EventCode.PERMISSION_DENIED, "path not allowed"),
    Kind.IS_A_DIRECTORY: (EventCode.IS_A_DIRECTORY, "is a directory"),
    Kind.NOT_A_DIRECTORY: (EventCode.NOT_A_DIRECTORY, "not a directory"),
    Kind.EXISTS: (EventCode.ENDPOINT_ERROR, "exists already"),
    Kind.NOT_EMPTY: (EventCode.ENDPOINT_ERROR, "directory not empty"),
    Kind.NO_SPACE: (EventCode.NO_SPACE_LEFT, "no space left"),
    Kind.QUOTA: (EventCode.QUOTA_EXCEEDED, "quota exceeded"),
    Kind.DATA_REFUSED: (EventCode.CONNECTION_BROKEN, "data connection refused"),
    Kind.DATA_BROKEN: (EventCode.CONNECTION_RESET, "data connection broken"),
    Kind.DATA_AUTH: (EventCode.AUTH, "data channel authentication failed"),
    Kind.ENCRYPTION_REQUIRED: (EventCode.ENDPOINT_ERROR, "encryption required"),
    Kind.CHANNEL_GONE: (EventCode.CONNECTION_BROKEN, "data channel lost"),
    Kind.CHECKSUM_MISMATCH: (EventCode.VERIFY_CHECKSUM, "checksums differ"),
    Kind.SIZE_CHANGED: (EventCode.FILE_SIZE_CHANGED, "file size changed"),
    Kind.SOURCE_CHANGED: (EventCode.VERIFY_CHECKSUM, "source changed while it was copied"),
    Kind.CHECKSUM_UNSUPPORTED: (EventCode.ENDPOINT_ERROR, "checksum not supported"),
    Kind.AUTHENTICATION: (EventCode.AUTH, "authentication failed"),
    Kind.CREDENTIAL_EXPIRED: (EventCode.NO_CREDENTIALS, "credential expired"),
    Kind.UNTRUSTED_HOST: (EventCode.GSI_DN_MISMATCH, "host not trusted"),
    Kind.MAPPING: (EventCode.AUTH, "no local account"),
    Kind.LOGIN: (EventCode.AUTH, "login refused"),
    Kind.CONNECT: (EventCode.CONNECT_FAILED, "connect failed"),
    Kind.CONNECTION_LOST: (EventCode.CONNECTION_RESET, "connection lost"),
    Kind.TIMEOUT: (EventCode.TIMEOUT, "timed out"),
    Kind.STALLED: (EventCode.TIMEOUT, "stalled"),
    Kind.PROTOCOL: (EventCode.ENDPOINT_ERROR, "unintelligible answer"),
    Kind.UNSUPPORTED: (EventCode.ENDPOINT_ERROR, "not supported by the server"),
    Kind.INVALID_NAME: (EventCode.INVALID_PATH_NAME, "invalid path name"),
    Kind.ADDRESS_REFUSED: (EventCode.ENDPOINT_ERROR, "address not allowed"),
    Kind.UNKNOWN: (EventCode.UNKNOWN, "unclassified error"),
}

_WAITS_FOR_OWNER = frozenset({Kind.CREDENTIAL_EXPIRED})
# At the source the request itself is wrong; at the destination somebody may still mend it.
_FATAL_AT_SOURCE = frozenset({Kind.NOT_FOUND, Kind.IS_A_DIRECTORY, Kind.NOT_A_DIRECTORY})
_FATAL = frozenset({Kind.INVALID_NAME})
_SKIPPABLE = frozenset({Kind.NOT_FOUND, Kind.PERMISSION_DENIED, Kind.PATH_NOT_ALLOWED})
_OF_ONE_FILE = frozenset(
    {
        Kind.NOT_FOUND,
        Kind.PERMISSION_DENIED,
        Kind.PATH_NOT_ALLOWED,
        Kind.IS_A_DIRECTORY,
        Kind.NOT_A_DIRECTORY,
        Kind.EXISTS,
        Kind.NOT_EMPTY,
        Kind.NO_SPACE,
        Kind.QUOTA,
        Kind.CHECKSUM_MISMATCH,
        Kind.SIZE_CHANGED,
        Kind.SOURCE_CHANGED,
        Kind.INVALID_NAME,
    }
)
_WHAT_FOLLOWS = {
    Consequence.FAIL_TASK: "The task has failed.",
    Consequence.SUSPEND_TASK: "The task waits and goes on when the credential is renewed.",
    Consequence.RETRY_FILE: "This path is tried again until the deadline; the others go on.",
    Consequence.RETRY_TASK: "It is tried again until the deadline.",
}
# What these errors mean where something is written: another thing has the name.
_ADVICE_AT_DESTINATION = {
    Kind.IS_A_DIRECTORY: "A directory is where a file goes: remove or rename it.",
    Kind.NOT_A_DIRECTORY: "A file is where a directory goes: remove or rename it.",
}
_MIGHT_SKIP = " A task submitted with skip_source_errors leaves it out."


@dataclass(frozen=True, slots=True)
class Verdict:
    """A fault, judged: what follows and the event that tells of it."""

    consequence: Consequence
    event: Event


def judge(
    error: GridFTPError, *, at_source: bool, fail_on_quota: bool = False, might_skip: bool = False
) -> Verdict:
    """What `error` means. `at_source`: it came from the source (or a delete's endpoint).

    `might_skip`: the task could have been told to leave out what cannot be read.
    """
    code, description = _CODES[error.kind]
    if error.kind in _WAITS_FOR_OWNER:
        consequence = Consequence.SUSPEND_TASK
    elif (
        error.kind in _FATAL
        or (error.kind in _FATAL_AT_SOURCE and at_source)
        or (error.kind is Kind.QUOTA and fail_on_quota)
    ):
        consequence = Consequence.FAIL_TASK
    elif error.kind in _OF_ONE_FILE:
        consequence = Consequence.RETRY_FILE
    else:
        consequence = Consequence.RETRY_TASK
    advice = error.advice
    if not at_source:
        advice = _ADVICE_AT_DESTINATION.get(error.kind, advice)
    elif might_skip and skippable(error):
        advice += _MIGHT_SKIP
    details = {
        "error": str(error.message),
        "endpoint": error.where,
        "role": "source" if at_source else "destination",
        **({"path": error.path} if error.path else {}),
        **({"server_said": error.reply} if error.reply else {}),
        **error.facts,
        "advice": advice,
        "next": _WHAT_FOLLOWS[consequence],
    }
    return Verdict(consequence, Event(code, description, details, is_error=True))


def external_mismatch(
    *,
    where: str,
    source_path: str,
    path: str,
    algorithm: str,
    expected: str,
    found: str,
    removed: bool,
) -> Verdict:
    """A file that is not what its external checksum says, and whether it is removed."""
    details = {
        "error": f"{algorithm} of the file is {found}; {expected} was expected",
        "endpoint": where,
        "role": "destination",
        "path": path,
        "source_path": source_path,
        "algorithm": algorithm,
        "expected": expected,
        "found": found,
        "advice": "The source has the same contents: mend it, or the checksum, and submit again.",
        "next": "The task has failed. "
        + (
            "The wrong file was removed at the destination."
            if removed
            else "The wrong file could not be removed at the destination: remove it."
        ),
    }
    description = "external checksum differs"
    event = Event(EventCode.EXTERNAL_CHECKSUM_MISMATCH, description, details, is_error=True)
    return Verdict(Consequence.FAIL_TASK, event)


def skippable(error: GridFTPError) -> bool:
    """Whether a source that fails so is left out, if the task says that (`skip_source_errors`)."""
    return error.kind in _SKIPPABLE


def skipped(item_no: int, path: str, error: GridFTPError, *, is_directory: bool) -> Skipped:
    """What is told of it; the recorder knows the time."""
    code, _ = _CODES[error.kind]
    return Skipped(item_no, path, is_directory, code, str(error), 0.0)


def not_removed(verdict: Verdict) -> Event:
    """For a file that is left out only when what was sent of it has been removed."""
    assert isinstance(verdict.event.details, dict), "made by judge"
    follows = "It is left out as soon as what was sent of it can be removed at the destination."
    return replace(verdict.event, details=verdict.event.details | {"next": follows})


def for_whole_task(verdict: Verdict) -> Verdict:
    """The same, where one file's failure holds up everything: the task tries again, later."""
    if verdict.consequence is not Consequence.RETRY_FILE:
        return verdict
    assert isinstance(verdict.event.details, dict), "made by judge"
    details = verdict.event.details | {"next": _WHAT_FOLLOWS[Consequence.RETRY_TASK]}
    return Verdict(Consequence.RETRY_TASK, replace(verdict.event, details=details))


def backoff_s(failures: int, *, first_s: float, max_s: float, random: Random) -> float:
    """Seconds until what failed `failures` times (>= 1) in a row is tried again.

    They double from `first_s` to `max_s`, each shortened by chance by up to half.
    """
    # The exponent is bounded before 2.0 ** n could overflow.
    ceiling = min(max_s, first_s * 2.0 ** min(max(failures, 1) - 1, 16))
    return ceiling * (0.5 + random.random() / 2)
