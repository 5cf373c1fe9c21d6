"""A control connection: its login as a peer sees it, and the passing on of commands and replies."""

import asyncio
import base64
import getpass
import socket
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugins.front import Client, adat, client_of, front, logged_in, now, quick, until
from towpath.demo.authority import Domain
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.gsi import Initiator
from towpath.gridftp.server import acceptor, control
from towpath.gridftp.server.limits import COMMANDS_BEFORE_LOGIN, LINE_BYTES, LOGIN_ATTEMPTS
from towpath.gridftp.server.permission import Admission, Permission, TokenRefused

ME = getpass.getuser()


# -- before the login


async def test_nothing_but_gsi_before_the_login(domain_a: Domain) -> None:
    async with front(domain_a) as running, client_of(running) as client:
        assert (await client.reply()).text == "GridFTP Server ready."
        for line in (
            b"NOOP",
            b"FEAT",
            b"USER x",
            b"PASS x",
            b"PWD",
            b"",
            b"ENC AAAA",
            b"ADAT AA==",
        ):
            reply = await client.ask(line)
            assert reply.code == 530
            assert reply.text == "Must perform GSSAPI authentication."
        assert (await client.ask(b"AUTH TLS")).code == 504
        assert (await client.ask(b"auth gssapi")).code == 334
        assert (await client.ask(b"ADAT !")).code == 501
        client.send(b"quit")
        assert await client.all_codes() == [221]
        await until(lambda: running.server.pending == 0)


async def test_after_gsi_and_before_user(domain_a: Domain) -> None:
    async with front(domain_a) as running, client_of(running) as client:
        replies = await client.authenticate(domain_a.credential, domain_a.trust)
        assert [reply.code for reply in replies] == [334, 335, 335, 235]
        assert (await client.ask_wrapped(b"NOOP")).code == 200
        features = await client.ask_wrapped(b"FEAT")
        assert features.code == 211
        assert "DCSC P,D" in features.lines
        assert (await client.ask_wrapped(b"SITE HELP")).code == 214
        assert (await client.ask_wrapped(b"HELP")).code == 214
        assert (await client.ask_wrapped(b"PWD")).text == "Please login with USER and PASS."
        assert (await client.ask_wrapped(b"PASS x")).code == 503
        client.send_wrapped(b"QUIT")
        assert await client.all_codes() == [221]


# -- logins


@pytest.mark.parametrize("delegate", [False, True])
async def test_gsi_login(domain_a: Domain, delegate: bool) -> None:
    async with front(domain_a) as running, logged_in(running, delegate=delegate) as client:
        assert (await client.ask_wrapped(b"PWD")).text == "PWD"
        (opening,) = running.host.openings
        assert opening.subject == "/O=DomA/CN=Alice"
        assert opening.account == ME
        assert opening.peer_host == opening.local_host == "127.0.0.1"
        assert opening.secured
        if delegate:
            assert opening.credential is not None
            delegated = Credential.from_pem(opening.credential.encode())
            assert delegated.subject == "/O=DomA/CN=Alice"
            # The acceptor meets the whole network: it does not keep everybody's keys.
            (control,) = running.server._open
            assert control._gsi is not None
            assert control._gsi.delegated is control._gsi._key is None
        else:
            assert opening.credential is None
        (report,) = running.reports
        assert (report.subject, report.account, report.outcome) == (opening.subject, ME, "ok")
        assert report.session_id == opening.session_id
        assert running.server.sessions == 1
        assert running.server.pending == 0


async def test_all_sent_ahead(domain_a: Domain) -> None:
    """Two flights: nothing is waited for that is not needed (and replies come in order)."""
    async with front(domain_a) as running, client_of(running) as client:
        initiator = Initiator(domain_a.credential, domain_a.trust, "localhost", None, now=now)
        (hello,) = initiator.step(None)
        client.send(b"AUTH GSSAPI", adat(hello))
        assert await client.codes(2) == [220, 334]
        answer = (await client.reply()).text.removeprefix("ADAT=")
        tokens = initiator.step(base64.b64decode(answer))
        client.initiator = initiator
        commands = [b"USER :globus-mapping:", b"PASS x", *(b"C%d" % n for n in range(900))]
        wrapped = [client.wrapped(command + b"\r\n") for command in commands]
        client.send(*map(adat, tokens), *wrapped)
        go_on, accepted = await client.replies(2)
        assert (go_on.code, accepted.code) == (335, 235)
        assert initiator.step(base64.b64decode(go_on.text.removeprefix("ADAT="))) == []
        assert await client.codes(2) == [331, 230]
        assert [r.text for r in await client.replies(900)] == [f"C{n}" for n in range(900)]


