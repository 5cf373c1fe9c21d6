"""What an agent and its relay say over the subsystem of the tunnel: a line of JSON each.

The agent asks, with a number of its own; the relay answers with that number, in any order, and
tells of events. A dial to another agent goes::

    A: {"id": 7, "do": "dial", "host": "192.0.2.1", "port": 40001}
    R: {"id": 7, "ticket": "S", "candidates": ["192.168.1.5:40123"]}     to A
    R: {"event": "expect", "listener": "L", "ticket": "S"}               to B, if A has candidates

A tries the candidates, saying ``S`` to each: B's own port accepts it for this listener. Where none
answers, A says ``S`` to the relay, and only then::

    R: {"event": "incoming", "listener": "L", "ticket": "R"}             to B

B dials the relay, says ``R``, and the relay joins both. Everybody else who connects to a listener
is announced by ``incoming`` alone.

Fields that a version does not know are ignored, and so are events (:class:`UnknownEvent`); a
request that it does not know is answered with an error (:class:`UnknownRequest`).
"""

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Final, TypeVar

from towpath.tunnel.tickets import is_ticket

LINE_LIMIT: Final = 64 * 1024
"""Bytes with the line feed; nothing that is said comes near it."""

CANDIDATES_LIMIT: Final = 16
"""A host has a few addresses; each candidate may cost the other agent a second."""

TEXT_LIMIT: Final = 1000
"""Characters of the text of an error."""

ID_LIMIT: Final = 2**53
"""What every JSON reader keeps exactly."""

_WORD = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9.:_-]{1,253}", re.ASCII)
_NONCE = re.compile(r"[A-Za-z0-9_-]{16,64}", re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9.+!_-]{1,64}", re.ASCII)


class MessageError(Exception):
    """A line that is no message. ``id`` is the request's, where that could be read."""

    def __init__(self, text: str, id: int | None = None) -> None:  # noqa: A002 - the wire's word
        super().__init__(text)
        self.id = id


class TunnelError(StrEnum):
    """Why a request was not done: the code of :class:`Failed`."""

    UNKNOWN = "unknown"
    """This relay does not know the request, or the protocol."""
    MALFORMED = "malformed"
    LIMIT = "limit"
    """As many of these as an agent may have are there."""
    REFUSED = "refused"
    """The service, or the relay's operator, does not allow the address."""
    UNREACHABLE = "unreachable"
    """The address is allowed and does not answer."""
    UNAVAILABLE = "unavailable"
    """The relay cannot do it now: the service is away, or it drains."""


# --- the agent asks ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hello:
    """The first request. From its answer on the agent is connected."""

    id: int
    version: str
    protocol: int


@dataclass(frozen=True)
class Listen:
    """Listen in the agent's place. ``candidates``: addresses of its own port for this listener."""

    id: int
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unlisten:
    """That listener is not needed any more. Not answered."""

    listener: str


@dataclass(frozen=True)
class Dial:
    """A connection to an address, which may be a listener of another agent."""

    id: int
    host: str
    port: int


@dataclass(frozen=True)
class Probe:
    """Dial back: can this port of mine be reached? The relay says the nonce there."""

    id: int
    port: int
    nonce: str


@dataclass(frozen=True)
class UnknownRequest:
    """Something that a newer agent asks."""

    id: int
    do: str


Request = Hello | Listen | Unlisten | Dial | Probe | UnknownRequest


# --- the relay answers ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Welcome:
    """To :class:`Hello`. ``address``: where the agent's tunnel comes from, as the relay sees it."""

    id: int
    protocol: int
    version: str
    address: str


@dataclass(frozen=True)
class Listening:
    """To :class:`Listen`: where, for PASV, and the listener's name."""

    id: int
    listener: str
    host: str
    port: int


@dataclass(frozen=True)
class Ticket:
    """To :class:`Dial`: what to say to the candidates, one after the other, then to the relay."""

    id: int
    ticket: str = field(repr=False)
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Probed:
    """To :class:`Probe`: whether somebody there knew the nonce, and at which IP address."""

    id: int
    open: bool
    address: str


