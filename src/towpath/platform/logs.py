"""Structured logs: JSON lines in bounded files, a few human lines on the terminal, no secrets.

Context (request, task, endpoint, session), bound with
:func:`structlog.contextvars.bind_contextvars`, appears in every line below it.
"""

import json
import logging
import logging.handlers
import os
import re
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from towpath.platform.files import PRIVATE_FILE, private_directory
from towpath.platform.settings import LogSettings

REDACTED = "[redacted]"
TEXT_LIMIT = 8_000
"""Characters of one value: a peer's nonsense does not fill the disk."""

_SECRET_KEY = re.compile(
    r"secret|password|passwd|passphrase|token|authorization|cookie|private|key_pem|chain_pem|sealed"
    r"|proxy_pem|credential_pem|api_?key",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"-----BEGIN[A-Z ]*PRIVATE KEY-----.*?(?:-----END[A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<=\bBearer )[\w~+/.=-]+"
    r"|(?<=\bBasic )[\w+/=-]+"
    r"|(?<=token=)[^&\s\"']+"
    r"|(?<=secret=)[^&\s\"']+"
    r"|(?<=password=)[^&\s\"']+"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)",
    re.DOTALL,
)

Event = MutableMapping[str, Any]


def scrub(value: object) -> object:
    """``value`` without what looks like a secret: private keys, bearer tokens, passwords."""
    if isinstance(value, str):
        return _SECRET_VALUE.sub(REDACTED, value[:TEXT_LIMIT])
    if isinstance(value, bytes):
        return scrub(value[:TEXT_LIMIT].decode(errors="replace"))
    if isinstance(value, dict):
        return {
            str(key): REDACTED if _SECRET_KEY.search(str(key)) else scrub(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [scrub(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return scrub(str(value))


def redact(_logger: object, _method: str, event: Event) -> Event:
    """structlog processor: scrub every value of the event, whatever put it there."""
    for key, value in event.items():
        if key.startswith("_"):  # structlog's own: the record being rendered
            continue
        event[key] = REDACTED if _SECRET_KEY.search(key) else scrub(value)
    return event


_COMMON: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.format_exc_info,
    redact,
]


class _PrivateRotatingFile(logging.handlers.RotatingFileHandler):
    """Log files name paths and people: 0600."""

    def _open(self) -> Any:
        descriptor = os.open(
            self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE
        )
        return os.fdopen(descriptor, "a", encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line. The base class would render it twice, once to see how long it is."""
        try:
            line = self.format(record) + "\n"
            stream = self.stream or self._open()
            if os.fstat(stream.fileno()).st_size + len(line) > self.maxBytes:
                self.doRollover()
                stream = self.stream
            stream.write(line)
            stream.flush()
        except Exception:  # noqa: BLE001 - as the base class: a log that fails ends nothing
            self.handleError(record)


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Leaves `ready` lines as they are."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: str | None = getattr(record, "line", None)
        return super().format(record) if line is None else line


def ready(logger: str, event: str, **values: str | float) -> None:
    """Log a line at level info that needs no more than to be written.

    For what is logged with every request: the way through structlog takes several times as long.
    The context is added here; `values` are shown as they are, so the caller scrubs what is not his
    own.
    """
    target = logging.getLogger(logger)
    if not target.isEnabledFor(logging.INFO):
        return
    document = {
        **values,
        "event": event,
        **structlog.contextvars.get_contextvars(),
        "level": "info",
        "logger": logger,
        "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
    }
    record = logging.LogRecord(logger, logging.INFO, "", 0, event, None, None)
    record.line = json.dumps(document)
    target.callHandlers(record)


def configure(
    process: str,
    settings: LogSettings,
    directory: Path | None,
    *,
    console: bool = False,
    console_level: int = logging.WARNING,
) -> None:
    """Send this process's logs to ``directory/PROCESS.log`` and, if asked, warnings to stderr.

    Also what libraries log through ``logging``. Raises OSError.
    """
    handlers: list[logging.Handler] = []
    if directory is not None:
        private_directory(directory)
        file = _PrivateRotatingFile(
            directory / f"{process}.log",
            maxBytes=settings.max_bytes,
            backupCount=settings.keep,
            encoding="utf-8",
        )
        file.setFormatter(_formatter(structlog.processors.JSONRenderer(default=str)))
        handlers.append(file)
    if console:
        terminal = logging.StreamHandler(sys.stderr)
        terminal.setLevel(console_level)
        terminal.setFormatter(_formatter(structlog.dev.ConsoleRenderer(colors=False)))
        handlers.append(terminal)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(settings.level.upper())
    for chatty in ("httpx", "httpcore", "asyncio", "asyncssh"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # each failed attempt is a warning: `platform.database` tells when it goes and comes
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    structlog.configure(
        processors=[*_COMMON, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _formatter(renderer: structlog.typing.Processor) -> _Formatter:
    return _Formatter(
        foreign_pre_chain=_COMMON,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
