"""What mails say: in words that a scientist understands, with what failed and what to do.

Pure. Names, labels and servers' words come from anybody: each is cut and stays on its line.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from towpath.platform.mail import one_line

WORDS_LIMIT: Final = 500
"""Characters of what a server said, or of a path: enough to recognise it."""
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail's subject and text."""

    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Place:
    """The deployment, as its users have it."""

    service_name: str
    url: str

    def task(self, document: Mapping[str, Any]) -> str:
        """The page of a task."""
        return f"{self.url}/activity/{_words(document.get('task_id'))}"

    def endpoint(self, document: Mapping[str, Any]) -> str:
        """The page of an endpoint."""
        return f"{self.url}/endpoints/{_words(document.get('endpoint_id'))}"


def letter(topic: str, document: Mapping[str, Any], place: Place, *, more: int = 0) -> Letter:
    """The mail that tells it. `more`: how many others were not sent because so many waited."""
    write = _LETTERS.get(topic, _plain)
    subject, parts = write(document, place)
    if more:
        parts.append(
            f"{_count(more, 'more message')} after this one {'was' if more == 1 else 'were'} not"
            f" sent, because so many waited. All your tasks: {place.url}/activity"
        )
    return Letter(
        f"[{place.service_name}] {subject}", "\n\n".join(part for part in parts if part) + "\n"
    )


Parts = tuple[str, list[str]]


def _succeeded(document: Mapping[str, Any], place: Place) -> Parts:
    skipped = int(document.get("skipped_errors") or 0)
    left_out = (
        f"{_count(skipped, 'file or directory', 'files or directories')} could not be read at the"
        " source and had to be left out. The page of the task has their names and why. Mend the"
        " cause, and run the task again: what has arrived is not sent twice if you choose to"
        " copy only what is new."
        if skipped
        else ""
    )
    said = "is done" if not skipped else f"is done, but {skipped} could not be read"
    return f"Done: {_name(document)}", [
        f"Your {_kind(document)} {_quoted(document)}{said}.",
        _table(document),
        _counts(document),
        left_out,
        f"The page of the task: {place.task(document)}",
        _switch_off("succeeded"),
    ]


def _failed(document: Mapping[str, Any], place: Place) -> Parts:
    error = document.get("fatal_error")
    error = error if isinstance(error, dict) else {}
    details = _details(document)
    code = _words(error.get("code"))
    title, why, advice = _ENDS.get(code, ("Failed", _why(error, details), ""))
    advice = _words(details.get("advice")) or advice
    return f"{title}: {_name(document)}", [
        f"Your {_kind(document)} {_quoted(document)}has ended without success.",
        _table(document),
        f"What happened: {why}",
        _where(details),
        f"What was done before: {_counts(document)} What has arrived stays where it is."
        if document.get("type") == "TRANSFER"
        else f"What was done before: {_counts(document)}",
        f"What you can do: {advice or _LOOK}",
        f"The page of the task: {place.task(document)}",
        _switch_off("failed"),
    ]


def _inactive(document: Mapping[str, Any], place: Place) -> Parts:
    details = _details(document)
    advice = _words(details.get("advice"))
    why = _words(details.get("error") or details.get("reason")) or (
        "The service needs a credential for one of the two ends that is valid."
    )
    return f"Waits for you: {_name(document)}", [
        f"Your {_kind(document)} {_quoted(document)}does not go on.",
        _table(document),
        f"What happened: {why}",
        _where(details),
        f"So far: {_counts(document)} Nothing of it is lost.",
        (
            f"What you can do: {advice or 'Open the page of the task; it says what is missing.'}"
            " The task then goes on by itself from where it is."
            f" Without that it is given up at {_words(document.get('deadline'))}."
        ),
        f"The page of the task: {place.task(document)}",
        _switch_off("inactive"),
    ]


def _expiring(document: Mapping[str, Any], place: Place) -> Parts:
    name = _words(document.get("endpoint_display_name") or document.get("display_name"))
    at = _words(document.get("expires_at") or document.get("expire_time"))
    tasks = int(document.get("unfinished_tasks") or 0)
    waiting = f" {_count(tasks, 'task')} of yours will need it." if tasks else ""
    return f"Your credential for {name} ends soon", [
        f"The credential with which the service acts for you at {name} ends at {at}.{waiting}",
        "Tasks that need it then wait until you have given a new one, and go on by themselves.",
        f"Give a new one here: {place.endpoint(document)}",
        _words(document.get("advice")),
    ]


def _granted(document: Mapping[str, Any], place: Place) -> Parts:
    name = _words(document.get("endpoint_display_name") or document.get("display_name"))
    by = _words(document.get("granted_by") or document.get("username")) or "Somebody"
    path = _words(document.get("path")) or "/"
    write = "w" in str(document.get("permissions") or "r")
    message = _words(document.get("message") or document.get("notify_message"))
    return f"{by} shares {name} with you", [
        f"{by} lets you {'read and write' if write else 'read'} {path} of {name}.",
        f"They write: {message}" if message else "",
        f"Open it: {place.endpoint(document)}",
    ]


def _disabled(document: Mapping[str, Any], place: Place) -> Parts:
    return "A webhook of yours was switched off", [
        (
            f"Your webhook {_words(document.get('url'))} was switched off: it has failed for so"
            " long that it looks as if nobody was there."
        ),
        f"What happened last: {_words(document.get('because'))}",
        (
            "What waited for it is not sent any more. When it works again, switch it on:"
            f" PUT {place.url}/v0.10/webhook/{_words(document.get('webhook_id'))}"
            ' with {"enabled": true}.'
        ),
    ]


