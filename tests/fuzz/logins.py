"""Logins: the acceptor of GSI by itself, and whole control connections."""

from __future__ import annotations

import asyncio
import base64
import binascii
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fuzz.bending import bent, portions
from fuzz.campaign import EscapeError, HangError, One
from plugins.front import Client, Front, adat, front, now, quick
from towpath.demo.authority import Domain
from towpath.gridftp.errors import GridFTPError
from towpath.gridftp.security.acceptor import Acceptor, HostSecurity, new_key
from towpath.gridftp.security.errors import SecurityError
from towpath.gridftp.security.gsi import Initiator

WHO = "/O=DomA/CN=Alice"
"""The only one who may come in."""

CONNECTION_S = 30.0


def _initiator(domain: Domain, dice: random.Random) -> Initiator:
    return Initiator(
        domain.credential,
        domain.trust,
        "localhost",
        None,
        delegate=dice.randrange(3) == 0,
        now=now,
    )


@contextmanager
def acceptor(workdir: Path) -> Iterator[One]:
    """Tokens of true logins: bent, cut, joined, exchanged, repeated, or noise."""
    domain = Domain.create(workdir, "DomA")
    key = new_key()
    security = HostSecurity(domain.host.credential(), domain.trust, now=now, key=lambda: key)
    seen: list[bytes] = []

    def one(dice: random.Random) -> None:
        taken, client = security.acceptor(), _initiator(domain, dice)
        tokens = client.step(None)
        spoiled = dice.randrange(4)  # of 4 logins one is whole
        with suppress(SecurityError, GridFTPError):
            for number in range(8):
                if taken.complete or not tokens:
                    break
                token = tokens.pop(0)
                seen[dice.randrange(50) : 50] = [token]
                if number == spoiled:
                    token = bent(dice, token, seen) or b"\0"
                for piece in portions(dice, token) if dice.randrange(3) == 0 else [token]:
                    answer = taken.step(piece)
                    if answer:
                        tokens += client.step(answer)
        if taken.complete:
            if taken.peer_subject != WHO:
                raise EscapeError(f"{taken.peer_subject!r} came in")
            _talk(dice, taken, client)
        elif taken.delegated is not None:
            raise EscapeError("a credential was taken without a login")

    yield one


def _talk(dice: random.Random, taken: Acceptor, client: Initiator) -> None:
    """Commands after a login, some of them bent."""
    with suppress(SecurityError):
        for _ in range(3):
            plain = dice.randbytes(dice.choice((1, 10, 5000, 40_000)))
            token = client.wrap(plain)
            if dice.randrange(3) == 0 and (false := bent(dice, token)) != token:
                got = taken.unwrap(false)
                if not plain.startswith(got):
                    raise EscapeError("a bent command was taken for another")
                return
            assert taken.unwrap(token) == plain
            taken.wrap(plain)


@contextmanager
def control(workdir: Path) -> Iterator[One]:
    """Connections that log in, nearly, or not at all; several at a time, in fragments."""
    domain = Domain.create(workdir, "DomA")
    loop = asyncio.new_event_loop()
    mishaps: list[str] = []
    loop.set_exception_handler(lambda _loop, said: mishaps.append(f"{said}"))
    entered = front(domain, limits=quick(pending_logins=20, sessions_per_peer=50))
    running = loop.run_until_complete(entered.__aenter__())
    lines: list[bytes] = [b"AUTH GSSAPI", b"ADAT AAAA", b"ENC AAAA", b"USER x", b"PASS x", b"FEAT"]

    def one(dice: random.Random) -> None:
        loop.run_until_complete(_several(dice, running, lines))
        running.host.heard.clear()
        running.host.openings.clear()
        running.reports.clear()
        if mishaps:
            said = mishaps.pop()
            mishaps.clear()
            raise RuntimeError(said)

    try:
        yield one
    finally:
        loop.run_until_complete(entered.__aexit__(None, None, None))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def _several(dice: random.Random, running: Front, lines: list[bytes]) -> None:
    count = dice.choice((1, 1, 2, 4))
    dices = [random.Random(dice.random()) for _ in range(count)]
    try:
        async with asyncio.timeout(CONNECTION_S):
            await asyncio.gather(*(_connection(one, running, lines) for one in dices))
            while running.server.pending or running.server.sessions:
                await asyncio.sleep(0.001)
            while running.host.ended < len(running.host.openings):
                await asyncio.sleep(0.001)
    except TimeoutError:
        left = f"{running.server.pending} logins, {running.server.sessions} sessions"
        raise HangError(f"a connection does not end: {left}") from None
    finally:
        running.host.ended = 0
    for opening in running.host.openings:
        if opening.subject != WHO:
            raise EscapeError(f"{opening.subject!r} has a session")