@pytest.mark.parametrize("portion", [1, 7])
async def test_any_portions(domain_a: Domain, portion: int) -> None:
    async with front(domain_a) as running, logged_in(running) as client:
        text = b"".join(client.wrapped(b"C%d\r\n" % number) + b"\r\n" for number in range(5))
        for start in range(0, len(text), portion):
            client.writer.write(text[start : start + portion])
            if start % 50 == 0:
                await asyncio.sleep(0)
                await client.writer.drain()
        assert [reply.text for reply in await client.replies(5)] == [f"C{n}" for n in range(5)]


async def test_a_named_account(domain_a: Domain, tmp_path: Path) -> None:
    gridmap = tmp_path / "gridmap"
    gridmap.write_text(f'"/O=DomA/CN=Alice" games,{ME}\n')
    async with front(domain_a, gridmap=gridmap) as running, client_of(running) as client:
        await client.authenticate(domain_a.credential, domain_a.trust)
        client.send_wrapped(b"USER games", b"PASS x")
        assert [reply.code for reply in await client.replies(2)] == [331, 530]
        client.send_wrapped(b"USER " + ME.encode(), b"PASS x")
        assert [reply.code for reply in await client.replies(2)] == [331, 230]
        assert [report.outcome for report in running.reports] == [
            f"this server serves no account but its own, {ME}",
            "ok",
        ]


async def test_not_in_the_gridmap(domain_a: Domain, tmp_path: Path) -> None:
    gridmap = tmp_path / "gridmap"
    gridmap.write_text(f'"/O=DomA/CN=Bob" {ME}\n')
    async with front(domain_a, gridmap=gridmap) as running, client_of(running) as client:
        await client.authenticate(domain_a.credential, domain_a.trust)
        client.send_wrapped(b"USER :globus-mapping:", b"PASS x", b"PWD")
        _user, refusal, after = await client.replies(3)
        assert refusal.code == 530
        assert "Could not map /O=DomA/CN=Alice" in refusal.text
        assert after.text == "Please login with USER and PASS."
        gridmap.write_text(f'"/O=DomA/CN=Alice" {ME}\n')
        client.send_wrapped(b"USER :globus-mapping:", b"PASS x")
        assert await client.codes(2) == [331, 230]
        gridmap.unlink()
    async with front(domain_a, gridmap=gridmap) as running, client_of(running) as client:
        await client.authenticate(domain_a.credential, domain_a.trust)
        client.send_wrapped(b"USER :globus-mapping:", b"PASS x")
        assert await client.codes(2) == [331, 530]
        assert running.reports[0].outcome == "the gridmap cannot be read (FileNotFoundError)"


async def test_untrusted_and_expired(domain_a: Domain, domain_b: Domain) -> None:
    async with front(domain_a) as running:
        async with client_of(running) as client:
            replies = await client.authenticate(domain_b.credential, domain_a.trust)
            assert [reply.code for reply in replies] == [334, 335, 530, 530]
            assert replies[2].text.startswith("Authentication Error\n")
            assert (await client.ask(b"PWD")).text == "Must perform GSSAPI authentication."
            assert running.reports[0].outcome != "ok"
            assert running.reports[0].subject == ""
        then = now() - timedelta(hours=2)
        old = domain_a.make_proxy(timedelta(hours=1), now=then)
        async with client_of(running) as client:
            initiator = Initiator(old, domain_a.trust, "localhost", None, now=lambda: then)
            (hello,) = initiator.step(None)
            client.send(b"AUTH GSSAPI", adat(hello))
            answer = (await client.replies(3))[2].text.removeprefix("ADAT=")
            client.send(*map(adat, initiator.step(base64.b64decode(answer))))
            refusal, _after = await client.replies(2)
            assert "has expired" in refusal.text


async def test_failed_logins_are_counted(domain_a: Domain) -> None:
    async with front(domain_a) as running, client_of(running) as client:
        for _ in range(LOGIN_ATTEMPTS):
            client.send(b"AUTH GSSAPI", adat(b"nonsense"))
        assert await client.all_codes() == [220, *[334, 530] * LOGIN_ATTEMPTS, 421]


async def test_commands_before_the_login_are_counted(domain_a: Domain) -> None:
    async with front(domain_a) as running, client_of(running) as client:
        client.send(*[b"A"] * (COMMANDS_BEFORE_LOGIN + 1))
        assert await client.all_codes() == [220, *[530] * COMMANDS_BEFORE_LOGIN, 421]