@dataclass(frozen=True)
class Failed:
    """To any request. A code that this version does not know reads as ``unavailable``."""

    id: int
    code: TunnelError
    message: str


Answer = Welcome | Listening | Ticket | Probed | Failed


# --- the relay tells -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Incoming:
    """Somebody connected to a listener: dial the relay and say the ticket."""

    listener: str
    ticket: str = field(repr=False)


@dataclass(frozen=True)
class Expect:
    """An agent will say this ticket at the listener's own port (at one of its candidates)."""

    listener: str
    ticket: str = field(repr=False)


@dataclass(frozen=True)
class Unlistened:
    """The relay ended a listener that nobody used for long."""

    listener: str


@dataclass(frozen=True)
class ConfigurationChanged:
    """Ask the service for the configuration anew."""


@dataclass(frozen=True)
class Drain:
    """The relay ends soon: begin nothing here, go to another one when idle."""


@dataclass(frozen=True)
class UnknownEvent:
    """Something that a newer relay tells; ignore it."""

    event: str


Event = Incoming | Expect | Unlistened | ConfigurationChanged | Drain | UnknownEvent
Message = Request | Answer | Event

_DO: Final[Mapping[str, type[Request]]] = {
    "hello": Hello,
    "listen": Listen,
    "unlisten": Unlisten,
    "dial": Dial,
    "probe": Probe,
}
_EVENTS: Final[Mapping[str, type[Event]]] = {
    "incoming": Incoming,
    "expect": Expect,
    "unlistened": Unlistened,
    "configuration": ConfigurationChanged,
    "drain": Drain,
}
_HEADS: Final[Mapping[type[Any], dict[str, str]]] = {
    **{kind: {"do": do} for do, kind in _DO.items()},
    **{kind: {"event": event} for event, kind in _EVENTS.items()},
}
_ANSWERS: Final[Mapping[str, type[Answer]]] = {
    # each has one field that no other has
    "version": Welcome,
    "listener": Listening,
    "ticket": Ticket,
    "open": Probed,
}


def encode(message: Message) -> bytes:
    """The line. ValueError if the other side would not read it."""
    document: dict[str, Any] = dict(_HEADS.get(type(message), {}))
    if isinstance(message, Failed):
        document |= {"id": message.id}
        document["error"] = {"code": message.code, "message": message.message[:TEXT_LIMIT]}
    elif isinstance(message, UnknownRequest | UnknownEvent):
        raise ValueError("what is not known is not said")  # noqa: TRY004 - as for what is malformed
    else:
        for each in fields(message):
            value = getattr(message, each.name)
            document[each.name] = list(value) if isinstance(value, tuple) else value
    line = json.dumps(document, separators=(",", ":")).encode() + b"\n"
    read = decode_request if "do" in document else decode_report
    try:
        read(line[:-1])
    except MessageError as error:
        raise ValueError(str(error)) from None
    return line


def decode_request(line: bytes) -> Request:
    """What an agent asks, from a line without its line feed. Raises :class:`MessageError`."""
    document = _document(line)
    do = document.get("do")
    known = _DO.get(do) if isinstance(do, str) else None
    if known is not None:
        return _read(known, document)
    id_ = _id(document)
    if id_ is None or not isinstance(do, str):
        raise MessageError("a request has a word for what to do, and an id", id_)
    return UnknownRequest(id_, do[:64])


def decode_report(line: bytes) -> Answer | Event:
    """What a relay answers or tells, from a line without its line feed.

    Raises :class:`MessageError`.
    """
    document = _document(line)
    event = document.get("event")
    if isinstance(event, str):
        kind = _EVENTS.get(event)
        return UnknownEvent(event[:64]) if kind is None else _read(kind, document)
    error = document.get("error")
    if isinstance(error, dict):
        return _failed(document, error)
    for name, answer in _ANSWERS.items():
        if name in document:
            return _read(answer, document)
    raise MessageError("this is neither an answer nor an event", _id(document))


