"""Mail to people: by SMTP, or into a directory where no server is set.

What `Post` sends, such as a link that sets a password, is handed over and the page answers at once:
how long a mail server takes says nothing of whether there was somebody to write to. What is lost
with the process is asked for again. What must not be lost is in an outbox (`towpath.notify`).
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import aiosmtplib
import structlog

from towpath.platform.files import private_directory, write_private
from towpath.platform.settings import MailSettings

SEND_S = 30.0
WAITING_LIMIT = 200
"""Mails that wait for the server; more are dropped, and the log says so."""
ATTEMPTS = 3
AGAIN_AFTER_S = 20.0
FILES_KEPT = 1000
"""In the directory; older ones are removed."""
ADDRESS_LIMIT = 254
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
"""What HTML's input of type email takes; a subset of RFC 5322."""

_log = structlog.stdlib.get_logger("towpath.mail")


SUBJECT_LIMIT = 200
"""Characters; programs for mail show about 70."""
LINE_BYTES = 900
"""A mail with longer lines is encoded: servers need not take more than 998 (RFC 5322, 2.1.1)."""


def compose(
    sender: str,
    to: str,
    subject: str,
    text: str,
    *,
    message_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> EmailMessage:
    """A mail of ours. Texts may come from anybody: none gets out of its place.

    `message_id`: what is before the @, for a mail that may be sent again; `headers`: further ones,
    not from users. Raises ValueError for what is no address.
    """
    if not is_address(to):
        raise ValueError("no address")
    message = EmailMessage()
    message["From"] = sender
    message["To"] = to
    message["Subject"] = one_line(subject, SUBJECT_LIMIT)
    message["Date"] = formatdate()
    domain = sender.rpartition("@")[2].rstrip(">")
    message["Message-ID"] = (
        make_msgid(domain=domain) if message_id is None else f"<{message_id}@{domain}>"
    )
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nothing answers it by itself
    message["X-Auto-Response-Suppress"] = "All"  # and for Exchange
    for name, value in (headers or {}).items():
        message[name] = value
    text = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    long = any(len(line.encode()) > LINE_BYTES for line in text.splitlines())
    message.set_content(text, cte="quoted-printable" if long else "8bit")
    return message


def one_line(text: str, limit: int) -> str:
    """A text from anybody as one line of `limit` characters at most, nothing in it that moves a
    cursor or ends a line."""
    shown = "".join(c if c.isprintable() else " " for c in text[: 2 * limit])
    shown = " ".join(shown.encode("utf-8", "replace").decode().split())
    return shown if len(shown) <= limit else shown[: limit - 1] + "\u2026"


class Mailer(Protocol):
    """Sends one mail."""

    async def send(self, message: EmailMessage) -> None:
        """Raises OSError, ``aiosmtplib.SMTPException``."""


class NoMailer:
    """Where there is nobody to write to."""

    async def send(self, message: EmailMessage) -> None:
        """Not at all."""
        del message


class FileMailer:
    """Writes mails to ``DIR/mail/*.eml``, 0600."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def send(self, message: EmailMessage) -> None:
        """As a file, named by its time."""
        await asyncio.to_thread(self._write, bytes(message))

    def _write(self, content: bytes) -> None:
        private_directory(self._directory)
        write_private(self._directory / f"{time.time_ns():020}-{uuid4().hex[:8]}.eml", content)
        for old in sorted(self._directory.glob("*.eml"))[:-FILES_KEPT]:
            old.unlink(missing_ok=True)


class SmtpMailer:
    """Hands mails to an SMTP server."""

    def __init__(self, settings: MailSettings) -> None:
        assert settings.host is not None
        self._settings = settings

    async def send(self, message: EmailMessage) -> None:
        """One connection for each: mails are few."""
        settings = self._settings
        client = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            username=settings.username,
            password=settings.password.get_secret_value() if settings.password else None,
            use_tls=settings.tls == "implicit",
            start_tls=settings.tls == "starttls",
            cert_bundle=None if settings.authority is None else str(settings.authority),
            timeout=SEND_S,
        )
        try:
            await client.connect()
            await client.send_message(message)
            with contextlib.suppress(OSError, aiosmtplib.SMTPException):
                await client.quit()  # the mail has been taken, whatever comes of this
        finally:
            client.close()  # who gives up does not wait for a server that says nothing


def mailer(settings: MailSettings, directory: Path) -> Mailer:
    """What the settings ask for."""
    return FileMailer(directory) if settings.host is None else SmtpMailer(settings)


class Post:
    """Takes mails and sends them in the background, one after another."""

    def __init__(self, mailer: Mailer, sender: str) -> None:
        self._mailer = mailer
        self._sender = sender
        self._waiting: asyncio.Queue[EmailMessage] = asyncio.Queue(WAITING_LIMIT)
        self._sending: asyncio.Task[None] | None = None

    def hand_over(self, to: str, subject: str, text: str) -> None:
        """Send it soon."""
        try:
            message = compose(self._sender, to, subject, text)
        except ValueError:
            _log.warning("mail.no_address")
            return
        try:
            self._waiting.put_nowait(message)
        except asyncio.QueueFull:
            _log.error("mail.dropped", waiting=WAITING_LIMIT)
            return
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_all())

    async def delivered(self) -> None:
        """Until all that was handed over was sent or given up."""
        while self._sending is not None and not self._sending.done():
            await asyncio.wait({self._sending})

    async def close(self) -> None:
        """Stop; what still waits is lost."""
        if self._sending is not None:
            self._sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sending

    async def _send_all(self) -> None:
        while not self._waiting.empty():
            await self._send(self._waiting.get_nowait())

    async def _send(self, message: EmailMessage) -> None:
        for attempt in range(ATTEMPTS):
            try:
                await self._mailer.send(message)
            except (OSError, aiosmtplib.SMTPException) as error:
                # never the mail itself: it holds a link
                _log.warning("mail.failed", kind=type(error).__name__, attempt=attempt + 1)
                if attempt + 1 < ATTEMPTS:
                    await asyncio.sleep(AGAIN_AFTER_S)
            else:
                return
        _log.error("mail.given_up")


def is_address(text: str) -> bool:
    """Whether mail can be sent to ``text``."""
    return len(text) <= ADDRESS_LIMIT and _ADDRESS.fullmatch(text) is not None
