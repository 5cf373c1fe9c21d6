"""What a failure means for the task: one table, one pure decision.

A GridFTP error is typed where it is born (`gridftp.errors`); here it gets the event code of the
Transfer API and its consequence. Source: Transfer API documentation, "Task errors"; what is fatal
at once follows the Globus service, everything else is retried until the deadline.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto

from towpath.gridftp.errors import Fixer, GridFTPError, Kind, Phase, Scope
from towpath.transfer.circuits import AGENT_FOLLOWS, PROBE_MAX_S
from towpath.transfer.claims import Wait
from towpath.transfer.sessions import (
    NoCredential,
    NotAllowed,
    NotShared,
    SessionUnavailable,
    SharerMustAct,
    SharerSuspended,
)
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
    Kind.STORAGE: (EventCode.ENDPOINT_ERROR, "storage failed"),
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
    Kind.GRANT_REFUSED: (EventCode.AUTH, "grant refused"),
    Kind.GRANT_EXPIRED: (EventCode.CONNECTION_RESET, "grant expired"),
    Kind.AWAY: (EventCode.GC_NOT_CONNECTED, "agent not connected"),
    Kind.PAUSED: (EventCode.GC_PAUSED, "agent paused"),
    Kind.DRAINING: (EventCode.GC_NOT_CONNECTED, "agent drains"),
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
# What is full may still have room for another file.
_FULL = frozenset({Kind.NO_SPACE, Kind.QUOTA})
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
    error: GridFTPError,
    phase: Phase,
    *,
    at_source: bool,
    fail_on_quota: bool = False,
    might_skip: bool = False,
) -> Verdict:
    """What `error` means. `at_source`: it came from the source (or a delete's endpoint).

    `phase`: what was being done, if the error's kind does not say it.
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
    elif _of_one_file(error):
        consequence = Consequence.RETRY_FILE
    else:
        consequence = Consequence.RETRY_TASK
    advice = error.advice
    if not at_source:
        advice = _ADVICE_AT_DESTINATION.get(error.kind, advice)
    elif might_skip and skippable(error):
        advice += _MIGHT_SKIP
    where = {
        "endpoint": error.where,
        "role": _role(at_source=at_source),
        "phase": error.phase or phase,
        **({"path": error.path} if error.path else {}),
        **({"server_said": error.reply} if error.reply else {}),
        **error.facts,
    }
    event = _event(
        code,
        description,
        error=error.message,
        where=where,
        advice=advice,
        fixers=error.fixers,
        follows=_WHAT_FOLLOWS[consequence],
    )
    return Verdict(consequence, event)


def _of_one_file(error: GridFTPError) -> bool:
    """Whether the others can go on. What is not known may be about all of them."""
    return error.kind in _FULL or (error.scope is Scope.FILE and error.kind is not Kind.UNKNOWN)


def unavailable(error: SessionUnavailable, *, at_source: bool) -> Verdict:
    """No session can even be tried: somebody must act, or the endpoint is gone."""
    waits = isinstance(error, NoCredential | SharerMustAct)
    consequence = Consequence.SUSPEND_TASK if waits else Consequence.FAIL_TASK
    code, description = EventCode.ENDPOINT_ERROR, "endpoint not found"
    where: dict[str, object] = {"role": _role(at_source=at_source), "phase": Phase.LOGIN}
    if isinstance(error, SharerMustAct | SharerSuspended):
        where["sharer"] = error.sharer
    if waits:
        code, description = EventCode.NO_CREDENTIALS, "no credential"
    elif isinstance(error, SharerSuspended):
        consequence = Consequence.RETRY_TASK
        description = "sharer suspended"
    elif isinstance(error, NotShared):
        code, description = EventCode.ACL_CHANGED, "no access by the rules"
    elif isinstance(error, NotAllowed):
        code, description = EventCode.PERMISSION_DENIED, "endpoint not yours to use"
    event = _event(
        code,
        description,
        error=error.message,
        where=where,
        advice=error.advice,
        fixers=(Fixer.SHARER,) if "sharer" in where else (Fixer.YOU,),
        follows=_WHAT_FOLLOWS[consequence],
    )
    return Verdict(consequence, event)


def endpoint_changed(server: str) -> Verdict:
    """The task's claims are for another server than its endpoint has now (I9)."""
    event = _event(
        EventCode.ENDPOINT_ERROR,
        "endpoint changed",
        error="The endpoint was given another server while the task ran.",
        where={"endpoint": server, "role": "destination", "phase": Phase.LOGIN},
        advice="Nothing needs to be done; what was copied to the server before is not copied"
        " again.",
        fixers=(Fixer.NOBODY,),
        follows="The task claims its paths there and goes on.",
    )
    return Verdict(Consequence.RETRY_TASK, event)


def plan_too_large(most: int) -> Verdict:
    """A plan has more entries than are kept."""
    event = _event(
        EventCode.PLAN_TOO_LARGE,
        "plan too large",
        error=f"The plan would have more than {most} entries.",
        where={},
        advice="Plan a part of the trees, or submit it without a plan.",
        fixers=(Fixer.YOU,),
        follows="The plan has failed; nothing was changed.",
    )
    return Verdict(Consequence.FAIL_TASK, event)


def internal_error(*, ends: bool = False) -> Verdict:
    """A mistake of ours, which the log has in full. `ends`: while the task did."""
    event = _event(
        EventCode.INTERNAL_ERROR,
        "internal error",
        error="The service made a mistake; its operator finds it in the log.",
        where={},
        advice="Tell the operator if it happens again.",
        fixers=(Fixer.OPERATOR,),
        follows="The task ends." if ends else _WHAT_FOLLOWS[Consequence.RETRY_TASK],
    )
    return Verdict(Consequence.RETRY_TASK, event)


def key_missing(*, at_source: bool) -> Verdict:
    """The key under which a credential is kept is not where the service looks for it."""
    event = _event(
        EventCode.INTERNAL_ERROR,
        "key missing",
        error="The service misses the key under which the credential for this endpoint is kept.",
        where={"role": _role(at_source=at_source), "phase": Phase.LOGIN},
        advice="Its operator is told. If the key is lost, giving the credential again helps.",
        fixers=(Fixer.OPERATOR,),
        follows=_WHAT_FOLLOWS[Consequence.RETRY_TASK],
    )
    return Verdict(Consequence.RETRY_TASK, event)


def expired(waited: Wait | None) -> Event:
    """The deadline has passed; `waited`: while the task waited for another one."""
    if waited is None:
        error = "The deadline passed before everything was done."
        advice = (
            "See the last errors above, mend their cause, and submit again with a later deadline."
        )
        follows = "The task has failed. What has arrived stays."
    else:
        error = "The deadline passed while the task waited for another one."
        advice = "Submit again when that task has ended, or with a later deadline."
        follows = "It is over; nothing was done."
    return _event(
        EventCode.EXPIRED,
        "expired",
        error=error,
        where={} if waited is None else waited.details(),
        advice=advice,
        fixers=(Fixer.YOU,),
        follows=follows,
    )


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
    is_gone = (
        "The wrong file was removed at the destination."
        if removed
        else "The wrong file could not be removed at the destination: remove it."
    )
    event = _event(
        EventCode.EXTERNAL_CHECKSUM_MISMATCH,
        "external checksum differs",
        error=f"{algorithm} of the file is {found}; {expected} was expected",
        where={
            "endpoint": where,
            "role": "destination",
            "phase": Phase.CHECKSUM,
            "path": path,
            "source_path": source_path,
            "algorithm": algorithm,
            "expected": expected,
            "found": found,
        },
        advice="The source has the same contents: mend it, or the checksum, and submit again.",
        fixers=(Fixer.YOU,),
        follows=f"{_WHAT_FOLLOWS[Consequence.FAIL_TASK]} {is_gone}",
    )
    return Verdict(Consequence.FAIL_TASK, event)


def in_doubt(files: int, path: str) -> Event:
    """Of a task that ends: so many files were sent and have not arrived, `path` first, and nobody
    could look at what is there."""
    return _event(
        EventCode.FILES_IN_DOUBT,
        "files in doubt",
        error=f"{files} files that have not arrived may hold bytes of other files of the task",
        where={"role": "destination", "phase": Phase.DATA, "path": path},
        advice="Transfer them again, or remove them. They are not among the successful transfers.",
        fixers=(Fixer.YOU,),
        follows="The task has ended, and the endpoints could not be asked.",
    )


def _role(*, at_source: bool) -> str:
    return "source" if at_source else "destination"


def _event(
    code: EventCode,
    description: str,
    *,
    error: str,
    where: Mapping[str, object],
    advice: str,
    fixers: tuple[Fixer, ...],
    follows: str,
) -> Event:
    """What every fault tells (I8): what failed, where, what can be done and by whom, what next."""
    details = {
        "error": error,
        **where,
        "advice": advice,
        "who_can_fix": " or ".join(fixers),
        "next": follows,
    }
    return Event(code, description, details, is_error=True)


def code_of(error: GridFTPError) -> EventCode:
    """What the API calls it."""
    return _CODES[error.kind][0]


_SERVER_FOLLOWS = (
    "It is tried again until the deadline. While the server does not answer at all it is asked"
    f" every {PROBE_MAX_S:g} s or more often, and the task goes on when it does."
)


def until_it_answers(verdict: Verdict) -> Verdict:
    """For a server that may not be there: tasks wait for it together (`transfer.circuits`)."""
    assert isinstance(verdict.event.details, dict), "made by judge"
    if verdict.event.code in (EventCode.GC_NOT_CONNECTED, EventCode.GC_PAUSED):
        follows = AGENT_FOLLOWS
    else:
        follows = _SERVER_FOLLOWS
    details = verdict.event.details | {"next": follows}
    return replace(verdict, event=replace(verdict.event, details=details))


def skippable(error: GridFTPError) -> bool:
    """Whether a source that fails so is left out, if the task says that (`skip_source_errors`)."""
    return error.kind in _SKIPPABLE


def skipped(item_no: int, path: str, error: GridFTPError, *, is_directory: bool) -> Skipped:
    """What is told of it; the recorder knows the time."""
    code = code_of(error)
    return Skipped(item_no, path, is_directory, code, str(error), 0.0)


def not_removed(verdict: Verdict) -> Event:
    """For a file that is left out only when what was sent of it has been removed."""
    assert isinstance(verdict.event.details, dict), "made by judge"
    follows = "It is left out as soon as what was sent of it can be removed at the destination."
    return replace(verdict.event, details=verdict.event.details | {"next": follows})


def given_up(verdict: Verdict) -> Event:
    """For a file that is not sent again, because its task ends."""
    assert isinstance(verdict.event.details, dict), "made by judge"
    details = verdict.event.details | {"next": "The task has failed: the file is not sent again."}
    return replace(verdict.event, details=details)


def for_whole_task(verdict: Verdict) -> Verdict:
    """The same, where one file's failure holds up everything: the task tries again, later."""
    if verdict.consequence is not Consequence.RETRY_FILE:
        return verdict
    assert isinstance(verdict.event.details, dict), "made by judge"
    details = verdict.event.details | {"next": _WHAT_FOLLOWS[Consequence.RETRY_TASK]}
    return Verdict(Consequence.RETRY_TASK, replace(verdict.event, details=details))