class Lines:
    """Bounded lines out of what arrives in any pieces."""

    def __init__(self) -> None:
        self._begun = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are whole now, without line feeds. Raises :class:`MessageError`."""
        *whole, begun = data.split(b"\n")
        lines = []
        for part in whole:
            self._begun += part
            self._check(1)
            lines.append(bytes(self._begun))
            self._begun.clear()
        self._begun += begun
        self._check(1)
        return lines

    def _check(self, line_feed: int) -> None:
        if len(self._begun) + line_feed > LINE_LIMIT:
            raise MessageError(f"a line has more than {LINE_LIMIT} bytes")


def _document(line: bytes) -> dict[str, Any]:
    if len(line) >= LINE_LIMIT:
        raise MessageError(f"a line has more than {LINE_LIMIT} bytes")
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        raise MessageError("a line is not JSON") from None
    if not isinstance(document, dict):
        raise MessageError("a line is not a JSON object")
    return document


def _id(document: Mapping[str, Any]) -> int | None:
    value = document.get("id")
    return value if _is_id(value) else None


def _failed(document: Mapping[str, Any], error: Mapping[str, Any]) -> Failed:
    id_ = _id(document)
    code, message = error.get("code"), error.get("message")
    if id_ is None or not isinstance(code, str) or not isinstance(message, str):
        raise MessageError("an error has an id, a code and a message", id_)
    try:
        known = TunnelError(code)
    except ValueError:
        known = TunnelError.UNAVAILABLE
    return Failed(id_, known, message[:TEXT_LIMIT])


_Kind = TypeVar("_Kind")


def _read(kind: type[_Kind], document: Mapping[str, Any]) -> _Kind:
    """The dataclass, each of its fields checked by its name, which means the same everywhere."""
    values: dict[str, Any] = {}
    for each in fields(kind):  # type: ignore[arg-type]  # all kinds are dataclasses
        value = document.get(each.name)
        if isinstance(value, list):
            value = tuple(value)
        if value is None and each.name == "candidates":
            value = ()
        if not _CHECKS[each.name](value):
            raise MessageError(f"{each.name} is missing or malformed", _id(document))
        values[each.name] = value
    return kind(**values)


def _is_id(value: object) -> bool:
    return _is_number(value, ID_LIMIT)


def _is_number(value: object, limit: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < limit


def _is_port(value: object) -> bool:
    return _is_number(value, 65536) and value != 0


def _is_ip(value: object) -> bool:
    try:
        return isinstance(value, str) and ipaddress.ip_address(value) is not None
    except ValueError:
        return False


def _is_candidate(value: object) -> bool:
    if not isinstance(value, str):
        return False
    ip, _, port = value.rpartition(":")
    plain_port = port.isascii() and port.isdigit() and len(port) <= 5
    return plain_port and _is_port(int(port)) and _is_ip(ip.removeprefix("[").removesuffix("]"))


def _are_candidates(value: object) -> bool:
    few = isinstance(value, tuple) and len(value) <= CANDIDATES_LIMIT
    return few and all(map(_is_candidate, value))  # type: ignore[call-overload]  # a tuple


def _matches(pattern: re.Pattern[str]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


_CHECKS: Final[Mapping[str, Callable[[object], bool]]] = {
    "id": _is_id,
    "protocol": lambda value: _is_number(value, 2**31),
    "version": _matches(_VERSION),
    "candidates": _are_candidates,
    "listener": _matches(_WORD),
    "host": _matches(_HOST),
    "port": _is_port,
    "nonce": _matches(_NONCE),
    "address": _is_ip,
    "ticket": lambda value: isinstance(value, str) and is_ticket(value),
    "open": lambda value: isinstance(value, bool),
}


def candidate(ip: str, port: int) -> str:
    """An address as candidates are written: ``192.0.2.1:40001``, ``[2001:db8::1]:40001``."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def candidate_address(text: str) -> tuple[str, int]:
    """IP address and port of a candidate. ValueError if it is none."""
    if not _is_candidate(text):
        raise ValueError(f"{text[:64]!r} is not an IP address with a port")
    ip, _, port = text.rpartition(":")
    return ip.removeprefix("[").removesuffix("]"), int(port)
