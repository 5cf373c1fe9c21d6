"""Grants that end, are renewed, or are taken away while commands run: our server, our client."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.granting import Granting, granting
from towpath.demo.authority import Domain
from towpath.dsi.posix import PosixStorage
from towpath.dsi.storage import Storage
from towpath.grants import LIFETIME_S, SKEW_S
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.server.acceptor import ControlServer
from towpath.gridftp.server.control import _token_in
from towpath.gridftp.server.frames import FrameError, FrameReader, Notice, Opening, frame, frames
from towpath.gridftp.server.permission import OVERTIME_S, Permission
from towpath.gridftp.wire.addresses import parse_passive
from towpath.gridftp.wire.replies import Reply
from towpath.gridftp.wire.request_lines import parse_request
from towpath.gridftp.wire.requests import RequestError, SiteGrant

ENDS_S = LIFETIME_S + SKEW_S


class SlowStorage(PosixStorage):
    """Looking at `/slow` takes until it is released."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reached, self.released = threading.Event(), threading.Event()

    def status(self, path: bytes, **options: Any) -> Any:
        if path == b"/slow":
            self.reached.set()
            assert self.released.wait(30)
        return super().status(path, **options)

    def restricted(self, rules: Any) -> Any:
        other = super().restricted(rules)
        other.reached, other.released = self.reached, self.released
        return other


@pytest.fixture
def storage(tmp_path: Path) -> SlowStorage:
    for name in ("slow", "file"):
        (tmp_path / name).write_bytes(b"content")
    return SlowStorage(tmp_path)


@pytest.fixture
def endpoint(domain_a: Domain, storage: SlowStorage) -> Iterator[Granting]:
    with granting(domain_a, storage) as one:
        yield one
        storage.released.set()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def raw(session: Session, *lines: str) -> list[Reply]:
    """The replies, whatever our client makes of them."""
    session.channel.by_grant = False
    return await session.answers(session.submit(lines))


async def test_no_command_begins_after_the_end(endpoint: Granting) -> None:
    session = await endpoint.open(endpoint.token())
    endpoint.clock[0] += ENDS_S - 2
    assert await session.size("/file") == 7
    endpoint.clock[0] += 4
    futures = session.submit(["SIZE /file", "NOOP", "CWD /", "PWD"])
    for future in futures:  # what is queued is in vain, and the session is over as a whole
        with pytest.raises(GridFTPError) as refused:
            await future
        assert refused.value.kind is Kind.GRANT_EXPIRED
        assert not refused.value.permanent
    assert session.closed
    await session.give_up()


async def test_a_session_whose_grant_has_ended_may_be_given_another(endpoint: Granting) -> None:
    session = await endpoint.open(endpoint.token())
    endpoint.clock[0] += ENDS_S + 2
    (refused,) = await raw(session, "SIZE /file")
    assert refused.code == 530
    assert refused.text.startswith("GRANT expired: ")
    await session.renew(endpoint.token())
    assert await session.size("/file") == 7
    assert await session.close()


async def test_a_refused_transfer_leaves_no_data_channel_to_the_next(endpoint: Granting) -> None:
    """Else what its sender sends would come to the next file."""
    session = await endpoint.open(endpoint.token())
    _, passive = await raw(session, "DCAU N", "PASV")
    (address,) = parse_passive(passive, where="")
    with socket.create_connection(address):
        endpoint.clock[0] += ENDS_S + 2
        (refused,) = await raw(session, "STOR /one")
        assert refused.code == 530
        await session.renew(endpoint.token())
        (gone,) = await raw(session, "STOR /two")
        assert (gone.code, gone.text) == (500, "Command failed")
    assert await session.close()


async def test_a_renewal_takes_effect_while_a_command_runs(
    endpoint: Granting, storage: SlowStorage
) -> None:
    """Also for commands that were queued before it; its answer comes in its turn."""
    session = await endpoint.open(endpoint.token())
    order: list[str] = []
    futures = session.submit(["SIZE /slow", "SIZE /file"])
    futures[1].add_done_callback(lambda _: order.append("file"))
    await until(storage.reached.is_set)
    endpoint.clock[0] += ENDS_S + 2
    renewed = session.renew(endpoint.token())
    renewed.add_done_callback(lambda _: order.append("grant"))
    futures += session.submit(["SIZE /file"])
    futures[2].add_done_callback(lambda _: order.append("file again"))
    await until(lambda: endpoint.server.logins[-1].renewal)
    for _ in range(3):  # rounds of the server's loop: it is with the session
        endpoint.server.act(lambda _control: None)
    storage.released.set()
    assert [reply.code for reply in await session.answers(futures)] == [213] * 3
    await renewed
    await until(lambda: len(order) == 3)
    assert order == ["file", "grant", "file again"]
    assert await session.close()


async def test_what_runs_is_cut_five_minutes_after_the_end(endpoint: Granting) -> None:
    session = await endpoint.open(endpoint.token())
    _, _, storing = session.submit(["DCAU N", "PASV", "STOR /incoming"])
    await until(lambda: session.channel.unanswered == 1)
    endpoint.clock[0] += ENDS_S + OVERTIME_S - 5
    await asyncio.sleep(0.2)  # some of the server's looks
    assert not storing.done()
    endpoint.clock[0] += 10
    reply = await asyncio.wait_for(storing, 20)
    assert (reply.code, reply.text) == (426, "GRANT expired: what ran too long was cut")
    await session.give_up()


