"""Reports of sessions, from the processes of accounts to the one that keeps the log.

Each report is one datagram of a socket pair that the processes inherit. Nobody waits for the
reader: when it does not keep up, reports are lost and counted, and transfers go on. A process may
say what it likes about sessions of its own account, so the kernel's word for who sent a datagram
(SCM_CREDENTIALS) must fit the account that is named.
"""

from __future__ import annotations

import json
import pwd
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any, Final

from towpath.gridftp.server.commands.base import Refused, Report, Transferred
from towpath.gridftp.server.frames import Opening
from towpath.gridftp.server.permission import Permission

DATAGRAM_BYTES: Final = 32 * 1024
"""A path has 4 KiB, and six times that when no byte of it is printable."""
WAITING_BYTES: Final = 4 * 1024 * 1024
"""Some 5,000 reports: what a busy server writes in a second. The kernel may grant less."""
_AT_ONCE: Final = 100
"""Reports taken before connections have their turn."""

_CREDENTIALS: Final = struct.Struct("3i")


def report_pair() -> tuple[socket.socket, socket.socket]:
    """Where reports come out, and where they go in. Made before the processes are."""
    outlet, inlet = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    outlet.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    inlet.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WAITING_BYTES)
    outlet.setblocking(False)
    inlet.setblocking(False)
    return outlet, inlet


class ReportSender:
    """A `Report` for sessions of another process than the log's. Called from any thread."""

    def __init__(self, inlet: socket.socket) -> None:
        """Send into this end."""
        self._inlet = inlet
        self._lock = threading.Lock()
        self._lost = 0

    def __call__(self, report: Transferred | Refused) -> None:
        """Send it, or lose it."""
        with self._lock:
            content = _encoded(report, self._lost)
            try:
                if len(content) > DATAGRAM_BYTES:
                    raise OSError
                self._inlet.send(content, socket.MSG_DONTWAIT)
            except OSError:  # full, or nobody keeps a log any more
                self._lost += 1
            else:
                self._lost = 0


class ReportReceiver:
    """Takes what senders sent. Use `take_waiting` when `outlet` can be read."""

    def __init__(
        self,
        outlet: socket.socket,
        report: Report,
        *,
        lost: Callable[[int], None] = lambda _count: None,
    ) -> None:
        """`lost` is told how many reports did not come, or made no sense."""
        self.outlet = outlet
        self._report = report
        self._lost = lost

    def take_waiting(self) -> None:
        """Take the reports that are there, some at a time. Never waits."""
        for _ in range(_AT_ONCE):
            try:
                content, extra, _flags, _from = self.outlet.recvmsg(
                    DATAGRAM_BYTES, socket.CMSG_SPACE(_CREDENTIALS.size)
                )
            except BlockingIOError:
                return
            try:
                report, lost = _decoded(content)
                _check_sender(report.opening.account, extra)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                self._lost(1)
                continue
            if lost:
                self._lost(lost)
            self._report(report)


def _encoded(report: Transferred | Refused, lost: int) -> bytes:
    fields: dict[str, Any] = report._asdict()
    opening = report.opening
    who = (opening.session_id, opening.subject, opening.account, opening.peer_host)
    permission = opening.permission
    fields["opening"] = (*who, "" if permission is None else permission.permission_id)
    if isinstance(report, Transferred):
        fields["path"] = report.path.decode("utf-8", "surrogateescape")
    return json.dumps((lost, fields)).encode("ascii")


def _decoded(content: bytes) -> tuple[Transferred | Refused, int]:
    """The opposite. Raises `ValueError`, `TypeError`, `KeyError`."""
    lost, fields = json.loads(content)
    session_id, subject, account, peer_host, permission_id = map(str, fields["opening"])
    fields["opening"] = Opening(
        session_id=session_id,
        subject=subject,
        account=account,
        peer_host=peer_host,
        local_host="",
        secured=True,
        credential=None,
        home="",
        permission=Permission(permission_id=permission_id, rules=(), expires=0.0)
        if permission_id
        else None,
    )
    if "path" not in fields:
        return Refused(**fields), int(lost)
    fields["path"] = fields["path"].encode("utf-8", "surrogateescape")
    report = Transferred(**fields)
    return report._replace(bytes_moved=int(report.bytes_moved), seconds=float(report.seconds)), int(
        lost
    )


def _check_sender(account: str, extra: list[tuple[int, int, bytes]]) -> None:
    """Raise `ValueError`, `KeyError` unless the account's own process sent it."""
    for level, kind, content in extra:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            _pid, uid, _gid = _CREDENTIALS.unpack(content)
            if uid == pwd.getpwnam(account).pw_uid:
                return
    raise ValueError("a report of another account")
