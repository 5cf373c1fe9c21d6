"""What a GridFTP server tells its operator: an access log in JSON lines, and metrics.

The words of both are explained in `docs/how-to/serve-files.md`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from towpath.gridftp.server.commands.base import Refused, Transferred
from towpath.gridftp.server.control import LoginReport

TEXT_LIMIT: Final = 8_000
"""Characters of one value of the log: a path has fewer."""
_RECEIVING: Final = frozenset({"STOR", "ESTO", "APPE"})
_LISTING: Final = frozenset({"MLSD", "MLSR", "NLST", "LIST"})
_PROTECTIONS: Final = {"C": "clear", "S": "integrity", "P": "private"}
_SECONDS: Final = (0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 36_000.0)
"""From a small file to a night's transfer."""


class AccessLog:
    """A line for each login and each data command, and for each other command that failed."""

    def __init__(self, file: BinaryIO) -> None:
        """Write to a file that is open for appending. Each line goes out at once."""
        self._log = structlog.wrap_logger(
            structlog.BytesLogger(file),
            processors=[
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(serializer=_to_json),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        )

    def login(self, report: LoginReport) -> None:
        """Somebody logged in, or was refused."""
        event = "login" if report.outcome == "ok" else "login_refused"
        reason = {} if report.outcome == "ok" else {"reason": report.outcome}
        if report.grant:
            reason["grant"] = report.grant
        if report.renewal:
            event = "grant" if report.outcome == "ok" else "grant_refused"
        self._log.info(
            event,
            session=report.session_id,
            peer=report.peer_host,
            subject=report.subject,
            account=report.account,
            **reason,
        )

    def command(self, report: Transferred | Refused) -> None:
        """A data command is over, or another one failed."""
        opening = report.opening
        who = {
            "session": opening.session_id,
            "peer": opening.peer_host,
            "subject": opening.subject,
            "account": opening.account,
        }
        if opening.permission is not None:
            who["grant"] = opening.permission.permission_id
        if isinstance(report, Refused):
            self._log.info("refused", **who, command=report.command, reply=report.reply)
            return
        self._log.info(
            "transfer",
            **who,
            command=report.verb,
            path=report.path.decode("utf-8", "surrogateescape"),
            first=report.first,
            bytes=report.bytes_moved,
            seconds=round(report.seconds, 6),
            outcome=report.outcome,
            streams=report.streams,
            protection=_PROTECTIONS.get(report.protection, "none"),
        )


class Metrics:
    """Counters for Prometheus, in a registry of their own."""

    def __init__(self) -> None:
        """All at zero."""
        self.registry = CollectorRegistry()
        self._logins = Counter(
            "towpath_gridftp_logins",
            "Logins, with success or not.",
            ["outcome"],
            registry=self.registry,
        )
        self._transfers = Counter(
            "towpath_gridftp_transfers",
            "Data commands that are over.",
            ["kind", "outcome"],
            registry=self.registry,
        )
        self._bytes = Counter(
            "towpath_gridftp_transferred_bytes",
            "Bytes of data connections, failed transfers included.",
            ["direction", "protection"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "towpath_gridftp_transfer_seconds",
            "How long data commands took.",
            ["kind"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._refused = Counter(
            "towpath_gridftp_refused_commands",
            "Commands without data that failed.",
            registry=self.registry,
        )
        self._lost = Counter(
            "towpath_gridftp_lost_reports",
            "Reports of sessions that neither the log nor these counters had.",
            registry=self.registry,
        )
        for outcome in ("ok", "refused"):
            self._logins.labels(outcome)

    def watch(self, sessions: Callable[[], int], pending: Callable[[], int]) -> None:
        """Where the numbers of connections come from."""
        for name, text, count in (
            ("sessions", "Sessions that are open.", sessions),
            ("pending_logins", "Connections that have not logged in.", pending),
        ):
            gauge = Gauge(f"towpath_gridftp_{name}", text, registry=self.registry)
            gauge.set_function(count)

    def login(self, report: LoginReport) -> None:
        """See `AccessLog.login`."""
        if not report.renewal:
            self._logins.labels("ok" if report.outcome == "ok" else "refused").inc()

    def command(self, report: Transferred | Refused) -> None:
        """See `AccessLog.command`."""
        if isinstance(report, Refused):
            self._refused.inc()
            return
        kind = _kind(report.verb)
        self._transfers.labels(kind, "ok" if report.outcome == "ok" else "failed").inc()
        direction = "received" if kind == "receive" else "sent"
        protection = _PROTECTIONS.get(report.protection, "none")
        self._bytes.labels(direction, protection).inc(report.bytes_moved)
        self._seconds.labels(kind).observe(report.seconds)

    def lost(self, count: int) -> None:
        """So many reports did not come."""
        self._lost.inc(count)


class Observer:
    """Tells all who want to know. Called from any thread."""

    def __init__(self, metrics: Metrics) -> None:
        """The first who wants to know; what others cannot write down is counted there."""
        self._listeners: list[AccessLog | Metrics] = [metrics]
        self._lost = metrics.lost

    def add(self, listener: AccessLog | Metrics) -> None:
        """Another one; before anything is told."""
        self._listeners.append(listener)

    def login(self, report: LoginReport) -> None:
        """See `AccessLog.login`."""
        for listener in self._listeners:
            with self._counted():
                listener.login(report)

    def command(self, report: Transferred | Refused) -> None:
        """See `AccessLog.command`."""
        for listener in self._listeners:
            with self._counted():
                listener.command(report)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """A full disk under the log ends no session, and keeps nobody from logging in."""
        try:
            yield
        except OSError:
            self._lost(1)


def _kind(verb: str) -> str:
    if verb in _RECEIVING:
        return "receive"
    return "list" if verb in _LISTING else "send"


def _to_json(event: dict[str, Any], **_options: object) -> bytes:
    """ASCII: bytes of names that are not UTF-8 come as lone surrogates, as Python has them."""
    return json.dumps(
        {
            key: value[:TEXT_LIMIT] if isinstance(value, str) else value
            for key, value in event.items()
        }
    ).encode("ascii")