async def _connection(dice: random.Random, running: Front, lines: list[bytes]) -> None:
    """One client; a share of them is honest, and must be served."""
    honest = dice.randrange(4) == 0
    async with await Client.connect(running.port) as client:
        try:
            assert (await client.reply()).code == 220
            initiator = _initiator(running.domain, dice)
            (hello,) = initiator.step(None)
            client.initiator = None
            await _say(dice, client, [b"AUTH GSSAPI", adat(hello)], lines, bend=not honest)
            expected = 2
            done = False
            while not done and expected:
                reply = await asyncio.wait_for(client.reply(), 0.1 if not honest else CONNECTION_S)
                expected -= 1
                _text, equals, answer = reply.text.partition("ADAT=")
                if equals and answer:
                    tokens = initiator.step(base64.b64decode(answer))
                    expected += len(tokens)
                    await _say(dice, client, list(map(adat, tokens)), lines, bend=not honest)
                done = reply.code == 235
            assert done or not honest, "an honest login failed"
            if done:
                await _session(dice, client, initiator, lines, honest=honest)
        except (EOFError, OSError, TimeoutError, SecurityError, GridFTPError, binascii.Error):
            if honest:
                raise
        if dice.randrange(3) == 0:
            with suppress(OSError):
                client.writer.write_eof()
                await asyncio.wait_for(client.all_codes(), 2)


async def _session(
    dice: random.Random, client: Client, initiator: Initiator, lines: list[bytes], *, honest: bool
) -> None:
    client.initiator = initiator
    commands = [b"USER :globus-mapping:", b"PASS x", *(b"C%d" % n for n in range(5))]
    await _say(
        dice, client, [client.wrapped(one + b"\r\n") for one in commands], lines, bend=not honest
    )
    wait_s = CONNECTION_S if honest else 0.1
    replies = [await asyncio.wait_for(client.reply(), wait_s) for _ in commands]
    if honest:
        assert [reply.text for reply in replies[2:]] == [f"C{n}" for n in range(5)]


async def _say(
    dice: random.Random, client: Client, said: list[bytes], lines: list[bytes], *, bend: bool
) -> None:
    """In fragments; if bent, lines may be changed, doubled, left out, or others come between."""
    text = b""
    for item in said:
        lines[dice.randrange(40) : 40] = [item]
        one = item
        if bend:
            match dice.randrange(10):
                case 0:
                    one = bent(dice, item, lines)
                case 1:
                    verb, _, token = item.partition(b" ")
                    with suppress(binascii.Error):
                        raw = bent(dice, base64.b64decode(token))
                        one = verb + b" " + base64.b64encode(raw)
                case 2:
                    text += dice.choice(lines) + b"\r\n"
                case 3:
                    text += item + b"\r\n"
                case 4:
                    continue
                case 5:
                    text += dice.randbytes(dice.choice((1, 50, 140_000)))
                case _:
                    pass
        text += one + dice.choice((b"\r\n", b"\n") if bend else (b"\r\n",))
    for piece in portions(dice, text):
        client.writer.write(piece)
        if dice.randrange(10) == 0:
            await asyncio.sleep(0)
    await client.writer.drain()
