"""The control channel against real servers: every way to log in, and what they answer to what."""

import asyncio
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from plugins.pairs import Pair, tell
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.gridftp.client import channel
from towpath.gridftp.client.session import Server, Session, Timeouts
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.features import parse_features

StartServer = Callable[..., GctServer]
FACTS = (
    "Type*;Size*;Modify*;Perm*;Charset;UNIX.mode*;UNIX.owner*;UNIX.uid*;UNIX.group*;UNIX.gid*;"
    "Unique*;UNIX.slink*;X.count;"
)
ANONYMOUS = ("-aa", "-anonymous-user", "root") if os.getuid() == 0 else ("-aa",)


@pytest.fixture
def start(domain_a: Domain, tmp_path: Path) -> Iterator[StartServer]:
    """Starts servers with options of their own."""
    with ExitStack() as stack:

        def start(*args: str, domain: Domain = domain_a, **options: object) -> GctServer:
            workdir = tmp_path / f"server-{len(list(tmp_path.iterdir()))}"
            given: dict = {"args": args, **options}
            return stack.enter_context(GctServer.start(domain, workdir, **given))

        yield start


async def open_at(server: GctServer, domain: Domain, **options: object) -> Session:
    given: dict = {"credential": domain.credential, "trust": domain.trust, **options}
    return await Session.open(Server("localhost", server.port), **given)


async def refused(server: GctServer, domain: Domain, **options: object) -> GridFTPError:
    with pytest.raises(GridFTPError) as caught:
        await open_at(server, domain, **options)
    assert caught.value.where == f"localhost:{server.port}"
    return caught.value


# -- the text layer


async def test_features(open_a) -> None:
    session = await open_a()
    reply = await session.command("FEAT")
    lines = [re.sub(r"(?<=^DSI file-)[\d.]+$", "N", line) for line in reply.lines]
    assert lines == [
        "Extensions supported",
        "CKSM MD5:10;ADLER32:10;SHA1:10;SHA256:11;SHA512:12;",
        "DSI file-N",
        "STORATTR",
        "HTTP",
        "DCSC P,D",
        "MFMT",
        "WHOAMI",
        "AUTHZ_ASSERT",
        "MLSR",
        "MLSC",
        "UTF8",
        "LANG EN",
        "DCAU",
        "PARALLEL",
        "SIZE",
        f"MLST {FACTS}",
        "ERET",
        "ESTO",
        "SPAS",
        "SPOR",
        "REST STREAM",
        "MDTM",
        "PASV AllowDelayed;",
        "End.",
    ]
    assert session.features == parse_features(reply)
    assert session.features.checksums == ("MD5", "ADLER32", "SHA1", "SHA256", "SHA512")


@pytest.mark.parametrize("line", ["noop", "NoOp", "NOOP with words", "site   whoami"])
async def test_verbs_in_any_case(open_a, line: str) -> None:
    assert (await (await open_a()).command(line)).code == 200


async def test_blanks_in_front_are_skipped_those_behind_belong_to_the_name(
    open_a, tmp_path
) -> None:
    session = await open_a()
    (tmp_path / "trail ").mkdir()
    assert (await session.command(f"MLST   {tmp_path}/trail ")).code == 250
    assert (await tell(session, f"MLST {tmp_path}/trail")).code == 550


@pytest.mark.parametrize("line", ["TYPE X", "LANG FR"])
async def test_a_reply_broken_in_two_is_resynchronised(open_a, line: str) -> None:
    """GCT repeats the command with its line end inside the quotes."""
    session = await open_a()
    futures = session.submit([line, "PWD", line, "SITE WHOAMI"])
    replies = await session.answers(futures)
    assert [reply.code for reply in replies] == [501, 257, 501, 200]
    with pytest.raises(GridFTPError) as caught:
        session.require(replies[0])
    assert caught.value.kind is Kind.UNSUPPORTED


