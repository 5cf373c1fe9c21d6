"""Logins that must fail, each with its own words, in bounded time, leaving nothing open."""

import asyncio
import socket
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
import uvloop

from plugins.acceptor import Acceptor
from plugins.doubles import scripted
from towpath.gridftp.client.channel import ControlChannel, Receiver
from towpath.gridftp.client.login import GsiLogin
from towpath.gridftp.client.session import Server, Session, Timeouts, default_dial
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.gsi import Initiator
from towpath.gridftp.wire.replies import Reply

QUICK = Timeouts(connect_s=5, login_s=0.4, reply_s=0.4, close_s=0.4)


def open_sockets() -> int:
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            count += str(entry.readlink()).startswith("socket:")
        except OSError:
            continue
    return count


async def closed_down_to(before: int) -> None:
    """Ours are closed, and so the doubles' ends of them."""
    async with asyncio.timeout(5):
        while open_sockets() > before:
            await asyncio.sleep(0.005)


async def refused(server: Server, **options) -> GridFTPError:
    before = open_sockets()
    with pytest.raises(GridFTPError) as caught:
        await Session.open(server, **options)
    await closed_down_to(before)
    return caught.value


async def test_expired_proxy_dials_nobody(domain_a) -> None:
    async def dial(host: str, port: int) -> socket.socket:
        raise AssertionError("dialled")

    expired = domain_a.make_proxy(
        timedelta(minutes=10), now=datetime.now(UTC) - timedelta(minutes=50)
    )
    error = await refused(
        Server("localhost", 1), credential=expired, trust=domain_a.trust, dial=dial
    )
    assert error.kind is Kind.CREDENTIAL_EXPIRED
    assert "/O=DomA/CN=Alice" in error.message


async def test_certificate_of_another_host(domain_a, server_a) -> None:
    async def dial(host: str, port: int) -> socket.socket:
        return await default_dial("127.0.0.1", port)

    error = await refused(
        Server("data.example.org", server_a.port),
        credential=domain_a.credential,
        trust=domain_a.trust,
        dial=dial,
    )
    assert error.kind is Kind.UNTRUSTED_HOST
    error = await refused(
        Server("localhost", server_a.port, subject="/O=DomA/CN=other"),
        credential=domain_a.credential,
        trust=domain_a.trust,
    )
    assert error.kind is Kind.UNTRUSTED_HOST


async def test_server_of_an_authority_we_do_not_trust(domain_a, domain_b, server_a) -> None:
    error = await refused(
        Server("localhost", server_a.port), credential=domain_a.credential, trust=domain_b.trust
    )
    assert error.kind is Kind.UNTRUSTED_HOST


async def test_credential_the_server_does_not_trust(domain_a, domain_b, server_a) -> None:
    error = await refused(
        Server("localhost", server_a.port), credential=domain_b.credential, trust=domain_a.trust
    )
    assert error.kind is Kind.AUTHENTICATION
    assert error.reply


async def test_identity_without_account(domain_a, server_a) -> None:
    stranger = domain_a.issue("stranger", "Mallory").credential()
    error = await refused(
        Server("localhost", server_a.port), credential=stranger, trust=domain_a.trust
    )
    assert error.kind is Kind.MAPPING


async def test_nobody_listens(domain_a) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for host in ("127.0.0.1", "no-such-host.invalid"):
            error = await refused(
                Server(host, port), credential=domain_a.credential, trust=domain_a.trust
            )
            assert error.kind is Kind.CONNECT
            assert not error.permanent