# -- clear text


async def test_passwords_and_anonymous(domain_a: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "FAILED_PASSWORD_DELAY_S", 0.001)
    async with front(domain_a, anonymous=ME, passwords={"ana": "secr\xe9t"}) as running:
        async with client_of(running) as client:
            assert (await client.reply()).code == 220
            assert (await client.ask(b"NOOP")).code == 200
            assert (await client.ask(b"FEAT")).code == 211
            assert (await client.ask(b"PWD")).text == "Please login with USER and PASS."
            assert (await client.ask(b"USER ana")).code == 331
            assert (await client.ask(b"PASS wrong")).code == 530
            client.send(b"USER ana", "PASS secr\xe9t".encode(), b"MKD d\xe9 \xff", b"QUIT")
            replies = await client.replies(4)
            assert [reply.code for reply in replies] == [331, 230, 200, 221]
            assert replies[2].raw == (b"MKD d\xe9 \xff",)
            assert not running.host.openings[0].secured
            assert running.host.openings[0].subject == ""
        async with client_of(running) as client:
            client.send(b"USER anonymous", b"PASS ana@example.org", b"PWD")
            assert await client.codes(4) == [220, 331, 230, 200]
        async with logged_in(running) as client:  # GSI on the same port
            assert (await client.ask_wrapped(b"PWD")).code == 200
    async with front(domain_a, gsi=False, anonymous=ME) as running, client_of(running) as client:
        client.send(b"AUTH GSSAPI", b"USER ana", b"PASS x")
        assert await client.codes(4) == [220, 504, 331, 530]


# -- sessions


async def test_replies_of_many_lines_and_marks(domain_a: Domain) -> None:
    async with front(domain_a) as running, logged_in(running) as client:
        client.wrapped_lines.clear()
        reply = await client.ask_wrapped(b"BIG 20000")
        assert len(reply.lines) == 20_002
        assert [line[:4] for line in client.wrapped_lines] == [
            b"632 "
        ]  # in one line, as it is short
        client.wrapped_lines.clear()
        reply = await client.ask_wrapped(b"BIG 50000")
        assert len(reply.lines) == 50_002
        assert reply.lines[-2] == "line 49999"
        marks = [line[:4] for line in client.wrapped_lines]
        assert len(marks) == 50_002
        assert set(marks[:-1]) == {b"632-"}
        assert marks[-1] == b"632 "
        client.send_wrapped(b"MARK", b"PWD")
        assert await client.codes(3) == [112, 226, 200]


async def test_a_line_feed_inside_an_argument(domain_a: Domain) -> None:
    async with front(domain_a) as running, logged_in(running) as client:
        client.send(
            client.wrapped(b"DELE a\nb\r\n"), client.wrapped(b"DELE c"), client.wrapped(b"")
        )
        assert [reply.text for reply in await client.replies(2)] == ["DELE a\\nb", "DELE c"]
        await until(lambda: len(running.host.heard) == 3)
        assert running.host.heard == [b"DELE a\nb", b"DELE c", b""]


@pytest.mark.parametrize(
    ("line", "code"), [(b"PWD", 533), (b"ENC A", 535), (b"ENC " + b"A" * 40, 421), (b"", 533)]
)
async def test_what_is_not_protected_ends_the_session(
    domain_a: Domain, line: bytes, code: int
) -> None:
    async with front(domain_a) as running, logged_in(running) as client:
        client.send(client.wrapped(b"ONE\r\n"), line, client.wrapped(b"TWO\r\n"))
        codes = await client.all_codes()
        assert codes in ([200, code], [code])  # the answer of the session may come too late
        await until(lambda: running.host.ended == 1)
        assert b"TWO" not in running.host.heard
        assert running.server.sessions == 0


async def test_a_line_without_end(domain_a: Domain) -> None:
    async with front(domain_a) as running, client_of(running) as client:
        client.writer.write(b"A" * (LINE_BYTES + 1))
        assert await client.all_codes() == [220, 500]


async def test_the_session_ends_when_the_client_goes(domain_a: Domain) -> None:
    async with front(domain_a) as running:
        async with logged_in(running) as client:
            assert (await client.ask_wrapped(b"PWD")).code == 200
        await until(lambda: running.host.ended == 1)
        await until(lambda: running.server.sessions == 0)