async def test_commands_are_answered_in_order_whatever_they_take(open_a, tmp_path) -> None:
    session = await open_a()
    with (tmp_path / "f").open("wb") as file:
        file.truncate(50_000_000)
    lines = ["NOOP", f"CKSM MD5 0 -1 {tmp_path}/f", "PWD", "NOSUCH", f"SIZE {tmp_path}/f"]
    replies = await session.answers(session.submit(lines))
    assert [reply.code for reply in replies] == [200, 213, 257, 501, 213]


QUICK = Timeouts(reply_s=0.7)


async def test_a_command_has_its_time_when_those_before_it_are_answered(
    start, domain_a, tmp_path
) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(1 << 30)
    session = await open_at(start(), domain_a, timeouts=QUICK)
    began = asyncio.get_running_loop().time()
    slow = asyncio.create_task(session.checksum(str(large), "MD5", timeout_s=120))
    await asyncio.sleep(0)
    assert (await session.stat(str(large))).size == 1 << 30
    assert asyncio.get_running_loop().time() - began > QUICK.reply_s, "it waited for longer"
    assert slow.done()
    await session.close()


@pytest.mark.parametrize("behind", [True, False])
async def test_a_stopped_session_is_noticed(start, domain_a, tmp_path, behind: bool) -> None:
    """Also by who waits behind a command that may take long."""
    server = start()
    session = await open_at(server, domain_a, timeouts=QUICK)
    (pid,) = server.session_pids()
    os.kill(pid, signal.SIGSTOP)
    try:
        asked = [session.stat("/")]
        if behind:
            asked.insert(0, session.checksum("/etc/hostname", "MD5", timeout_s=1.5))
        async with asyncio.timeout(30):
            errors = await asyncio.gather(*asked, return_exceptions=True)
        assert [error.kind for error in errors] == [Kind.TIMEOUT] * len(asked)
        assert session.closed
    finally:
        os.kill(pid, signal.SIGKILL)