@pytest.mark.parametrize("clear_text", [False, True])
@pytest.mark.parametrize(
    "banner",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        bytes(range(256)) * 8,
        b"\x16\x03\x01" + b"\0" * (2 << 20),
        b"220-" + b"endless\r\n" * 600_000,
        b"235 ADAT=AAAA\r\n",
        b"220 fine\r\n335 ADAT=!!!\r\n",
    ],
    ids=["ssh", "http", "binary", "long line", "long reply", "early success", "wrong order"],
)
async def test_nonsense(domain_a, banner: bytes, clear_text: bool) -> None:
    async with scripted(banner=banner, answers={}) as server:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        error = await refused(
            Server("127.0.0.1", server.port),
            credential=None if clear_text else domain_a.credential,
            trust=domain_a.trust,
        )
        assert loop.time() - begin < 10
    assert error.kind in (Kind.PROTOCOL, Kind.LOGIN, Kind.UNSUPPORTED)
    assert len(str(error)) < 2000


async def test_garbage_instead_of_tls(domain_a) -> None:
    answers = {"AUTH": "334 go on", "ADAT": "335 ADAT=AAAAAAAAAAAA"}
    async with scripted(answers=answers) as server:
        error = await refused(
            Server("127.0.0.1", server.port), credential=domain_a.credential, trust=domain_a.trust
        )
    assert error.kind is Kind.AUTHENTICATION


async def test_a_server_that_skips_the_handshake_gets_no_command(domain_a) -> None:
    answers = {"AUTH": "334 go on", "ADAT": "235 welcome"}
    async with scripted(answers=answers) as server:
        error = await refused(
            Server("127.0.0.1", server.port), credential=domain_a.credential, trust=domain_a.trust
        )
        assert [line.split(" ")[0] for line in server.received] == ["AUTH", "ADAT"]
    assert error.kind is Kind.PROTOCOL


async def test_clear_text_only_server(domain_a) -> None:
    async with scripted() as server:
        error = await refused(
            Server("127.0.0.1", server.port), credential=domain_a.credential, trust=domain_a.trust
        )
    assert error.kind is Kind.UNSUPPORTED


async def test_questions_go_behind_what_somebody_waits_for() -> None:
    async with scripted() as server:
        session = await Session.start(
            Server("127.0.0.1", server.port), credential=None, trust=None, timeouts=QUICK
        )
        answers = session.submit(["NOOP"])
        await session.ready()
        await session.answers(answers)
        sent = [line.split(" ")[0] for line in server.received]
        assert sent == ["USER", "PASS", "TYPE", "MODE", "NOOP", "FEAT", "PWD"]
        await session.ready()
        assert len(server.received) == len(sent), "they are asked once"
        await session.close()


@pytest.mark.parametrize("clear_text", [False, True])
@pytest.mark.parametrize("banner", [None, b"220 and then nothing\r\n"])
async def test_no_answer(domain_a, banner: bytes | None, clear_text: bool) -> None:
    silent = dict.fromkeys(["AUTH", "ADAT", "USER", "PASS", "TYPE", "MODE", "FEAT", "PWD"])
    async with scripted(banner=banner, answers=silent) as server:
        error = await refused(
            Server("127.0.0.1", server.port),
            credential=None if clear_text else domain_a.credential,
            trust=domain_a.trust,
            timeouts=QUICK,
        )
    assert error.kind is Kind.TIMEOUT


async def test_a_command_without_answer_ends_the_session() -> None:
    async with scripted() as server:
        server.answers["NOOP"] = None
        session = await Session.open(
            Server("127.0.0.1", server.port), credential=None, trust=None, timeouts=QUICK
        )
        with pytest.raises(GridFTPError) as caught:
            await session.command("NOOP")
        assert caught.value.kind is Kind.TIMEOUT
        assert session.closed
        await session.close()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("421 Idle Timeout: closing control connection.", Kind.CONNECTION_LOST),
        ("200 yes\r\n200 and more", Kind.PROTOCOL),
    ],
)
async def test_replies_out_of_order(answer: str, kind: Kind) -> None:
    async with scripted() as server:
        server.answers["NOOP"] = answer
        session = await Session.open(
            Server("127.0.0.1", server.port), credential=None, trust=None, timeouts=QUICK
        )
        (future,) = session.submit(["NOOP"])
        async with asyncio.timeout(5):
            await session.channel.lost
        assert session.channel.error.kind is kind
        assert future.done()