async def test_the_client_is_told_when_the_session_goes(domain_a: Domain) -> None:
    async with front(domain_a) as running:
        async with logged_in(running) as client:
            client.send_wrapped(b"ONE", b"DIE", b"TWO")
            assert await client.all_codes() == [200, 421]
        async with logged_in(running) as client:
            client.send_wrapped(b"ONE", b"QUIT")
            assert await client.all_codes() == [200, 221]


async def test_closing_tells_all(domain_a: Domain) -> None:
    async with front(domain_a) as running, logged_in(running) as one, client_of(running) as other:
        assert (await other.reply()).code == 220
        await running.server.close()
        assert await one.all_codes() == [421]
        assert await other.all_codes() == [421]


# -- flow


async def test_a_session_that_does_not_read_holds_the_client(domain_a: Domain) -> None:
    async with front(domain_a) as running, logged_in(running) as client:
        client.send_wrapped(b"DEAF")
        command = b"X" * 20_000
        sent = 0
        held = False
        while not held and sent < 4000:
            client.send_wrapped(command)
            sent += 1
            try:
                async with asyncio.timeout(0.5):
                    await client.writer.drain()
            except TimeoutError:
                held = True
        assert held
        running.host.release.set()
        assert await client.codes(sent + 1) == [200] * (sent + 1)


async def test_a_client_that_does_not_read_holds_the_session(domain_a: Domain) -> None:
    async with front(domain_a) as running, logged_in(running) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send_wrapped(*[b"BIG 2000"] * 900)
        heard = -1
        while heard != len(running.host.heard):
            heard = len(running.host.heard)
            await asyncio.sleep(0.3)
        assert heard < 850
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert await client.codes(900) == [250] * 900


# -- time


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "SWEEP_S", 0.02)


@pytest.mark.usefixtures("often")
async def test_a_login_that_takes_too_long(domain_a: Domain) -> None:
    async with front(domain_a, limits=quick(login_s=0.1)) as running, client_of(running) as client:
        client.send(b"NOOP")
        assert await client.all_codes() == [220, 530, 421]


@pytest.mark.usefixtures("often")
async def test_idle(domain_a: Domain) -> None:
    async with front(domain_a, limits=quick(idle_s=0.3)) as running, logged_in(running) as client:
        client.send_wrapped(b"SLOW")
        await asyncio.sleep(1)  # a command that runs is not idle
        running.host.release.set()
        assert await client.all_codes() == [200, 421]
        await until(lambda: running.host.ended == 1)


@pytest.mark.usefixtures("often")
async def test_a_client_that_takes_nothing(domain_a: Domain) -> None:
    limits = quick(write_stall_s=0.3)
    async with front(domain_a, limits=limits) as running, logged_in(running) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send_wrapped(*[b"BIG 3000"] * 500)
        await until(lambda: running.server.sessions == 0)
        await until(lambda: running.host.ended == 1)


# -- anything


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lines=st.lists(
        st.one_of(
            st.sampled_from(
                [
                    b"AUTH GSSAPI",
                    b"ADAT ",
                    b"ENC ",
                    b"USER x",
                    b"PASS y",
                    b"FEAT",
                    b"NOOP",
                    b"MIC A",
                ]
            ),
            st.binary(max_size=30).map(lambda data: b"ADAT " + base64.b64encode(data)),
            st.binary(max_size=40),
        ),
        max_size=12,
    )
)
def test_any_lines_get_their_replies(domain_a: Domain, lines: list[bytes]) -> None:
    async def run() -> None:
        async with front(domain_a) as running, client_of(running) as client:
            text = b"".join(line + b"\r\n" for line in lines)
            client.writer.write(text + b"QUIT\r\n")
            codes = await client.all_codes()
            assert codes[0] == 220
            assert codes[-1] in (221, 421)
            if codes[-1] == 221:
                asked = (text + b"QUIT\r\n").split(b"\n")[:-1]
                quits = [line.rstrip(b"\r").upper().split(b" ")[0] == b"QUIT" for line in asked]
                assert len(codes) == 1 + quits.index(True) + 1
            assert running.host.openings == []

    asyncio.run(run())


