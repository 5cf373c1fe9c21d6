"""Our MyProxy client against the real server, in both of its modes, and beside the official one."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from plugins.myproxy import PASSWORDS, STORE, MyProxyServer, serving
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.gridftp.client.dial import Server, default_dial
from towpath.gridftp.client.myproxy import MyProxy
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.trust import TrustRoots

PASSPHRASE = "correct horse"
ALICE = "/O=DomA/CN=Alice"


def client(server: MyProxyServer, **options: object) -> MyProxy:
    given: dict = {"trust": server.domain.trust, **options}
    return MyProxy(Server("localhost", server.port), **given)


async def account_of(credential: Credential, server: GctServer, domain: Domain) -> str:
    """Log in to a GridFTP server; the account there."""
    where = Server("localhost", server.port)
    session = await Session.open(where, credential=credential, trust=domain.trust)
    try:
        return (await session.command("SITE WHOAMI")).text
    finally:
        await session.close()


def soon(moment: datetime, lifetime: timedelta) -> bool:
    return abs(moment - datetime.now(UTC) - lifetime) < timedelta(minutes=2)


async def refusal(work: object, kind: Kind, *words: str) -> GridFTPError:
    """It fails so, and says these words and no pass phrase."""
    with pytest.raises(GridFTPError) as caught:
        await work  # type: ignore[misc]
    error = caught.value
    assert error.kind is kind, error
    assert error.where.startswith("localhost:")
    for word in words:
        assert word in str(error)
    for secret in (PASSPHRASE, "battery staple", "wrong phrase"):
        assert secret not in f"{error} {error!r} {error.__cause__!r}"
    return error


@pytest.mark.parametrize("version", ["TLS1_2_VERSION", "TLS1_3_VERSION"])
async def test_store_then_logon(
    domain_a: Domain, server_a: GctServer, tmp_path: Path, version: str
) -> None:
    tls = {f"GLOBUS_GSSAPI_{end}_TLS_PROTOCOL": version for end in ("MIN", "MAX")}
    with serving(domain_a, tmp_path / "myproxy", STORE, tls) as server:
        myproxy = client(server)
        until = await myproxy.store(
            "alice", PASSPHRASE, credential=domain_a.user.credential(), lifetime=timedelta(days=3)
        )
        assert soon(until, timedelta(days=3))
        got = await myproxy.logon("alice", PASSPHRASE, lifetime=timedelta(hours=2))
    assert got.subject == ALICE
    assert soon(got.not_after, timedelta(hours=2))
    assert await account_of(got, server_a, domain_a)


async def test_online_authority(
    myproxy_authority: MyProxyServer, server_a: GctServer, domain_a: Domain
) -> None:
    got = await client(myproxy_authority).logon("alice", PASSWORDS["alice"])
    assert got.subject == ALICE
    assert len(got.certificates) == 1
    assert soon(got.not_after, timedelta(hours=12))
    assert await account_of(got, server_a, domain_a)
    longer = await client(myproxy_authority).logon(
        "alice", PASSWORDS["alice"], lifetime=timedelta(days=30)
    )
    assert soon(longer.not_after, timedelta(hours=24)), "the server's own maximum"


async def test_a_proxy_of_a_proxy_is_stored_and_never_outlives_it(
    myproxy_store: MyProxyServer, server_a: GctServer, domain_a: Domain
) -> None:
    proxy = domain_a.make_proxy(timedelta(hours=5))
    myproxy = client(myproxy_store)
    until = await myproxy.store("alice", PASSPHRASE, credential=proxy)
    assert until == proxy.not_after
    got = await myproxy.logon("alice", PASSPHRASE, lifetime=timedelta(hours=12))
    assert got.not_after == proxy.not_after
    assert await account_of(got, server_a, domain_a)


async def test_longest_life_of_what_a_logon_gives(
    myproxy_store: MyProxyServer, domain_a: Domain
) -> None:
    myproxy = client(myproxy_store)
    await myproxy.store(
        "alice",
        PASSPHRASE,
        credential=domain_a.user.credential(),
        logon_lifetime=timedelta(hours=1),
    )
    got = await myproxy.logon("alice", PASSPHRASE, lifetime=timedelta(hours=10))
    assert soon(got.not_after, timedelta(hours=1))


async def test_several_credentials_of_one_user(
    myproxy_store: MyProxyServer, domain_a: Domain
) -> None:
    own = domain_a.user.credential()
    myproxy = client(myproxy_store)
    await refusal(myproxy.info("alice", credential=own), Kind.LOGIN, "no credentials found")
    await myproxy.store("alice", PASSPHRASE, credential=own)
    await myproxy.store(
        "alice",
        "battery staple",
        credential=own,
        name="travel",
        description="für unterwegs",
        lifetime=timedelta(hours=3),
    )
    first, second = await myproxy.info("alice", credential=own)
    assert (first.name, first.owner, first.description) == ("", ALICE, "")
    assert (second.name, second.owner) == ("travel", ALICE)
    assert second.description == "für unterwegs"
    now = datetime.now(UTC).timestamp()
    assert abs(first.ends_unix_s - now - 7 * 86400) < 120
    assert abs(second.ends_unix_s - now - 3 * 3600) < 120
    assert second.starts_unix_s < now

    await refusal(myproxy.logon("alice", PASSPHRASE, name="travel"), Kind.LOGIN)
    assert (await myproxy.logon("alice", "battery staple", name="travel")).subject == ALICE
    await myproxy.destroy("alice", credential=own, name="travel")
    assert [item.name for item in await myproxy.info("alice", credential=own)] == [""]
    await refusal(
        myproxy.destroy("alice", credential=own, name="travel"), Kind.LOGIN, "do not exist"
    )


async def test_a_changed_pass_phrase(myproxy_store: MyProxyServer, domain_a: Domain) -> None:
    own = domain_a.user.credential()
    myproxy = client(myproxy_store)
    await myproxy.store("alice", PASSPHRASE, credential=own)
    await refusal(
        myproxy.change_passphrase("alice", "wrong phrase", "battery staple", credential=own),
        Kind.LOGIN,
    )
    await myproxy.change_passphrase("alice", PASSPHRASE, "battery staple", credential=own)
    await refusal(myproxy.logon("alice", PASSPHRASE), Kind.LOGIN)
    assert (await myproxy.logon("alice", "battery staple")).subject == ALICE


async def test_what_the_store_refuses(myproxy_store: MyProxyServer, domain_a: Domain) -> None:
    own = domain_a.user.credential()
    stranger = domain_a.issue("bob", "Bob").credential()
    myproxy = client(myproxy_store)
    await myproxy.store("alice", PASSPHRASE, credential=own)
    for wrong in ("wrong phrase", "", "x"):
        error = await refusal(myproxy.logon("alice", wrong), Kind.LOGIN)
        assert error.permanent
    await refusal(myproxy.logon("nobody", PASSPHRASE), Kind.LOGIN, "No credentials exist", "nobody")
    await refusal(myproxy.logon("", PASSPHRASE), Kind.LOGIN, "Invalid username")
    await refusal(myproxy.logon("alice", PASSPHRASE, name="x"), Kind.LOGIN, "No credentials exist")
    await refusal(
        myproxy.store("alice", "battery staple", credential=stranger), Kind.LOGIN, "not owned by"
    )
    await refusal(myproxy.destroy("alice", credential=stranger), Kind.LOGIN, "not owned by")
    await refusal(
        myproxy.change_passphrase("alice", PASSPHRASE, "battery staple", credential=stranger),
        Kind.LOGIN,
        "does not own",
    )
    await refusal(
        myproxy.store("alice", PASSPHRASE, credential=own, lifetime=timedelta(days=29)),
        Kind.LOGIN,
        "exceeds maximum",
    )
    # all of that has changed nothing
    assert (await myproxy.logon("alice", PASSPHRASE)).subject == ALICE


@pytest.mark.parametrize("short", ["", "x", "12345"])
async def test_a_short_pass_phrase_is_told_without_asking(domain_a: Domain, short: str) -> None:
    async def dial(host: str, port: int) -> socket.socket:
        raise AssertionError("dialled")

    own = domain_a.credential
    myproxy = MyProxy(Server("localhost", 1), domain_a.trust, dial=dial)
    await refusal(myproxy.store("alice", short, credential=own), Kind.LOGIN, "6 characters")
    await refusal(
        myproxy.change_passphrase("alice", PASSPHRASE, short, credential=own),
        Kind.LOGIN,
        "6 characters",
    )


def test_the_server_has_the_same_idea_of_a_short_pass_phrase(
    myproxy_store: MyProxyServer, domain_a: Domain
) -> None:
    for passphrase, taken in (("12345", False), ("123456", True)):
        done = official("init", myproxy_store, domain_a, "-l", "alice", said=passphrase)
        assert (done.returncode == 0) is taken, done.stderr


async def test_what_the_online_authority_refuses(
    myproxy_authority: MyProxyServer, domain_a: Domain
) -> None:
    myproxy = client(myproxy_authority)
    own = domain_a.credential
    await refusal(myproxy.logon("alice", "wrong phrase"), Kind.LOGIN, "invalid password")
    await refusal(myproxy.logon("alice", ""), Kind.LOGIN)
    for user in ("mallory", "nobody"):
        await refusal(myproxy.logon(user, "battery staple"), Kind.LOGIN, "unknown username")
    await refusal(myproxy.store("alice", PASSPHRASE, credential=own), Kind.LOGIN, "not authorized")
    await refusal(myproxy.trust_roots(), Kind.UNSUPPORTED, "no trust roots")


async def test_servers_that_are_not_trusted_get_no_pass_phrase(
    myproxy_store: MyProxyServer, domain_a: Domain, domain_b: Domain
) -> None:
    own = domain_a.user.credential()
    await client(myproxy_store).store("alice", PASSPHRASE, credential=own)
    stranger = client(myproxy_store, trust=domain_b.trust)
    await refusal(stranger.logon("alice", PASSPHRASE), Kind.UNTRUSTED_HOST, "not trusted")

    async def dial(_host: str, port: int) -> socket.socket:
        return await default_dial("127.0.0.1", port)

    for host, subject in (("myproxy.example.org", None), ("localhost", "/O=DomA/CN=other")):
        other = MyProxy(Server(host, myproxy_store.port, subject), domain_a.trust, dial=dial)
        with pytest.raises(GridFTPError) as caught:
            await other.logon("alice", PASSPHRASE)
        assert caught.value.kind is Kind.UNTRUSTED_HOST
    named = Server("myproxy.example.org", myproxy_store.port, "/O=DomA/CN=localhost")
    got = await MyProxy(named, domain_a.trust, dial=dial).logon("alice", PASSPHRASE)
    assert got.subject == ALICE
    assert myproxy_store.log.count("Received GET request") == 1


@pytest.mark.parametrize("name", ["host/localhost", "myproxy/localhost", "localhost"])
async def test_historic_names_of_servers(
    domain_a: Domain, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without alternative names the common name counts, which may begin with the service's."""
    key = rsa.generate_private_key(65537, 2048)
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(x509.Name.from_rfc4514_string(f"CN={name},O=DomA"))
        .issuer_name(domain_a.user.credential().certificates[0].issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(domain_a.authority.credential().private_key, hashes.SHA256())
    )
    made = Credential.from_pem(
        signed.public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    monkeypatch.setattr(Domain, "host", domain_a._write(name.replace("/", "-"), made))
    with serving(domain_a, tmp_path / "myproxy", STORE) as server:
        await refusal(
            client(server).logon("nobody", PASSPHRASE), Kind.LOGIN, "No credentials exist"
        )


async def test_a_credential_that_the_server_does_not_trust(
    myproxy_store: MyProxyServer, domain_b: Domain
) -> None:
    myproxy = client(myproxy_store)
    stranger = domain_b.credential
    kinds = set()
    for _ in range(5):
        for work in (
            myproxy.info("alice", credential=stranger),
            myproxy.store("alice", PASSPHRASE, credential=stranger),
        ):
            with pytest.raises(GridFTPError) as caught:
                await work
            kinds.add(caught.value.kind)
    # It hangs up without reading our request: once in hundreds of times the reset is faster than
    # what it says.
    assert Kind.AUTHENTICATION in kinds
    assert kinds <= {Kind.AUTHENTICATION, Kind.CONNECTION_LOST}


async def test_what_has_expired(myproxy_store: MyProxyServer, domain_a: Domain) -> None:
    myproxy = client(myproxy_store)
    old = domain_a.make_proxy(timedelta(minutes=10), now=datetime.now(UTC) - timedelta(minutes=50))
    await refusal(myproxy.store("alice", PASSPHRASE, credential=old), Kind.CREDENTIAL_EXPIRED)
    assert not myproxy_store.log, "the server was asked"

    until = await myproxy.store(
        "alice",
        PASSPHRASE,
        credential=domain_a.user.credential(),
        lifetime=timedelta(seconds=2),
    )
    await asyncio.sleep((until - datetime.now(UTC)).total_seconds() + 0.1)
    await refusal(myproxy.logon("alice", PASSPHRASE), Kind.CREDENTIAL_EXPIRED, "has expired")


async def test_trust_roots(myproxy_store: MyProxyServer, domain_a: Domain, tmp_path: Path) -> None:
    files = await client(myproxy_store).trust_roots()
    there = {file.name: file.read_bytes() for file in domain_a.trust_dir.iterdir()}
    assert files == there


async def test_many_at_once(myproxy_store: MyProxyServer, domain_a: Domain) -> None:
    myproxy = client(myproxy_store)
    await myproxy.store("alice", PASSPHRASE, credential=domain_a.user.credential())
    got = await asyncio.gather(*(myproxy.logon("alice", PASSPHRASE) for _ in range(8)))
    assert len({credential.key_pem for credential in got}) == 8


# -- beside the official client


def official(
    tool: str, server: MyProxyServer, domain: Domain, *arguments: str, said: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [f"myproxy-{tool}", "-S", "-s", "localhost", "-p", str(server.port), *arguments],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(server.workdir),
            "X509_CERT_DIR": str(domain.trust_dir),
            "X509_USER_CERT": str(domain.user.certificate_file),
            "X509_USER_KEY": str(domain.user.key_file),
        },
        input=said + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_what_one_client_stores_the_other_gets(
    myproxy_store: MyProxyServer, server_a: GctServer, domain_a: Domain, tmp_path: Path
) -> None:
    done = official("init", myproxy_store, domain_a, "-l", "theirs", said=PASSPHRASE)
    assert done.returncode == 0, done.stderr
    myproxy = client(myproxy_store)
    got = await myproxy.logon("theirs", PASSPHRASE)
    assert await account_of(got, server_a, domain_a)

    await myproxy.store("ours", PASSPHRASE, credential=domain_a.user.credential())
    out = tmp_path / "out.pem"
    done = official("logon", myproxy_store, domain_a, "-l", "ours", "-o", str(out), said=PASSPHRASE)
    assert done.returncode == 0, done.stderr
    got = Credential.from_proxy_file(out)
    assert await account_of(got, server_a, domain_a)


# -- the command

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def towpath(domain_a: Domain, tmp_path: Path) -> Run:
    def run(*arguments: str, said: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "towpath.cli", "myproxy", *arguments],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "LOGNAME": "alice",
                "X509_USER_PROXY": str(tmp_path / "proxy"),
                "X509_CERT_DIR": str(domain_a.trust_dir),
                **variables,
            },
            input=said,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_command_logon(towpath: Run, myproxy_authority: MyProxyServer, tmp_path: Path) -> None:
    done = towpath(
        "logon", "--stdin-pass", said=PASSWORDS["alice"], MYPROXY_SERVER=myproxy_authority.address
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{tmp_path / 'proxy'}: {ALICE}, valid until ")
    assert (tmp_path / "proxy").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.glob(".proxy*")] == []
    before = (tmp_path / "proxy").read_bytes()

    done = towpath("logon", "-s", myproxy_authority.address, "--stdin-pass", said="wrong phrase")
    assert done.returncode == 1
    assert "invalid password" in done.stderr
    assert "Check the user name" in done.stderr
    assert "wrong phrase" not in done.stdout + done.stderr
    assert (tmp_path / "proxy").read_bytes() == before