@pytest.mark.parametrize("restriction", ["RW", "", "RW/a,R", "/a", "nonsense", "RW/a\r\nDELE /b"])
async def test_a_restriction_that_restricts_nothing_dials_nobody(restriction: str) -> None:
    """`RW` alone is the worst: the server says 250 to it, and allows everything."""
    error = await refused(
        Server("localhost", 1), credential=None, trust=None, restriction=restriction
    )
    assert error.kind is Kind.INVALID_NAME


@pytest.mark.parametrize("answer", ["500 Invalid command.", "500-No.\r\n500 End."])
async def test_a_server_that_does_not_restrict_gets_no_command_but_settings(answer: str) -> None:
    async with scripted() as server:
        server.answers["SITE"] = answer
        with pytest.raises(GridFTPError) as caught:
            await Session.start(
                Server("127.0.0.1", server.port), credential=None, trust=None, restriction="RW/a"
            )
        assert caught.value.kind is Kind.UNSUPPORTED
        assert caught.value.permanent
        sent = [line.split(" ")[0] for line in server.received]
        assert sent == ["USER", "PASS", "SITE", "TYPE", "MODE"]


@pytest.mark.parametrize("moment", range(6))
async def test_cancelling_leaves_no_socket(domain_a, server_a, moment: int) -> None:
    before = open_sockets()
    opening = asyncio.create_task(
        Session.open(
            Server("localhost", server_a.port), credential=domain_a.credential, trust=domain_a.trust
        )
    )
    for _ in range(3**moment):
        await asyncio.sleep(0)
    opening.cancel()
    try:
        session = await opening
    except asyncio.CancelledError:
        pass
    else:
        await session.close()
    await closed_down_to(before)


def test_a_greeting_before_anyone_looks(server_a) -> None:
    """Under uvloop, which reads as soon as a transport is made: the banner is there already."""

    async def greeted(host: str, port: int) -> socket.socket:
        connection = await default_dial(host, port)
        while True:
            try:
                connection.recv(1, socket.MSG_PEEK)
                break
            except BlockingIOError:
                await asyncio.sleep(0.005)
        return connection

    async def log_in() -> None:
        session = await Session.open(
            Server("127.0.0.1", server_a.port), credential=None, trust=None, dial=greeted
        )
        await session.close()

    with (
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        pytest.raises(GridFTPError) as caught,
    ):
        runner.run(log_in())
    assert caught.value.kind is Kind.LOGIN


class _Line:
    """A control channel that only remembers."""

    where = "double:1"

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send_in_clear(self, lines: Sequence[bytes], _receiver: Receiver) -> None:
        self.sent += lines

    def protect_commands(self, _security: Initiator) -> None:
        self.sent.append(b"protected")


@pytest.mark.parametrize("waiting", [True, False])
async def test_a_token_that_comes_when_nobody_waits_any_more(domain_a, waiting: bool) -> None:
    """A busy loop has both at once: the end of the login's time, and the answer."""
    line = _Line()
    initiator = Initiator(
        domain_a.credential, domain_a.trust, "localhost", None, now=lambda: datetime.now(UTC)
    )
    commands: list[str] = []
    login = GsiLogin(cast("ControlChannel", line), initiator, lambda: commands.append("USER"))
    login.start()
    acceptor = Acceptor(domain_a.trust, domain_a.host)
    token = acceptor.answer(a2b_base64(line.sent[-1].removeprefix(b"ADAT ")))
    login.reply(Reply.of(334, "ADAT must follow"))
    if not waiting:
        login.verified.cancel()
    login.reply(Reply.of(335, "ADAT=" + b2a_base64(token, newline=False).decode()))
    assert commands == (["USER"] if waiting else [])
