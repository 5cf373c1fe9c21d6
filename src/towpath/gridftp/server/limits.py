"""Every bound of the server, with its reason.

The constants belong to the protocol or to this code; `Limits` is what an operator may choose.
"""

from dataclasses import dataclass
from typing import Final

LINE_BYTES: Final = 128 * 1024
"""Longest line a client may send. A path has 4 KiB; a DCSC credential of ten RSA-4096 certificates
has 54 KiB, in base64 twice."""

COMMAND_BYTES: Final = LINE_BYTES
"""Longest command that is handed to a session: what a line of clear text can hold."""

REPLY_BYTES: Final = 16 * 1024 * 1024
"""Longest reply that a session hands back in one frame. Longer listings on the control channel
are several replies (`150-`), as GCT does it: 1,000 entries, mostly of 200 bytes; where a link leads
may have 12 KiB when escaped."""

WRAPPED_BYTES: Final = 512 * 1024
"""Longest reply that is wrapped in one line (`632`), which our client takes up to 1 MiB of base64,
and GCT's at least as long. Of longer ones each line is wrapped by itself, as GCT's server does
always: several lines in one wrapped part, and more parts after it, end GCT's client (SIGABRT)."""

QUEUED_COMMANDS: Final = 1000
"""Commands that one session reads ahead of the one that runs: as many as GCT takes. No more are
read until there is room again; the client's own writes wait."""

QUEUED_BYTES: Final = 1024 * 1024
"""Of these commands together: some are 50 bytes long, and one may be as long as a line. More than
1,000 have unless they are made to be long."""

WRITE_BUFFER_BYTES: Final = 256 * 1024
"""Replies that may wait for a client who does not read; then his session is not read either."""

OPENING_BYTES: Final = 512 * 1024
"""Longest first frame of a session: its delegated credential is at most 256 KiB of PEM."""

KEYS_AHEAD: Final = 4
"""Keys for delegated credentials that are ready. So many logins at one time need not wait for
theirs; the next ones make their own."""

COMMANDS_BEFORE_LOGIN: Final = 2000
"""Commands of one connection that has not logged in. Who sends everything ahead and is not let in
has some hundred; each answer is longer than its question, and may wait for who does not read."""

RECENT_DIGESTS: Final = 4096
"""Checksums computed on the way that an account's process remembers, 0.5 KiB each. Clients ask for
them at once; this is for hundreds of sessions that ask for some files at a time."""

LOGIN_ATTEMPTS: Final = 3
"""Failed logins (of any kind) on one connection before it is closed."""

FAILED_PASSWORD_DELAY_S: Final = 1.0
"""How long the answer to a wrong password waits: guessing is slow, a typing error is not."""

CLOSE_S: Final = 5.0
"""How long the last reply may take to leave before a connection is cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an operator may choose. Times in seconds."""

    sessions: int = 2000
    """Logged-in sessions in all. Each has two descriptors in the acceptor and two in its account's
    process, and some 70 KiB."""

    sessions_per_peer: int = 500
    """Connections of one peer address (IPv6: /64), logins under way included. A transfer service
    has all its sessions from one address; a site behind one address has some dozens."""

    pending_logins: int = 200
    """Connections that have not logged in. Above it the oldest of the peer that has the most is
    dropped. A login takes 0.1 s of work: 200 are 20 s of one core."""

    handshake_threads: int = 4
    """Threads for the asymmetric arithmetic of logins. More would take all cores from sessions."""

    login_s: float = 120.0
    """From the connection to the end of the login. GCT's pre-authentication time."""

    idle_s: float = 600.0
    """Between commands, none of them running. GCT's idle time."""

    write_stall_s: float = 60.0
    """How long a client may take nothing of what waits for him."""

    account_processes: int = 200
    """Processes of mapped accounts at one time. Each has some 6 MiB of its own."""

    account_age_s: float = 3600.0
    """So long a process takes new sessions; then the next one has a new process, with the user id
    and the groups that its account has by then."""

    account_idle_s: float = 300.0
    """A process without sessions ends after it: a user who comes back finds his within minutes."""

    data_connect_s: float = 60.0
    """How long a data connection may take to come, to be made, or to authenticate. The other end
    was told at the same time, and answers within some round trips."""

    data_stall_s: float = 300.0
    """How long no byte may move on a data connection that is in use. Disks and tapes at the other
    end may take minutes for a file's first bytes."""

    data_connections: int = 128
    """Of one session at a time. People ask for 4 to 16 streams; each has a thread meanwhile."""
