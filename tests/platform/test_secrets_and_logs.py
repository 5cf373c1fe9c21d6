"""I6: nothing secret in clear, neither at rest nor in a log."""

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path

import pytest
import structlog

from towpath.platform import logs, secrets
from towpath.platform.secrets import NoKeyError, Sealer, SealError
from towpath.platform.settings import LogSettings

KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQ_canary_IBADANBg\n-----END PRIVATE KEY-----\n"


def test_sealed_opens_only_where_it_belongs(tmp_path: Path) -> None:
    sealer = Sealer(tmp_path / "k" / "seal.key")
    sealed = sealer.seal(b"proxy", b"endpoint 1")
    assert b"proxy" not in sealed
    assert Sealer(tmp_path / "k" / "seal.key").unseal(sealed, b"endpoint 1") == b"proxy"
    with pytest.raises(SealError) as refused:
        sealer.unseal(sealed, b"endpoint 2")
    assert not isinstance(refused.value, NoKeyError), "it will not open later, either"
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 1
        with pytest.raises(SealError):
            sealer.unseal(bytes(changed), b"endpoint 1")
    with pytest.raises(NoKeyError):
        Sealer(tmp_path / "other.key").unseal(sealed, b"endpoint 1")


def test_a_new_key_on_top_still_opens_the_old(tmp_path: Path) -> None:
    file = tmp_path / "seal.key"
    sealed = Sealer(file).seal(b"x", b"")
    Sealer(tmp_path / "new.key")
    file.write_bytes((tmp_path / "new.key").read_bytes() + file.read_bytes())
    both = Sealer(file)
    assert both.unseal(sealed, b"") == b"x"
    assert both.seal(b"y", b"")[1:9] != sealed[1:9]


def test_a_key_file_that_others_read_is_refused(tmp_path: Path) -> None:
    Sealer(tmp_path / "seal.key")
    (tmp_path / "seal.key").chmod(0o644)
    with pytest.raises(SealError, match="chmod 600"):
        Sealer(tmp_path / "seal.key")


def test_a_key_file_that_is_moved_away_while_it_is_looked_at_is_not_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sealed under a key that is overwritten a moment later would be lost."""
    file, away = tmp_path / "seal.key", tmp_path / "away.key"
    sealer = Sealer(file)
    sealed = sealer.seal(b"x", b"")
    file.touch()
    look = secrets._stamp

    def look_and_move(path: Path) -> tuple[int, ...]:
        stamp = look(path)
        if not away.exists():
            file.rename(away)
        return stamp

    monkeypatch.setattr(secrets, "_stamp", look_and_move)
    assert sealer.unseal(sealer.seal(b"y", b""), b"") == b"y"
    assert not file.exists()
    away.rename(file)
    assert sealer.unseal(sealed, b"") == b"x"


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    logs.configure("test", LogSettings(max_bytes=64 * 1024, keep=2), tmp_path / "log")
    yield tmp_path / "log" / "test.log"
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def file_of_root() -> RotatingFileHandler:
    handlers = logging.getLogger().handlers  # pytest has its own there
    return next(one for one in handlers if isinstance(one, RotatingFileHandler))


def test_no_secret_reaches_the_log(log_file: Path) -> None:
    log = structlog.stdlib.get_logger("t")
    log.info("a", client_secret="canary-1", access_token="canary-2", note=f"got {KEY} here")
    log.info("Authorization: Bearer canary-3 sent", nested={"password": "canary-4", "l": [KEY]})
    log.info("dial postgresql://me:canary-5@db/x", body=b"token=canary-6&client_secret=canary-7")
    logging.getLogger("library").warning("Basic %s", "canary-8")
    try:
        raise ValueError(f"bad {KEY} Bearer canary-9")
    except ValueError:
        log.exception("failed", request_headers={"authorization": "canary-10"})
    log.info("half a key", text="-----BEGIN RSA PRIVATE KEY-----\ncanary-11")
    text = log_file.read_text()
    assert "canary" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert len(lines) == 6
    assert "ValueError" in lines[4]["exception"], "the rest of a traceback stays"
    assert lines[0]["event"] == "a"


def test_context_is_in_every_line(log_file: Path) -> None:
    with structlog.contextvars.bound_contextvars(task="t1"):
        logging.getLogger("library").warning("x")
        structlog.stdlib.get_logger("t").info("y")
    assert [json.loads(line)["task"] for line in log_file.read_text().splitlines()] == ["t1"] * 2


def test_logs_are_bounded_and_private(log_file: Path) -> None:
    log = structlog.stdlib.get_logger("t")
    for _ in range(100):
        log.info("x", text="y" * 20_000)
    files = sorted(log_file.parent.iterdir())
    assert [file.name for file in files] == ["test.log", "test.log.1", "test.log.2"]
    for file in files:
        assert file.stat().st_size <= 64 * 1024
        assert file.stat().st_mode & 0o077 == 0


async def test_ready_lines_are_written_together_and_in_order_with_others(log_file: Path) -> None:
    logger = logging.getLogger("requests")

    def logged() -> list[str]:
        return [json.loads(line)["event"] for line in log_file.read_text().splitlines()]

    with structlog.contextvars.bound_contextvars(request="r1"):
        logs.ready(logger, "a", path="/é\udc80")
    logs.ready(logger, "b")
    assert logged() == []
    await asyncio.sleep(0)
    assert logged() == ["a", "b"]
    assert json.loads(log_file.read_text().splitlines()[0])["request"] == "r1"
    logs.ready(logger, "c")
    structlog.stdlib.get_logger("t").error("d")
    assert logged() == ["a", "b", "c", "d"], "an error waits for nothing, nor what was before it"
    for _ in range(logs.GATHERED_MOST):
        logs.ready(logger, "many")
    assert len(logged()) == 4 + logs.GATHERED_MOST
    logging.getLogger().setLevel(logging.WARNING)
    logs.ready(logger, "e")
    file_of_root().close()
    assert "e" not in logged()


def test_a_ready_line_has_nothing_that_a_terminal_obeys_and_takes_any_context(
    log_file: Path,
) -> None:
    logs.ready(logging.getLogger("requests"), "plain")
    with structlog.contextvars.bound_contextvars(where=Path("/x")):
        logs.ready(logging.getLogger("requests"), "a", path="/\x1b[2J\x9b2Jé\u2028")
    plain, text = log_file.read_text(encoding="utf-8").splitlines()
    assert text.isascii()
    assert "\x1b" not in text
    line = json.loads(text)
    assert (line["path"], line["where"]) == ("/\x1b[2J\x9b2Jé\u2028", "/x")
    for one in (json.loads(plain), line):
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", one["timestamp"])


def test_a_ready_line_without_an_event_loop_is_there_at_once(log_file: Path) -> None:
    logs.ready(logging.getLogger("requests"), "a", ms=0.5)
    assert json.loads(log_file.read_text())["ms"] == 0.5


def test_a_log_that_cannot_be_written_ends_nothing(
    log_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file_of_root().stream.close()
    logs.ready(logging.getLogger("requests"), "a")
    structlog.stdlib.get_logger("t").info("b")
    assert capsys.readouterr().err.count("Logging error") == 2
    assert log_file.read_text() == ""