async def test_a_renewal_in_time_lets_what_runs_go_on(endpoint: Granting) -> None:
    session = await endpoint.open(endpoint.token())
    _, _, storing = session.submit(["DCAU N", "PASV", "STOR /incoming"])
    await until(lambda: session.channel.unanswered == 1)
    endpoint.clock[0] += ENDS_S + OVERTIME_S - 5
    session.renew(endpoint.token())
    await until(lambda: endpoint.server.logins[-1].renewal)
    endpoint.server.act(lambda _control: None)
    endpoint.clock[0] += 10
    await asyncio.sleep(0.2)
    assert not storing.done()
    await session.give_up()


# Paused, and drained


async def failure(endpoint: Granting) -> GridFTPError:
    with pytest.raises(GridFTPError) as refused:
        await endpoint.open(endpoint.token())
    return refused.value


async def test_a_paused_server_cuts_what_runs_and_takes_nobody(
    endpoint: Granting, storage: SlowStorage
) -> None:
    session = await endpoint.open(endpoint.token())
    (running,) = session.submit(["SIZE /slow"])
    await until(storage.reached.is_set)
    endpoint.server.act(lambda control: control.pause("the owner has paused it"))
    with pytest.raises(GridFTPError) as cut:
        await asyncio.wait_for(running, 20)
    assert cut.value.kind is Kind.PAUSED
    assert cut.value.reply == "421 PAUSED: the owner has paused it"
    assert (await failure(endpoint)).kind is Kind.PAUSED
    storage.released.set()
    endpoint.server.act(ControlServer.resume)
    again = await endpoint.open(endpoint.token())
    assert await again.close()
    await session.give_up()


async def test_a_draining_server_keeps_who_is_there(endpoint: Granting) -> None:
    session = await endpoint.open(endpoint.token())
    endpoint.server.act(lambda control: control.turn_away("another node takes over"))
    error = await failure(endpoint)
    assert (error.kind, error.permanent) == (Kind.DRAINING, False)
    assert await session.size("/file") == 7
    assert await session.close()


# A storage for each session


@contextmanager
def chosen(domain: Domain, place: Path) -> Iterator[Granting]:
    def choose(opening: Opening) -> Storage:
        assert opening.permission is not None
        return PosixStorage(Path(opening.extra["base"]))

    with granting(domain, choose, extra={"base": str(place)}) as one:
        yield one


async def test_each_session_has_the_storage_of_its_collection(
    domain_a: Domain, tmp_path: Path
) -> None:
    (tmp_path / "here").write_bytes(b"12345")
    with chosen(domain_a, tmp_path) as endpoint:
        session = await endpoint.open(endpoint.token())
        assert await session.size("/here") == 5
        assert await session.close()
    with chosen(domain_a, tmp_path / "unmounted") as endpoint:
        error = await failure(endpoint)
        assert error.kind is Kind.CONNECTION_LOST
        assert "The storage is not there: No such file or directory" in str(error)


# The words between the two halves, and what is hidden in them


@settings(deadline=None)
@given(
    st.binary(max_size=40)
    | st.tuples(
        st.sampled_from([b"SITE", b"site", b"SiTe", b" SITE", b"SITE\t", b"\0SITE"]),
        st.sampled_from([b" ", b"  ", b"\t", b" \0", b""]),
        st.sampled_from([b"GRANT", b"grant", b"GRANT\t", b"GRANTS", b"GRANT\xc5\xbf"]),
        st.sampled_from([b"", b" ", b"  ", b"\t", b" x", b" \xff", b" x y "]),
    ).map(b"".join)
)
def test_nothing_that_a_session_takes_for_a_renewal_passes_the_acceptor(line: bytes) -> None:
    try:
        request = parse_request(line)
    except RequestError:
        _token_in(line)  # raises nothing
    else:
        assert isinstance(request, SiteGrant) == (_token_in(line) is not None)


PERMISSION = Permission(permission_id="x", rules=(("R", "/a\udcff,RW/"),), expires=1.5)
NOTICES = [
    Notice(permission=PERMISSION, code=200, text="taken"),
    Notice(permission=None, code=530, text="GRANT expired: \udcff"),
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(NOTICES) | st.binary(max_size=9), max_size=9), st.integers(1, 50))
def test_notices_are_told_from_commands_however_they_are_cut(
    sent: list[Notice | bytes], size: int
) -> None:
    data = b"".join(one.to_frame() if isinstance(one, Notice) else frame(one) for one in sent)
    notices: list[Notice] = []
    reader = FrameReader(100, notices.append)
    commands = [
        command for at in range(0, len(data), size) for command in reader.feed(data[at : at + size])
    ]
    assert notices == [one for one in sent if isinstance(one, Notice)]
    assert commands == [one for one in sent if isinstance(one, bytes)]


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_no_command_is_a_notice_whatever_is_in_it(command: bytes) -> None:
    notice = NOTICES[0].to_frame()
    for content in (command, notice, notice[4:], b"\0" + notice[4:]):
        reader = FrameReader(1000, lambda _notice: pytest.fail("a command was taken for one"))
        assert reader.feed(frames([content])) == [content]


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_garbage_in_a_notice_ends_the_session(content: bytes) -> None:
    head = (len(content) | 1 << 31).to_bytes(4, "big")
    with pytest.raises(FrameError):
        FrameReader(1000, lambda _notice: None).feed(head + content)
    with pytest.raises(FrameError):  # where none is expected
        FrameReader(1000).feed(NOTICES[0].to_frame())
