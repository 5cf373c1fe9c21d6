"""Mail to people: by SMTP, or into a directory where no server is set.

A mail is handed over and the page answers at once: how long a mail server takes says nothing of
whether there was somebody to write to. What is lost with the process is asked for again.
"""

import asyncio
import contextlib
import re
import time
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
        await aiosmtplib.send(
            message,
            hostname=settings.host,
            port=settings.port,
            username=settings.username,
            password=settings.password.get_secret_value() if settings.password else None,
            use_tls=settings.tls == "implicit",
            start_tls=settings.tls == "starttls",
            timeout=SEND_S,
        )


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
        message = EmailMessage()
        message["From"] = self._sender
        message["To"] = to
        message["Subject"] = subject
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=self._sender.rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834
        message.set_content(text, cte="8bit")
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
