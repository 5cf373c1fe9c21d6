"""Mail: into files, by SMTP, again when the server was away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from towpath.platform import mail
from towpath.platform.mail import FileMailer, Post, SmtpMailer, is_address, mailer
from towpath.platform.settings import MailSettings


@asynccontextmanager
async def smtp_server(received: list[bytes], refuse: int = 0) -> AsyncIterator[int]:
    """A server that takes every mail (RFC 5321) but the first ``refuse``; its port."""
    left = refuse

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            verb = line.split(b" ")[0].strip().upper()
            if verb == b"EHLO":
                writer.write(b"250 here\r\n")
            elif verb == b"DATA":
                writer.write(b"354 go on\r\n")
                text = await reader.readuntil(b"\r\n.\r\n")
                received.append(text.removesuffix(b".\r\n"))
                writer.write(b"250 taken\r\n")
            elif verb == b"QUIT":
                writer.write(b"221 bye\r\n")
                break
            elif verb == b"MAIL" and left:
                left -= 1
                writer.write(b"451 not now\r\n")
            else:
                writer.write(b"250 yes\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def smtp(port: int) -> MailSettings:
    return MailSettings(host="127.0.0.1", port=port, tls="none")


async def test_by_smtp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "AGAIN_AFTER_S", 0.01)
    received: list[bytes] = []
    async with smtp_server(received, refuse=1) as port:
        sender = mailer(smtp(port), tmp_path)
        assert isinstance(sender, SmtpMailer)
        post = Post(sender, "towpath@mill.example")
        post.hand_over("ada@mill.example", "Grüße", "Ein Link: https://x/?link=abc_-\n")
        await post.delivered()
        await post.close()
    [one] = [message_from_bytes(text, policy=policy.default) for text in received]
    assert (one["To"], one["From"]) == ("ada@mill.example", "towpath@mill.example")
    assert one["Subject"] == "Grüße"
    assert one["Auto-Submitted"] == "auto-generated"
    assert "https://x/?link=abc_-" in one.get_content()
    assert not list(tmp_path.iterdir())


async def test_given_up_without_a_word_of_what_it_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mail, "AGAIN_AFTER_S", 0.01)
    received: list[bytes] = []
    async with smtp_server(received, refuse=9) as port:
        post = Post(SmtpMailer(smtp(port)), "towpath@mill.example")
        post.hand_over("ada@mill.example", "A secret", "link=abc\n")
        await post.delivered()
        await post.close()
    assert received == []
    said = capsys.readouterr()
    assert "mail.given_up" in said.out + said.err
    assert "link=abc" not in said.out + said.err


async def test_into_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "FILES_KEPT", 3)
    post = Post(FileMailer(tmp_path / "mail"), "towpath@mill.example")
    for number in range(5):
        post.hand_over("ada@mill.example", f"Number {number}", "text")
    await post.delivered()
    files = sorted((tmp_path / "mail").iterdir())
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600] * 3
    subjects = [message_from_bytes(file.read_bytes())["Subject"] for file in files]
    assert subjects == ["Number 2", "Number 3", "Number 4"]
    await post.close()


async def test_a_flood_is_dropped_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    class Never:
        async def send(self, message: EmailMessage) -> None:
            del message
            await asyncio.Event().wait()

    post = Post(Never(), "towpath@mill.example")
    for _ in range(mail.WAITING_LIMIT + 1):
        post.hand_over("ada@mill.example", "x", "x")
    said = capsys.readouterr()
    assert "mail.dropped" in said.out + said.err
    await post.close()


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("ada@mill.example", True),
        ("a+b.c@x", True),
        ("ada@mill.example\nBcc: x@y", False),
        ("<ada@mill.example>", False),
        ("ada@mill..example", False),
        ("a@b, c@d", False),
        ("@x", False),
        ("x" * 250 + "@y.example", False),
    ],
)
def test_addresses(text: str, good: bool) -> None:
    assert is_address(text) is good
