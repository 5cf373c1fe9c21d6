"""Replies of the control channel (RFC 959 section 4.2), from bytes in any portions."""

from __future__ import annotations

from collections.abc import Callable

from towpath.gridftp.errors import GridFTPError, Kind, printable

LINE_LIMIT_BYTES = 1 << 20
"""Longest line taken: a wrapped line of a listing is some hundred bytes, a path 4 KiB."""

REPLY_LIMIT_BYTES = 4 << 20
"""Longest reply kept whole. Listings are handed out line by line and are not kept."""

_LINE_COST_BYTES = 64
"""What a line costs in memory besides its bytes: a reply of empty lines is not small."""

SKIP_LIMIT_LINES = 1000
"""Lines that are no reply, in one session, before the server counts as speaking nonsense."""


class Reply:
    """One reply. `lines` are decoded when asked for: most replies are only counted."""

    __slots__ = ("code", "raw")

    def __init__(self, code: int, raw: tuple[bytes, ...]) -> None:
        self.code = code
        self.raw = raw
        """Lines without code, mark and line end; an inner line's one leading space removed."""

    @classmethod
    def of(cls, code: int, *lines: str) -> Reply:
        """From text."""
        return cls(code, tuple(line.encode("utf-8", "surrogateescape") for line in lines))

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines as text; bytes that are not UTF-8 as surrogates."""
        return tuple(line.decode("utf-8", "surrogateescape") for line in self.raw)

    @property
    def text(self) -> str:
        """All lines, joined by line feeds."""
        return "\n".join(self.lines)

    @property
    def is_intermediate(self) -> bool:
        """1xx: more will follow for the same command."""
        return self.code < 200

    @property
    def ok(self) -> bool:
        """2xx or 3xx."""
        return 200 <= self.code < 400

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Reply):
            return NotImplemented
        return self.code == other.code and self.raw == other.raw

    def __hash__(self) -> int:
        return hash((self.code, self.raw))

    def __repr__(self) -> str:
        return f"Reply({self.code}, {printable(self.text, 200)!r})"


class LineSplitter:
    """Cuts a byte stream into lines, at LF, without their line ends."""

    __slots__ = ("_limit", "_rest")

    def __init__(self, limit_bytes: int = LINE_LIMIT_BYTES) -> None:
        self._rest = bytearray()
        self._limit = limit_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """The lines completed by `data`. Raises GridFTPError(PROTOCOL) for one without end."""
        rest = self._rest
        if b"\n" not in data:
            rest += data
            self._check(rest)
            return []
        if rest:
            rest += data
            data = bytes(rest)
        whole = data.count(b"\r\n")
        if whole == data.count(b"\n"):  # nearly always; it is cut at once
            lines = data.split(b"\r\n")
            rest[:] = lines.pop()
            self._check(rest)
            return lines
        lines = data.split(b"\n")
        last = lines.pop()
        rest[:] = last
        self._check(rest)
        return [line[:-1] if line.endswith(b"\r") else line for line in lines]

    def _check(self, rest: bytearray) -> None:
        if len(rest) > self._limit:
            raise GridFTPError(Kind.PROTOCOL, "the server sent a line without end", "")


def starts_reply(line: bytes) -> bool:
    """Whether a line can begin a reply: three digits, then a space, `-` or nothing."""
    head = line[:3]
    return (
        len(head) == 3
        and head.isdigit()
        and b"100" <= head < b"700"
        and (len(line) == 3 or line[3] in b" -")
    )


InnerLine = Callable[[int, bytes], bool]
"""Takes (code, inner line without its end and one leading space); returns whether it keeps it."""


class ReplyReader:
    """The reply grammar over lines. Lines outside a reply that start none are skipped and counted:
    GCT's `501 'TYPE X\\r\\n' unrecognized` is two lines, the second a stray."""

    __slots__ = ("_code", "_lines", "_on_inner", "_size", "_splitter", "skipped")

    def __init__(self, on_inner: InnerLine | None = None) -> None:
        self._splitter = LineSplitter()
        self._on_inner = on_inner
        self._code = b""
        self._lines: list[bytes] = []
        self._size = 0
        self.skipped = 0

    @property
    def inside(self) -> bool:
        """Whether a reply of several lines has begun and not ended."""
        return bool(self._code)

    def feed(self, data: bytes) -> list[Reply]:
        """The replies completed by `data`. Raises GridFTPError(PROTOCOL) when a limit is passed."""
        push = self.push_line
        return [reply for line in self._splitter.feed(data) if (reply := push(line)) is not None]

    def push_line(self, line: bytes) -> Reply | None:
        """The reply completed by one line (without its end), if any."""
        if self._code:
            return self._continue(line)
        if not starts_reply(line):
            self.skipped += 1
            if self.skipped > SKIP_LIMIT_LINES:
                raise GridFTPError(Kind.PROTOCOL, "the server does not speak FTP", "")
            return None
        if line[3:4] == b"-":
            self._code = line[:3]
            self._lines = [line[4:]]
            self._size = len(line)
            return None
        return Reply(int(line[:3]), (line[4:],))

    def _continue(self, line: bytes) -> Reply | None:
        code = self._code
        if line.startswith(code):
            mark = line[3:4]
            if mark == b" " or not mark:
                lines = (*self._lines, line[4:])
                self._code = b""
                self._lines = []
                return Reply(int(code), lines)
            if mark == b"-":
                line = line[4:]
        elif line.startswith(b" "):
            line = line[1:]
        if self._on_inner is not None and self._on_inner(int(code), line):
            return None
        self._size += len(line) + _LINE_COST_BYTES
        if self._size > REPLY_LIMIT_BYTES:
            raise GridFTPError(Kind.PROTOCOL, "the server sent a reply without end", "")
        self._lines.append(line)
        return None