async def test_more_commands_than_a_server_queues_cost_the_session(
    open_a, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why the channel holds back what is more than it may send."""
    monkeypatch.setattr(channel, "MAX_QUEUED_COMMANDS", 10_000)
    session = await open_a()
    futures = session.submit(["NOOP"] * 5000)
    with pytest.raises(GridFTPError) as caught:
        await session.answers(futures)
    assert caught.value.kind in (Kind.CONNECTION_LOST, Kind.PROTOCOL)
    assert session.closed


async def test_clear_text_after_the_login_ends_the_session(open_a) -> None:
    session = await open_a()
    session.channel._write(b"NOOP\r\n")
    async with asyncio.timeout(5):
        await session.channel.lost
    assert session.channel.error is not None
    assert session.channel.error.kind is Kind.CONNECTION_LOST


SAID = [
    ("TYPE I", 200, r"Type set to I\."),
    ("MODE S", 200, r"Mode set to S\."),
    ("MODE E", 200, r"Mode set to E\."),
    ("MODE B", 501, r"'MODE B' unrecognized transfer mode\."),
    ("PBSZ 1048576", 200, r"PBSZ=1048576"),
    ("PROT C", 200, r"Protection level set to C\."),
    ("PROT S", 200, r"Protection level set to S\."),
    ("PROT P", 200, r"Protection level set to P\."),
    ("PROT E", 536, r"E protection level not supported\."),
    ("DCAU N", 200, r"DCAU N\."),
    ("DCAU A", 200, r"DCAU A\."),
    ("DCAU S /O=x/CN=y", 200, r"DCAU S\."),
    ("DCAU Z", 501, r"Bad DCAU mode\."),
    ("DCSC D", 250, r"OK\."),
    ("DCSC P !!!", 500, r"Invalid base64 input for credential type P\."),
    ("DCSC P aGVsbG8=", 500, r"Credential import failed\.\n.*"),
    ("PASV", 227, r"Entering Passive Mode \(127,0,0,1,\d+,\d+\)"),
    ("SPAS", 229, r"Entering Striped Passive Mode\.\n127,0,0,1,\d+,\d+\nEnd"),
    ("EPSV", 229, r"Entering Extended Passive Mode \(\|\|\|\d+\|\)"),
    ("EPSV 1", 229, r"Entering Extended Passive Mode \(\|\|\|\d+\|\)"),
    ("EPSV ALL", 229, r"EPSV ALL Successful\."),
    ("PORT 127,0,0,1,9,9", 200, r"PORT Command successful\."),
    ("PORT 1,2,3", 501, r"Illegal PORT command\."),
    ("SPOR 127,0,0,1,9,9 127,0,0,1,9,8", 200, r"PORT Command successful\."),
    ("EPRT |1|127.0.0.1|5000|", 200, r"PORT Command successful\."),
    ("EPRT |2|::1|5000|", 200, r"PORT Command successful\."),
    ("OPTS RETR Parallelism=4,4,4;", 200, r"OPTS Command Successful\."),
    ("OPTS RETR StripeLayout=Blocked;BlockSize=1048576;", 200, r"OPTS Command Successful\."),
    ("OPTS RETR StripeLayout=Partitioned;", 200, r"OPTS Command Successful\."),
    ("OPTS RETR markers=1;", 200, r"OPTS Command Successful\."),
    ("OPTS PASV AllowDelayed=1;", 200, r"OPTS Command Successful\."),
    ("OPTS NOSUCH x", 500, r"OPTS failed\."),
    ("SBUF 65536", 200, r"SBUF Command Successful\."),
    ("SITE SBUF 65536", 200, r"Site Command Successful\."),
    ("SITE RETRBUFSIZE 65536", 200, r"Site Command Successful\."),
    ("ALLO 100", 200, r"ALLO command successful\."),
    ("TREV PERF 1", 200, r"Command Successful\."),
    ("TREV RESTART 1", 200, r"Command Successful\."),
    ("TREV NOSUCH 1", 502, r"Unsupported event\."),
    ("REST 0-100,200-300", 350, r"Restart Marker OK\. Send STORE or RETR to .*"),
    ("REST x", 501, r"bad parameter\."),
    ("STOR /x", 500, r"Command failed"),
    ("RETR /x", 500, r"Command failed"),
    ("ABOR", 226, r"Abort successful"),
    ("NOSUCH", 501, r"Syntax error in parameters or arguments\."),
    ("SITE NOSUCH", 500, r"Invalid command\."),
    ("SITE SYMLINK a b", 500, r"Invalid command\."),
    ("RNTO /x", 501, r"Invalid command arguments\."),
    ("SITE DSI nosuch", 500, r"no such DSI"),
    ("SCKS MD5 00", 200, r"OK\."),
    ("SITE STORATTR modify=20200102030405;", 250, r"OK\."),
    ("QUIT", 221, r"Goodbye\."),
]


@pytest.mark.parametrize(("line", "code", "text"), SAID, ids=[row[0] for row in SAID])
async def test_said(open_a, line: str, code: int, text: str) -> None:
    told = await tell(await open_a(), line)
    assert told.code == code
    assert re.fullmatch(text, told.text, re.DOTALL), told.text


async def test_delayed_passive_tells_its_address_when_data_comes(pair: Pair, tmp_path) -> None:
    (tmp_path / "a").write_bytes(b"hello")
    await pair.set_both("DCAU N")
    reply = await pair.destination.command("OPTS PASV AllowDelayed=1;")
    reply = await pair.destination.command("PASV")
    assert (reply.code, reply.text) == (200, "Passive delayed.")
    addresses: asyncio.Queue[str] = asyncio.Queue()
    (stored,) = pair.destination.submit(
        [f"STOR {tmp_path}/b"], lambda reply: addresses.put_nowait(f"{reply.code} {reply.text}")
    )
    async with asyncio.timeout(5):
        told = await addresses.get()
    numbers = re.fullmatch(r"127 Entering Passive Mode \((.*)\)", told)
    assert numbers is not None
    await pair.source.command(f"PORT {numbers[1]}")
    assert (await tell(pair.source, f"RETR {tmp_path}/a")).code == 226
    assert (await stored).code == 226
    assert (tmp_path / "b").read_bytes() == b"hello"


# -- the login


@pytest.mark.parametrize("delegate", [False, True], ids=["", "delegating"])
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
async def test_login(start, domain_a, version: str, delegate: bool) -> None:
    name = version.upper().replace("V", "").replace(".", "_") + "_VERSION"
    server = start(env={"GLOBUS_GSSAPI_MAX_TLS_PROTOCOL": name})
    session = await open_at(server, domain_a, delegate=delegate)
    assert session.channel._security._tls.version() == version
    assert session.peer_subject == "/O=DomA/CN=localhost"
    assert await session.working_directory() == session.home
    assert "Grid Community Toolkit" in await session.server_version()
    assert await session.close()


@pytest.mark.parametrize(
    ("delegate", "subject", "code"),
    [
        (True, "/O=DomA/CN=Alice", 226),
        (True, "/O=DomA/CN=localhost", 500),
        (False, "/O=DomA/CN=Alice", 500),
    ],
)
async def test_what_is_delegated_is_used(
    open_a, tmp_path, delegate: bool, subject: str, code: int
) -> None:
    """Both ends show what they have on the data channel: Alice's proxy, if it was delegated."""
    (tmp_path / "a").write_bytes(b"hello")
    source, destination = await asyncio.gather(open_a(delegate=delegate), open_a(delegate=delegate))
    pair = Pair(source, destination)
    await pair.set_both(f"DCAU S {subject}", "PBSZ 1048576", "PROT P")
    await pair.connect()
    here, there = await pair.move(f"RETR {tmp_path}/a", f"STOR {tmp_path}/b", timeout_s=5)
    assert here.code == code
    assert there.code == code
    if code != 226:
        with pytest.raises(GridFTPError) as caught:
            source.require(here.final)
        assert caught.value.kind is Kind.DATA_AUTH
    await source.close()


async def test_anonymous_in_clear_text(start, domain_a) -> None:
    server = start(*ANONYMOUS)
    session = await open_at(server, domain_a, credential=None)
    assert await session.whoami() == "anonymous"
    assert session.features.dcsc
    assert "SHA256" in session.features.checksums
    with_tls = await open_at(server, domain_a)
    assert with_tls.features == session.features
    assert await with_tls.whoami() != "anonymous"
    await asyncio.gather(session.close(), with_tls.close())


async def test_clear_text_where_it_is_not_offered(server_a, domain_a) -> None:
    error = await refused(server_a, domain_a, credential=None)
    assert (error.kind, error.permanent) == (Kind.LOGIN, True)
    assert "Must perform GSSAPI authentication" in (error.reply or "")


async def test_a_credential_that_has_expired_for_the_server(server_a, domain_a) -> None:
    """Our clock is slow, the server's is right."""
    then = datetime.now(UTC) - timedelta(minutes=45)
    proxy = domain_a.make_proxy(timedelta(minutes=10), now=then)
    error = await refused(server_a, domain_a, credential=proxy, clock=lambda: then)
    assert error.kind is Kind.CREDENTIAL_EXPIRED
    assert "has expired" in (error.reply or "")


async def test_a_credential_that_was_revoked(start, tmp_path, tmp_path_factory) -> None:
    domain = Domain.create(tmp_path_factory.mktemp("revoking"), "DomR")
    trust, credential = domain.trust, domain.credential
    domain.revoke(domain.user)
    error = await refused(start(domain=domain), domain, credential=credential, trust=trust)
    assert (error.kind, error.permanent) == (Kind.AUTHENTICATION, True)
    assert "revoked" in (error.reply or "")


async def test_whoami_version_task_and_client(start, domain_a, tmp_path) -> None:
    server = start("-d", "ALL")
    session = await open_at(server, domain_a)
    await session.set_task_id("task-4711")
    await session.set_client_info("towpath", "0.1")
    (tmp_path / "a").write_bytes(b"hello")
    assert await session.checksum(f"{tmp_path}/a", "MD5") == "5d41402abc4b2a76b9719d911017c592"
    await session.close()
    log = (server.workdir / "server.log").read_text(errors="replace")
    assert "SITE TASKID task-4711" in log
    assert 'appname="towpath"' in log


async def test_banner_and_welcome_of_many_lines(start, domain_a, tmp_path) -> None:
    """Lines in them may look like replies."""
    words = tmp_path / "words"
    words.write_text("Welcome.\n 220 is a number\n230-and so is this\n")
    server = start("-banner-file", str(words), "-login-msg-file", str(words), *ANONYMOUS)
    for credential in (domain_a.credential, None):
        session = await open_at(server, domain_a, credential=credential)
        assert (await session.command("NOOP")).code == 200
        await session.close()


async def test_a_server_that_is_offline(start, domain_a) -> None:
    error = await refused(start("-connections-disabled"), domain_a)
    assert (error.kind, error.permanent) == (Kind.CONNECT, False)
    assert "422 Service temporarily offline" in (error.reply or "")


async def test_an_idle_session_is_told_421_one_with_noops_is_not(start, domain_a, tmp_path) -> None:
    server = start("-control-idle-timeout", "1")
    idle, busy, storing = await asyncio.gather(*(open_at(server, domain_a) for _ in range(3)))
    await storing.answers(storing.submit(["DCAU N", "PASV"]))
    (stored,) = storing.submit([f"STOR {tmp_path}/never"])
    async with asyncio.timeout(10):
        while not idle.closed:
            await busy.command("NOOP")
            await asyncio.sleep(0.2)
    error = idle.channel.error
    assert error is not None
    assert (error.kind, error.permanent) == (Kind.CONNECTION_LOST, False)
    assert "421 Idle Timeout" in (error.reply or "")
    await busy.command("NOOP")
    assert not storing.closed, "waiting for a sender, without limit, is not idle"
    assert not stored.done()
    await asyncio.gather(busy.close(), storing.close())
    with pytest.raises(GridFTPError) as caught:
        await idle.command("NOOP")
    assert caught.value is error


# -- rules


async def test_a_restricted_session_is_narrow_for_good(open_a, tmp_path) -> None:
    for name in ("write", "read", "none"):
        (tmp_path / name).mkdir()
    session = await open_a()
    await session.restrict(f"RW{tmp_path}/write,R{tmp_path}/read")
    await session.mkdir(f"{tmp_path}/write/new")
    await session.stat(f"{tmp_path}/read")
    for refused_call in (
        session.mkdir(f"{tmp_path}/read/new"),
        session.stat(f"{tmp_path}/none"),
        session.checksum(f"{tmp_path}/none/x", "MD5"),
        session.rename(f"{tmp_path}/write/new", f"{tmp_path}/none/new"),
        session.delete_tree(f"{tmp_path}/read"),
        session.mkdir(f"{tmp_path}/write/../none/x"),
    ):
        with pytest.raises(GridFTPError) as caught:
            await refused_call
        assert caught.value.kind is Kind.PATH_NOT_ALLOWED
    listed = [e.name async for batch in session.list(str(tmp_path)) for e in batch]
    assert sorted(listed) == ["read", "write"]
    with pytest.raises(GridFTPError, match="already set"):
        await session.restrict("RW/")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["new", "none", "read", "write"]


@pytest.mark.parametrize("verb", ["MLST", "MLSC", "SIZE", "MDTM", "MKD", "DELE", "RNFR", "CWD"])
async def test_path_rules_of_a_server(start, domain_a, tmp_path, verb: str) -> None:
    server = start("-rp", f"R{tmp_path}/read")
    session = await open_at(server, domain_a)
    with pytest.raises(GridFTPError) as caught:
        await session.command(f"{verb} {tmp_path}/other")
    assert (caught.value.kind, caught.value.permanent) == (Kind.PATH_NOT_ALLOWED, True)
    await session.close()


async def test_commands_a_server_has_switched_off(start, domain_a, tmp_path) -> None:
    server = start("-disable-command-list", "CKSM,MLSC")
    session = await open_at(server, domain_a)
    with pytest.raises(GridFTPError) as caught:
        await session.checksum(f"{tmp_path}/x", "MD5")
    assert caught.value.kind is Kind.CHECKSUM_UNSUPPORTED
    with pytest.raises(GridFTPError) as caught:
        await anext(session.list(str(tmp_path)))
    assert caught.value.kind is Kind.UNSUPPORTED
    await session.command("NOOP")
    await session.close()
