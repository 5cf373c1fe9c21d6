"""Separation of privileges, with real processes and real accounts: needs root."""

import asyncio
import contextlib
import os
import pwd
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from plugins.as_root import Launched, launched
from plugins.front import Client, until
from towpath.demo.authority import Domain
from towpath.gridftp.server.privileges import PrivilegeError, become, require_unprivileged

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def workdir(open_tmp_path: Path) -> Path:
    return open_tmp_path


def sockets_of(pid: int) -> set[str]:
    found = {str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()}
    return {one for one in found if one.startswith("socket:")}


@contextlib.asynccontextmanager
async def session(
    running: Launched, domain: Domain, account: str, *, delegate: bool = False
) -> AsyncIterator[Client]:
    async with await Client.connect(running.port) as client:
        await client.authenticate(domain.credential, domain.trust, delegate=delegate)
        client.send_wrapped(b"USER " + account.encode(), b"PASS x")
        assert await client.codes(2) == [331, 230]
        yield client


async def pid_of(running: Launched, account: str) -> int:
    """Of its one process, which may be about to become that account."""
    await until(lambda: account in running.pids())
    (pid,) = running.pids()[account]
    return pid


def gone(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until_gone(*pids: int) -> None:
    until = time.monotonic() + 30
    while not all(map(gone, pids)):
        assert time.monotonic() < until
        time.sleep(0.02)


async def test_each_account_has_a_process_of_its_own(domain_a: Domain, workdir: Path) -> None:
    with launched(domain_a, workdir) as running:
        await until(lambda: set(running.pids()) == {"nobody"})
        async with (
            session(running, domain_a, "daemon") as first,
            session(running, domain_a, "games") as second,
            session(running, domain_a, "games") as third,
        ):
            for client, account in ((first, "daemon"), (second, "games"), (third, "games")):
                entry = pwd.getpwnam(account)
                text = (await client.ask_wrapped(b"WHO")).text
                assert text == f"{entry.pw_uid} {entry.pw_gid} {account} {entry.pw_dir} False"
            pids = running.pids()
            assert {name: len(found) for name, found in pids.items()} == {
                "nobody": 1,
                "daemon": 1,
                "games": 1,
            }
            for name, (pid,) in pids.items():
                status = Path(f"/proc/{pid}/status").read_text()
                uid = str(pwd.getpwnam(name).pw_uid)
                assert status.split("Uid:")[1].split()[:4] == [uid] * 4
                assert "NoNewPrivs:\t1" in status
                for capabilities in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                    assert int(status.split(f"{capabilities}:")[1].split()[0], 16) == 0
            # Neither the control connections nor the listening socket is known to a session.
            (games,) = pids["games"]
            assert sockets_of(games).isdisjoint(sockets_of(pids["nobody"][0]))


async def test_a_delegated_credential_reaches_its_account(domain_a: Domain, workdir: Path) -> None:
    with launched(domain_a, workdir) as running:
        async with session(running, domain_a, "games", delegate=True) as client:
            assert (await client.ask_wrapped(b"WHO")).text.endswith(" False /O=DomA/CN=Alice")


@pytest.mark.parametrize("last", [b"QUIT", b"DIE"])
async def test_a_session_that_ends_is_over_at_once(
    domain_a: Domain, workdir: Path, last: bytes
) -> None:
    """Also the first of its account: its socket is in no other process, nor there twice."""
    with launched(domain_a, workdir) as running:
        for _ in range(2):
            async with session(running, domain_a, "games") as client:
                client.send_wrapped(last)
                assert await client.all_codes() == [221 if last == b"QUIT" else 421]
        pid = await pid_of(running, "games")
        assert len(sockets_of(pid)) <= 3  # its link, and two of the event loop's own


async def test_a_process_that_is_killed_is_started_again(domain_a: Domain, workdir: Path) -> None:
    with launched(domain_a, workdir) as running:
        async with session(running, domain_a, "games") as client:
            pid = await pid_of(running, "games")
            os.kill(pid, signal.SIGKILL)
            assert await client.all_codes() == [421]
        await asyncio.to_thread(wait_until_gone, pid)
        async with session(running, domain_a, "games") as client:
            assert (await client.ask_wrapped(b"PWD")).code == 200
            assert running.pids()["games"] != [pid]


@pytest.mark.long
async def test_an_idle_process_ends_and_comes_back(domain_a: Domain, workdir: Path) -> None:
    with launched(domain_a, workdir, "account_idle_s=0.2") as running:
        async with session(running, domain_a, "games") as client:
            pid = await pid_of(running, "games")
            await asyncio.sleep(0.5)
            assert not gone(pid)  # it has a session
            client.send_wrapped(b"QUIT")
            assert await client.all_codes() == [221]
        await asyncio.to_thread(wait_until_gone, pid)
        for _ in range(30):  # some come while the process is about to end
            async with session(running, domain_a, "games") as client:
                assert (await client.ask_wrapped(b"PWD")).code == 200
            await asyncio.sleep(0.19)


async def test_an_old_process_takes_no_more_sessions(domain_a: Domain, workdir: Path) -> None:
    """Its account may have left a group since; the sessions that it has go on."""
    with launched(domain_a, workdir, "account_age_s=0") as running:
        async with session(running, domain_a, "games") as client:
            old = await pid_of(running, "games")
            async with session(running, domain_a, "games") as other:
                assert (await other.ask_wrapped(b"PWD")).code == 200
                assert (await client.ask_wrapped(b"PWD")).code == 200
                assert len(running.pids()["games"]) == 2
                client.send_wrapped(b"QUIT")
                assert await client.all_codes() == [221]
                await asyncio.to_thread(wait_until_gone, old)
                assert (await other.ask_wrapped(b"PWD")).code == 200


async def test_nobody_becomes_the_user_of_the_acceptor(domain_a: Domain, workdir: Path) -> None:
    with launched(domain_a, workdir) as running:
        async with session(running, domain_a, "nobody") as client:
            assert await client.all_codes() == [421]
        assert "is the user of another part" in running.log.read_text()


async def test_too_many_processes(domain_a: Domain, workdir: Path) -> None:
    with launched(domain_a, workdir, "account_processes=1") as running:
        async with (
            session(running, domain_a, "games") as first,
            session(running, domain_a, "daemon") as second,
        ):
            assert await second.all_codes() == [421]
            assert (await first.ask_wrapped(b"PWD")).code == 200
        assert "too many processes" in running.log.read_text()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_all_die_with_the_launcher(
    domain_a: Domain, workdir: Path, how: signal.Signals
) -> None:
    with launched(domain_a, workdir) as running:
        async with session(running, domain_a, "games") as client:
            pids = [await pid_of(running, account) for account in ("nobody", "games")]
            running.process.send_signal(how)
            assert await client.all_codes() in ([], [421])
        await asyncio.to_thread(wait_until_gone, *pids)
        assert running.process.wait() == (0 if how == signal.SIGTERM else -how)


async def test_all_end_with_the_acceptor(domain_a: Domain, workdir: Path) -> None:
    with launched(domain_a, workdir) as running:
        async with session(running, domain_a, "games") as client:
            pids = [await pid_of(running, account) for account in ("nobody", "games")]
            os.kill(pids[0], signal.SIGKILL)
            assert await client.all_codes() == []
        await asyncio.to_thread(wait_until_gone, *pids)
        assert running.process.wait() == 1


async def test_a_taken_over_acceptor_gets_no_other_account(domain_a: Domain, workdir: Path) -> None:
    with launched(domain_a, workdir, "--rogue") as running:
        async with await Client.connect(running.port) as client:
            await client.log_in(domain_a)
            assert await client.all_codes() == [421]
        log = running.log.read_text()
        for account in ("root", "bin", "no-such", ""):
            assert f"no process for {account!r}: nobody may use it" in log
        assert set(running.pids()) == {"nobody"}


def in_child(run: object) -> str:
    """What it raises in a forked child, `none` if nothing."""
    assert callable(run)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        text = "none"
        try:
            run()
        except BaseException as error:  # noqa: BLE001
            text = f"{type(error).__name__}: {error}"
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading) as file:
        return file.read()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_becoming() -> None:
    me = os.getpid()
    assert in_child(lambda: become("games", parent=me)) == "none"
    assert "is root" in in_child(lambda: become("root", parent=me))
    uid = pwd.getpwnam("games").pw_uid
    assert "another part" in in_child(lambda: become("games", parent=me, never=uid))
    assert "no account" in in_child(lambda: become("no-such", parent=me))
    assert "parent is gone" in in_child(lambda: become("games", parent=1))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_half_unprivileged_is_not_enough() -> None:
    uid = pwd.getpwnam("games").pw_uid
    assert "still root" in in_child(require_unprivileged)
    assert "still root" in in_child(lambda: (os.seteuid(uid), require_unprivileged()))
    # Without no_new_privs a program with the set-user-ID bit would be a way.
    assert "gain privileges" in in_child(
        lambda: (os.setresuid(uid, uid, uid), require_unprivileged())
    )
    with pytest.raises(PrivilegeError):
        require_unprivileged()