def test_command_says_what_is_wrong_with_its_arguments(towpath: Run, tmp_path: Path) -> None:
    for server in ("", ":7512", "localhost:0", "localhost:x", "localhost:70000", "[::1]:"):
        done = towpath("logon", "-s", server, "--stdin-pass")
        assert done.returncode == 2, server
        assert "Traceback" not in done.stderr
    done = towpath("logon", "--stdin-pass")
    assert "--server" in done.stderr
    done = towpath("store", "-s", "localhost:1", "--stdin-pass", said="x")
    assert "no credential at" in done.stderr
    done = towpath("logon", "-s", "localhost:1", "--stdin-pass", X509_CERT_DIR=str(tmp_path))
    assert "no trusted authority" in done.stderr


@pytest.mark.parametrize(
    ("port", "server"), [("7777", "127.0.0.1"), ("7778", "[::1]"), ("7779", "127.0.0.1:7779")]
)
def test_command_names_the_server_that_it_asks(towpath: Run, port: str, server: str) -> None:
    done = towpath("logon", "-s", server, "--stdin-pass", said="x", MYPROXY_SERVER_PORT=port)
    assert f":{port}: cannot connect" in done.stderr


def test_command_keeps_a_credential(
    towpath: Run, myproxy_store: MyProxyServer, domain_a: Domain, tmp_path: Path
) -> None:
    where = {"MYPROXY_SERVER": myproxy_store.address}
    own = ("--credential", str(domain_a.proxy_file))
    done = towpath("store", *own, "-d", "a\x1b[31mb", "--stdin-pass", said=PASSPHRASE, **where)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Stored: {ALICE}, valid until ")
    done = towpath("info", *own, **where)
    assert done.returncode == 0, done.stderr
    assert f"{ALICE}  a\\x1b[31mb" in done.stdout
    assert done.stdout.startswith("-            valid until ")
    done = towpath("passwd", *own, "--stdin-pass", said=f"{PASSPHRASE}\nbattery staple\n", **where)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    words = ("logon", "-o", str(out), "--stdin-pass")
    assert towpath(*words, said=PASSPHRASE, **where).returncode == 1
    assert not out.exists()
    assert towpath(*words, said="battery staple\r\n", **where).returncode == 0
    assert Credential.from_proxy_file(out).subject == ALICE
    assert towpath("destroy", *own, **where).returncode == 0
    assert towpath("destroy", *own, **where).returncode == 1


