"""Names of files: how the API spells them, how servers do, and which ones we refuse.

JSON carries Unicode and file systems carry bytes. Three forms meet here:

* *wire*: what `towpath.gridftp` speaks, a str of UTF-8 with surrogateescape for foreign bytes;
* *text*: what the API shows and the store keeps. A component that is not UTF-8 is shown as
  latin-1 behind U+FFFD (Transfer API, "file names"). So that the way back is certain, a UTF-8
  component that itself begins with U+FFFD is written in the same way;
* *absolute*: a wire path without `~`, `.` or doubled slashes.
"""

MAX_PATH_BYTES = 4096
"""PATH_MAX of Linux: no server can open a longer one."""

MAX_COMPONENT_BYTES = 255
"""NAME_MAX of the file systems in use."""

GLOB_CHARACTERS = frozenset("*?[")

_ESCAPE = "\ufffd"
_FORBIDDEN = frozenset("\0\r\n")


class InvalidPathError(ValueError):
    """A path that we do not pass on; the message says why, for the user's eyes."""


def to_text(wire: str) -> str:
    """Spell a wire path, or a single name, as the API does."""
    if wire.isascii():
        return wire
    return "/".join(_component_to_text(part) for part in wire.split("/"))


def to_wire(text: str) -> str:
    """The inverse of `to_text`. Any str is accepted; `check_path` decides what may be used."""
    if _ESCAPE not in text:
        return text
    return "/".join(_component_to_wire(part) for part in text.split("/"))


def _component_to_text(part: str) -> str:
    raw = part.encode("utf-8", "surrogateescape")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return _ESCAPE + raw.decode("latin-1")
    return _ESCAPE + raw.decode("latin-1") if text.startswith(_ESCAPE) else text


def _component_to_wire(part: str) -> str:
    if not part.startswith(_ESCAPE):
        return part
    try:
        wire = part[1:].encode("latin-1").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return part  # a real name that happens to begin with the replacement character
    # Only what `to_text` writes is an escape: an escaped ".." or "abc" is taken literally.
    return wire if _component_to_text(wire) == part else part


def check_path(text: str) -> str:
    """The wire form of a path that came from outside.

    Raises InvalidPathError for an empty path, `..` components, NUL, CR, LF,
    lone surrogates, and what is too long for any server.
    """
    if not text:
        raise InvalidPathError("the path is empty")
    # nearly all paths; a batch has 200,000 of them
    short = len(text) <= MAX_COMPONENT_BYTES
    if short and text.isascii() and text.isprintable() and ".." not in text:
        return text
    if _FORBIDDEN.intersection(text):
        raise InvalidPathError("a path must not hold a NUL, carriage return or line feed")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidPathError("the path is not valid Unicode") from None
    wire = to_wire(text)
    if len(wire.encode("utf-8", "surrogateescape")) > MAX_PATH_BYTES:
        raise InvalidPathError(f"the path is longer than {MAX_PATH_BYTES} bytes")
    for part in wire.split("/"):
        if part == "..":
            raise InvalidPathError("a path must not hold '..': name the directory itself")
        if len(part.encode("utf-8", "surrogateescape")) > MAX_COMPONENT_BYTES:
            raise InvalidPathError(f"a name in the path is longer than {MAX_COMPONENT_BYTES} bytes")
    return wire


def needs_home(wire: str) -> bool:
    """Whether `absolute` needs to know the home directory: `~`, `/~/...` and relative paths."""
    return not wire.startswith("/") or wire == "/~" or wire.startswith("/~/")


def absolute(wire: str, home: str) -> str:
    """The absolute path for a checked wire path; `home` is used only where `needs_home`.

    No slash at the end, except for the root itself.
    """
    plain = wire[:1] == "/" and wire[1:2] != "~" and wire[-1] != "/"
    if plain and "//" not in wire and "/." not in wire:
        return wire
    if wire == "/~" or wire.startswith("/~/"):
        below = wire[2:]
    elif wire == "~" or wire.startswith("~/"):
        below = wire[1:]
    elif wire.startswith("/"):
        home, below = "", wire
    else:
        below = wire
    parts = [part for part in f"{home}/{below}".split("/") if part not in ("", ".")]
    return "/" + "/".join(parts)


def is_pattern(path: str) -> bool:
    """Whether the last component of a path is a pattern, where patterns are asked for."""
    return not GLOB_CHARACTERS.isdisjoint(path.rpartition("/")[2])


def above_pattern(path: str) -> str:
    """The directory that a pattern looks at, as it was spelled, with a slash at the end; '' is the
    directory that relative paths begin at."""
    return path[: path.rfind("/") + 1]


def tidy(wire: str) -> str:
    """A directory as answers show it: `/~/` kept, no `.` or doubled slashes, `/` at the end."""
    if wire.startswith("/"):
        below = wire
    elif wire == "~" or wire.startswith("~/"):
        below = "/" + wire
    else:
        below = "/~/" + wire
    parts = [part for part in below.split("/") if part not in ("", ".")]
    return "/" + "".join(part + "/" for part in parts)
