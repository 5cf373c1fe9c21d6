"""All targets, by name."""

from typing import Final

from fuzz.campaign import Target
from fuzz.logins import acceptor, control
from fuzz.parsers import parser
from fuzz.receivers import extended, handshake, stream
from fuzz.sessions import sessions
from fuzz.statements import statements
from fuzz.storages import paths

TARGETS: Final[dict[str, Target]] = {
    "parser": parser,
    "session": sessions,
    "acceptor": acceptor,
    "control": control,
    "mode_e": extended,
    "mode_s": stream,
    "handshake": handshake,
    "paths": paths,
    "statements": statements,
}