def _timer(document: Mapping[str, Any], place: Place) -> Parts:
    timer_id = _words(document.get("timer_id"))
    name = _words(document.get("name"))
    quoted = f'"{name}" ' if name else ""
    scopes = document.get("required_scopes")
    scopes = [_words(one) for one in scopes] if isinstance(scopes, list) else []
    return f"Waits for you: the timer {name or timer_id}", [
        f"Your timer {quoted}makes no transfers until you resume it.",
        f"What happened: {_words(document.get('reason')) or 'It may not transfer for you.'}",
        "\n".join(["What it needs your consent for:", *(f"  {one}" for one in scopes)])
        if scopes
        else "",
        (
            f"What you can do: globus timer resume {timer_id}\nIf a consent is missing, that says"
            " which one and how it is given; then run it again. One run makes up for all that were"
            " missed meanwhile."
        ),
        f"Your applications and what they may do: {place.url}/account/applications",
    ]


def _plain(document: Mapping[str, Any], place: Place) -> Parts:
    """A topic that has no text here: its own words."""
    text = str(document.get("text") or "")
    lines = [_words(line) for line in text.splitlines()[:100]]
    return _words(document.get("subject")) or "A message", ["\n".join(lines) or f"See {place.url}"]


_LETTERS: Final[Mapping[str, Callable[[Mapping[str, Any], Place], Parts]]] = {
    "task.succeeded": _succeeded,
    "task.failed": _failed,
    "task.inactive": _inactive,
    "credential.expiring": _expiring,
    "access.granted": _granted,
    "webhook.disabled": _disabled,
    "timer.inactive": _timer,
}
_LOOK: Final = (
    "Look at the last events on the page of the task. When the cause is mended, run it again; what"
    " has arrived is not sent twice if you choose to copy only what is new."
)
_ENDS: Final[Mapping[str, tuple[str, str, str]]] = {
    "CANCELED": (
        "Canceled",
        "It was canceled.",
        "Nothing, if it was you. If not, ask who looks after the endpoint.",
    ),
    "EXPIRED": (
        "Given up",
        "Its deadline has passed before all was done.",
        (
            "Run it again with a later deadline; what has arrived is not sent twice if you choose"
            " to copy only what is new."
        ),
    ),
}
"""By code: the subject's first word, what happened, what to do."""


def _why(error: Mapping[str, Any], details: Mapping[str, Any]) -> str:
    said = _words(details.get("error")) or _words(error.get("description")) or "It is not known."
    code = _words(error.get("code"))
    return f"{said} ({code})" if code else said


def _where(details: Mapping[str, Any]) -> str:
    rows = [
        ("File or directory", details.get("path")),
        ("Endpoint", details.get("endpoint")),
        ("The server said", details.get("server_said")),
    ]
    return _rows([(title, _words(value)) for title, value in rows if value])


def _table(document: Mapping[str, Any]) -> str:
    rows = [
        ("From", document.get("source_endpoint_display_name")),
        ("To", document.get("destination_endpoint_display_name")),
        ("Submitted", document.get("request_time")),
        ("Ended", document.get("completion_time")),
    ]
    if document.get("type") == "DELETE":
        rows[0] = ("At", rows[0][1])
    return _rows([(title, _words(value)) for title, value in rows if value])


def _rows(rows: Sequence[tuple[str, str]]) -> str:
    width = max((len(title) for title, _ in rows), default=0)
    return "\n".join(f"  {title:<{width}}  {value}" for title, value in rows)


def _counts(document: Mapping[str, Any]) -> str:
    done = int(document.get("files_transferred") or 0)
    there = int(document.get("files_skipped") or 0)
    faults = int(document.get("faults") or 0)
    if document.get("type") == "DELETE":
        said = f"{_count(int(document.get('files') or 0), 'file')} deleted."
    else:
        size = amount(int(document.get("bytes_transferred") or 0))
        said = f"{_count(done, 'file')}, {size}, transferred."
    if there:
        said += f" {_count(there, 'file')} needed no copy."
    if faults:
        said += f" {_count(faults, 'fault')} on the way."
    return said


def _switch_off(which: str) -> str:
    return (
        "--\nYou get this because the task was submitted with notify_on_"
        f"{which}, which is on unless one says otherwise. To have no such\n"
        f"mails, submit with notify_on_{which} off: globus transfer --notify off ..."
    )


def _name(document: Mapping[str, Any]) -> str:
    label = _words(document.get("label"))
    if label:
        return label
    source = _words(document.get("source_endpoint_display_name"))
    destination = _words(document.get("destination_endpoint_display_name"))
    if document.get("type") == "DELETE":
        return f"deletion at {source}"
    return f"{source} to {destination}"


def _quoted(document: Mapping[str, Any]) -> str:
    label = _words(document.get("label"))
    return f'"{label}" ' if label else ""


def _kind(document: Mapping[str, Any]) -> str:
    return "deletion" if document.get("type") == "DELETE" else "transfer"


def _details(document: Mapping[str, Any]) -> Mapping[str, Any]:
    found = document.get("details")
    return found if isinstance(found, dict) else {}


def _words(value: object) -> str:
    """A value as one line."""
    return "" if value is None else one_line(str(value), WORDS_LIMIT)


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def amount(size: int) -> str:
    """Bytes in the unit that suits: `1.2 GB`."""
    value, unit = float(size), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{size} {_UNITS[0]}" if unit == 0 else f"{value:.3g} {_UNITS[unit]}"