@pytest.mark.parametrize(
    "test",
    [
        test_all_sent_ahead,
        test_replies_of_many_lines_and_marks,
        test_the_session_ends_when_the_client_goes,
        test_the_client_is_told_when_the_session_goes,
        test_closing_tells_all,
        test_a_session_that_does_not_read_holds_the_client,
        test_a_client_that_does_not_read_holds_the_session,
        test_idle,
        test_a_client_that_takes_nothing,
        test_a_login_that_takes_too_long,
    ],
)
@pytest.mark.usefixtures("often")
def test_under_uvloop(
    domain_a: Domain, test: Callable[[Domain], Coroutine[Any, Any, None]]
) -> None:
    """The command runs the server so."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test(domain_a))


# -- tokens


class Takes:
    """`Tokens` that take what begins with `good`, and break at `broken`."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, str]] = []

    def log_in(self, token: str, certificate_sha256: str) -> Admission:
        return Admission(
            account=ME,
            home="/home/of",
            permission=self._permission(token, certificate_sha256),
            extra={"secret": "of the session"},
            token=token,
        )

    def renew(self, token: str, certificate_sha256: str, current: Admission) -> Permission:
        assert current.token == "good-login"
        return self._permission(token, certificate_sha256)

    def _permission(self, token: str, certificate_sha256: str) -> Permission:
        self.shown.append((token, certificate_sha256))
        if token == "broken":
            raise RuntimeError("a fault of whoever takes tokens")
        if not token.startswith("good"):
            raise TokenRefused("altered", "it is none", "its id")
        return Permission(permission_id=token, rules=(("R", "/"),), expires=1e12)


async def test_a_login_by_token_and_renewals_sent_ahead(domain_a: Domain) -> None:
    """What is shown goes no further than to who takes tokens; the rest is done in its turn."""
    takes = Takes()
    async with front(domain_a, tokens=takes) as running, client_of(running) as client:
        await client.authenticate(domain_a.credential, domain_a.trust)
        client.send_wrapped(
            *(b"USER :grant:", b"PASS bad", b"USER :grant:", b"PASS good-login"),
            *(b"C1", b"SITE GRANT good-1", b"C2", b"site  grant   bad-1 ", b"SITE GRANT", b"C3"),
        )
        replies = await client.replies(10)
        assert [reply.code for reply in replies] == [331, 530, 331, 230, *[200] * 6]
        assert replies[1].text == "GRANT altered: it is none"
        (opening,) = running.host.openings
        assert opening.home == "/home/of"
        assert opening.permission is not None
        assert opening.permission.permission_id == "good-login"
        assert opening.extra == {"secret": "of the session"}
        assert "of the session" not in repr(opening)
        first, *others = running.host.notices
        assert first.permission is not None
        assert (first.permission.permission_id, first.code) == ("good-1", 200)
        assert [(one.permission, one.code) for one in others] == [(None, 530)] * 2
        grant = b"SITE GRANT"
        assert running.host.heard == [b"C1", grant, b"C2", grant, grant, b"C3"]
        assert [token for token, _ in takes.shown] == [
            *("bad", "good-login", "good-1", "bad-1", ""),
        ]
        (certificate,) = {certificate for _, certificate in takes.shown}
        leaf = domain_a.credential.certificates[0]
        assert certificate == leaf.fingerprint(SHA256()).hex()
        outcomes = [(one.outcome, one.grant, one.renewal) for one in running.reports]
        assert outcomes == [
            *(("altered", "its id", False), ("ok", "good-login", False)),
            *(("ok", "good-1", True), ("altered", "its id", True), ("altered", "its id", True)),
        ]


async def test_who_takes_tokens_may_fail(
    domain_a: Domain, caplog: pytest.LogCaptureFixture
) -> None:
    """It ends the connection, and nothing else."""
    async with front(domain_a, tokens=Takes()) as running:
        async with client_of(running) as client:
            await client.authenticate(domain_a.credential, domain_a.trust)
            client.send_wrapped(b"USER :grant:", b"PASS good-login", b"C1")
            assert await client.codes(3) == [331, 230, 200]
            client.send_wrapped(b"SITE GRANT broken", b"C2")
            assert await client.all_codes() == [421]
            await until(lambda: running.host.ended == 1)
            assert [one.message for one in caplog.records] == ["who takes tokens has failed"]
        async with logged_in(running) as client:
            assert (await client.ask_wrapped(b"PWD")).text == "PWD"


async def test_a_connection_that_came_by_another_way(domain_a: Domain) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    async with front(domain_a) as running:
        await running.server.take(theirs, peer_host="192.0.2.7", local_host="192.0.2.1")
        client = Client(*await asyncio.open_unix_connection(sock=ours))
        async with client:
            await client.log_in(domain_a)
            assert (await client.ask_wrapped(b"PWD")).code == 200
            (opening,) = running.host.openings
            assert (opening.peer_host, opening.local_host) == ("192.0.2.7", "192.0.2.1")
