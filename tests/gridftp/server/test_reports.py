"""Reports of sessions come through to the process that keeps the log; or they are counted."""

from __future__ import annotations

import os
import pwd
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from towpath.gridftp.server.commands.base import Refused, Transferred
from towpath.gridftp.server.frames import Opening
from towpath.gridftp.server.permission import Permission
from towpath.gridftp.server.reports import (
    DATAGRAM_BYTES,
    ReportReceiver,
    ReportSender,
    report_pair,
)

ME = pwd.getpwuid(os.geteuid()).pw_name


def opening(account: str = ME) -> Opening:
    return Opening(
        session_id="s1",
        subject="/O=Lab/CN=Ana",
        account=account,
        peer_host="192.0.2.1",
        local_host="192.0.2.2",
        secured=True,
        credential="-----BEGIN PRIVATE KEY-----",
        home="/home/ana",
    )


def transferred(path: bytes = b"/a/\xff b", account: str = ME) -> Transferred:
    return Transferred(opening(account), "STOR", path, 5, 0.25, "ok", 4, "P", 7)


class Log:
    """What came."""

    def __init__(self, outlet: socket.socket) -> None:
        self.reports: list[Transferred | Refused] = []
        self.lost = 0
        self._receiver = ReportReceiver(outlet, self.reports.append, lost=self._count)

    def _count(self, count: int) -> None:
        self.lost += count

    def take_all(self) -> None:
        before = -1
        while before != len(self.reports) + self.lost:
            before = len(self.reports) + self.lost
            self._receiver.take_waiting()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    outlet, inlet = report_pair()
    with outlet, inlet:
        yield outlet, inlet


def test_reports_come_through(ends: tuple[socket.socket, socket.socket]) -> None:
    outlet, inlet = ends
    log, send = Log(outlet), ReportSender(inlet)
    refused = Refused(opening(), "DELE /x", "550 no")
    send(transferred())
    send(refused)
    log.take_all()
    first, second = log.reports
    assert isinstance(first, Transferred)
    assert first._replace(opening=opening()) == transferred()
    assert second._replace(opening=opening()) == refused
    assert first.opening.session_id == "s1"
    assert first.opening.subject == "/O=Lab/CN=Ana"


def test_a_grant_is_told_by_its_id(ends: tuple[socket.socket, socket.socket]) -> None:
    outlet, inlet = ends
    log = Log(outlet)
    permission = Permission(permission_id="its id", rules=(("R", "/"),), expires=1e12)
    granted = replace(opening(), permission=permission, extra={"base": "a secret"})
    ReportSender(inlet)(transferred()._replace(opening=granted))
    log.take_all()
    (report,) = log.reports
    assert report.opening.permission is not None
    assert report.opening.permission.permission_id == "its id"
    assert report.opening.extra == {}


def test_no_secret_goes_through(ends: tuple[socket.socket, socket.socket]) -> None:
    outlet, inlet = ends
    ReportSender(inlet)(transferred())
    assert b"PRIVATE KEY" not in outlet.recv(DATAGRAM_BYTES)


def test_nobody_waits_and_what_is_lost_is_counted(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    outlet, inlet = ends
    log, send = Log(outlet), ReportSender(inlet)
    sent = 0
    done = threading.Event()

    def work() -> None:
        nonlocal sent
        while send._lost < 100:
            send(transferred())
            sent += 1
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(60), "a session waited for the log"
    log.take_all()
    assert len(log.reports) == sent - 100
    send(transferred())
    log.take_all()
    assert len(log.reports) + log.lost == sent + 1


def test_a_path_that_is_too_long_is_lost(ends: tuple[socket.socket, socket.socket]) -> None:
    outlet, inlet = ends
    log, send = Log(outlet), ReportSender(inlet)
    send(transferred(b"/" + b"\xff" * DATAGRAM_BYTES))
    send(transferred(b"/" + b"\xff" * 4095))
    log.take_all()
    assert (len(log.reports), log.lost) == (1, 1)


def test_a_report_of_another_account_is_not_believed(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    outlet, inlet = ends
    log = Log(outlet)
    other = "nobody" if ME != "nobody" else "root"
    ReportSender(inlet)(transferred(account=other))
    ReportSender(inlet)(transferred(account="no such account"))
    log.take_all()
    assert (log.reports, log.lost) == ([], 2)


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"[]", b"[0, {}]", b'[0, {"opening": [1, 2]}]', b"\xff", b"[" * 30_000],
    ids=["empty", "text", "list", "fields", "opening", "bytes", "deep"],
)
def test_what_makes_no_sense_is_counted(
    ends: tuple[socket.socket, socket.socket], content: bytes
) -> None:
    outlet, inlet = ends
    log = Log(outlet)
    inlet.send(content)
    log.take_all()
    assert (log.reports, log.lost) == ([], 1)