def test_command_trustroots(
    towpath: Run, myproxy_store: MyProxyServer, domain_a: Domain, tmp_path: Path
) -> None:
    into = tmp_path / "new" / "certificates"
    where = ("-s", myproxy_store.address, "--into", str(into))
    done = towpath("trustroots", *where)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{into}: 2 files, 1 authorities\n"
    assert TrustRoots.from_directory(into).files == domain_a.trust.files
    assert {file.stat().st_mode & 0o777 for file in into.iterdir()} == {0o644}


def test_command_changes_no_trust_roots_for_ones_that_make_no_sense(
    towpath: Run, domain_a: Domain, tmp_path: Path
) -> None:
    given = tmp_path / "given"
    given.mkdir(mode=0o755)
    (given / "0123abcd.0").write_text("no certificate")
    (given / "0123abcd.0").chmod(0o644)
    config = STORE.replace("{domain}/certificates", str(given))
    into = tmp_path / "into"
    into.mkdir()
    (into / "0123abcd.0").write_text("before")
    with serving(domain_a, tmp_path / "myproxy", config) as server:
        done = towpath("trustroots", "-s", server.address, "--into", str(into))
    assert done.returncode == 1
    assert "0123abcd.0" in done.stderr
    assert [(file.name, file.read_text()) for file in into.iterdir()] == [("0123abcd.0", "before")]
