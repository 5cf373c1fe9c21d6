"""Structured logs: JSON lines in bounded files, a few human lines on the terminal, no secrets.

Context (request, task, endpoint, session), bound with
:func:`structlog.contextvars.bind_contextvars`, appears in every line below it.
"""

import asyncio
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

import orjson
import structlog

from towpath.platform.files import PRIVATE_FILE, private_directory
from towpath.platform.settings import LogSettings

REDACTED = "[redacted]"
TEXT_LIMIT = 8_000
"""Characters of one value: a peer's nonsense does not fill the disk."""
GATHERED_MOST = 100
"""Lines that are written together: a few kilobytes."""

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
        text = value[:TEXT_LIMIT]
        # every pattern has one of these; to look for them takes a tenth of the time
        plain = " " not in text and "=" not in text and ":" not in text
        return text if plain else _SECRET_VALUE.sub(REDACTED, text)
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
    """Log files name paths and people: 0600.

    `ready` lines of one iteration of the event loop are written together, at its end. Any other
    line is in the file at once, and with it what was gathered before.
    """

    def __init__(self, path: Path, settings: LogSettings) -> None:
        self._gathered: list[str] = []
        super().__init__(
            path, maxBytes=settings.max_bytes, backupCount=settings.keep, encoding="utf-8"
        )

    def _open(self) -> Any:
        descriptor = os.open(
            self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE
        )
        return os.fdopen(descriptor, "a", encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line. The base class would render it twice, once to see how long it is."""
        try:
            self._gathered.append(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - as the base class: a log that fails ends nothing
            self.handleError(record)
        self.flush()

    def gather(self, line: str) -> None:
        """Write a line at the end of this iteration of the event loop; at once if there is none."""
        self.acquire()
        try:
            self._gathered.append(line + "\n")
            if len(self._gathered) == 1:
                asyncio.get_running_loop().call_soon(self.flush)
            elif len(self._gathered) >= GATHERED_MOST:
                self.flush()
        except RuntimeError:  # no event loop
            self.flush()
        finally:
            self.release()

    def flush(self) -> None:
        """Write what was gathered."""
        self.acquire()
        try:
            if self._gathered:
                self._write("".join(self._gathered))
        except Exception:  # noqa: BLE001 - as above
            self.handleError(logging.makeLogRecord({"msg": "lines of the log"}))
        finally:
            self._gathered.clear()
            self.release()

    def _write(self, lines: str) -> None:
        stream = self.stream or self._open()
        if os.fstat(stream.fileno()).st_size + len(lines) > self.maxBytes:
            self.doRollover()
            stream = self.stream
        stream.write(lines)
        stream.flush()


def ready(logger: logging.Logger, event: str, **values: str | float) -> None:
    """Write a line of level info into this process's log file.

    For what is logged with every request: the way through structlog takes several times as long.
    The context is added here; `values` are shown as they are, so the caller scrubs what is not his
    own.
    """
    files = [one for one in logging.root.handlers if isinstance(one, _PrivateRotatingFile)]
    if not files or not logger.isEnabledFor(logging.INFO):
        return
    document = {
        **values,
        "event": event,
        **structlog.contextvars.get_contextvars(),
        "level": "info",
        "logger": logger.name,
        "timestamp": datetime.now(UTC),
    }
    try:
        line = orjson.dumps(document, option=orjson.OPT_UTC_Z).decode()
    except TypeError:  # it takes no text that is not Unicode
        line = ""
    if not line or not line.isascii():  # it leaves in what a terminal obeys, such as U+009B
        line = json.dumps(document, default=_text_of)
    for file in files:
        file.gather(line)


def _text_of(value: object) -> str:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


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
        file = _PrivateRotatingFile(directory / f"{process}.log", settings)
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


def _formatter(renderer: structlog.typing.Processor) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_COMMON,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
