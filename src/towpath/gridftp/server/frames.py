"""The socket between the acceptor and a session: frames, both ways.

A frame is its length (4 bytes, big-endian) and so many bytes. The first frame to the session is its
`Opening`. After it each frame to the session is one command without its line end, and each frame
back one complete reply with its line ends. Whoever closes the socket ends the session.

A frame whose length has its highest bit set is no command but a `Notice`: what the acceptor itself
has to say, which takes effect when it comes and waits for no command. It is the frame that tells,
and not what is in it: no client can write one.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field

from towpath.gridftp.server.limits import OPENING_BYTES
from towpath.gridftp.server.permission import Permission

_HEAD_BYTES = 4
_NOTICE = 1 << 31


class FrameError(Exception):
    """The other half does not speak as it should: it is broken, or is not ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Who has logged in, and from where: all that a session knows of its login."""

    session_id: str
    """For logs; unique in this server."""
    subject: str
    """The certificate's name in one line; empty after a login without one."""
    account: str
    """The local account."""
    peer_host: str
    """The client's address, in numbers."""
    local_host: str
    """Our address on the control connection, in numbers: where data connections listen."""
    secured: bool
    """Whether the control channel is protected by GSI."""
    credential: str | None
    """The delegated credential (PEM, a secret), if the client gave one."""
    home: str
    """Where the session starts, an absolute path."""
    permission: Permission | None = None
    """What it may do, after a login by token; None: all that the account may."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """What whoever took the token has to say to whoever runs the session; may be secret."""

    def __repr__(self) -> str:
        return f"Opening({self.session_id}, {self.account!r}, {self.peer_host})"

    def to_frame(self) -> bytes:
        """As the content of the first frame."""
        return json.dumps(asdict(self)).encode("ascii")

    @classmethod
    def from_frame(cls, content: bytes) -> Opening:
        """The opposite. Raises `FrameError`."""
        try:
            fields = json.loads(content)
            if fields.get("permission") is not None:
                fields["permission"] = Permission.from_fields(fields["permission"])
            opening = cls(**fields)
        except (ValueError, TypeError, AttributeError) as error:
            raise FrameError(f"the opening of a session makes no sense: {error}") from None
        texts = (opening.session_id, opening.subject, opening.account, opening.home)
        if not all(
            isinstance(text, str) for text in (*texts, opening.peer_host, opening.local_host)
        ):
            raise FrameError("the opening of a session makes no sense")
        return opening


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What came of a `SITE GRANT`. The command itself follows, without what was shown."""

    permission: Permission | None
    """From now on, also for what is queued; None: it stays as it is."""
    code: int
    """Of the reply that the command gets in its turn."""
    text: str

    def to_frame(self) -> bytes:
        """A whole frame."""
        content = json.dumps(asdict(self)).encode("ascii")
        return (len(content) | _NOTICE).to_bytes(_HEAD_BYTES, "big") + content

    @classmethod
    def from_content(cls, content: bytes) -> Notice:
        """The opposite. Raises `FrameError`."""
        try:
            fields = json.loads(content)
            if fields["permission"] is not None:
                fields["permission"] = Permission.from_fields(fields["permission"])
            return cls(**fields)
        except (ValueError, TypeError, KeyError) as error:
            raise FrameError(f"a notice makes no sense: {error}") from None


def frame(content: bytes) -> bytes:
    """One frame."""
    return len(content).to_bytes(_HEAD_BYTES, "big") + content


def frames(contents: Iterable[bytes]) -> bytes:
    """Several frames, for one write."""
    parts: list[bytes] = []
    for content in contents:
        parts.append(len(content).to_bytes(_HEAD_BYTES, "big"))
        parts.append(content)
    return b"".join(parts)


class FrameReader:
    """Cuts a byte stream into frames."""

    __slots__ = ("_limit", "_notified", "_rest")

    def __init__(self, limit_bytes: int, notified: Callable[[Notice], None] | None = None) -> None:
        """`limit_bytes`: the longest content taken. `notified` takes notices; None: there must be
        none."""
        self._limit = limit_bytes
        self._notified = notified
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The contents of the frames completed by `data`. Raises `FrameError`."""
        if self._rest:
            data = self._rest + data
        found: list[bytes] = []
        at, end = 0, len(data)
        while end - at >= _HEAD_BYTES:
            start = at + _HEAD_BYTES
            length = int.from_bytes(data[at:start], "big")
            if length > self._limit:
                if self._notified is None or not length & _NOTICE:
                    raise FrameError(f"a frame of {length} bytes; at most {self._limit} are taken")
                length &= ~_NOTICE
                if length > OPENING_BYTES:
                    raise FrameError(f"a notice of {length} bytes; at most {OPENING_BYTES}")
                if end - start < length:
                    break
                at = start + length
                self._notified(Notice.from_content(data[start:at]))
                continue
            if end - start < length:
                break
            at = start + length
            found.append(data[start:at])
        self._rest = data[at:]
        return found

    @property
    def inside(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._rest)


async def read_opening(connection: socket.socket) -> Opening:
    """The first frame, and nothing after it, from a non-blocking socket.

    Raises `FrameError`, also when the socket ends before it; `OSError`.
    """
    length = int.from_bytes(await _read_exactly(connection, _HEAD_BYTES), "big")
    if length > OPENING_BYTES:
        raise FrameError("the opening of a session is too long")
    return Opening.from_frame(await _read_exactly(connection, length))


async def _read_exactly(connection: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    parts: list[bytes] = []
    while count:
        part = await loop.sock_recv(connection, count)
        if not part:
            raise FrameError("a session ended before it was opened")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
