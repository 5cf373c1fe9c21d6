"""Whatever is sent, each command gets one final reply, in order, and the session lives on."""

import random
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from plugins.dialogue import Dialogue, dialogue
from towpath.dsi.posix import PosixStorage
from towpath.gridftp.server.limits import Limits
from towpath.gridftp.wire import request_lines

IMPATIENT = replace(Limits(), data_connect_s=0.02, data_stall_s=0.5)
"""Nobody comes to the data connections of these sessions."""

ARGUMENTS = [
    b"", b" ", b"f", b"d", b"d/g", b"none", b"../..", b"/", b"~", b"a b ", b"\xff", b"x\ny", b"-la",
    b"0", b"1", b"-1", b"5 f", b"9" * 25, b"A", b"I", b"E", b"S", b"C", b"P", b"N", b"D",
    b"P 0 2 f", b"A 1 f", b"MD5 0 -1 f", b"SHA256 1 1 f", b"MD5 ab", b"0-2,3-4", b"PERF 0.01",
    b"RESTART 0", b"RETR Parallelism=3;", b"MLST Type;", b"PASV AllowDelayed=1;",
    b"PASV AllowDelayed=0;", b"127,0,0,1,200,1", b"|1|127.0.0.1|51201|", b"ALL", b"CHMOD 644 f",
    b"STORATTR modify=20200101000000;", b"TRNC 1 f", b"RDEL d", b"SYMLINKFROM f", b"SYMLINKTO l",
    b"20200101000000 f", b"HELP", b"DSI x", b"CHGRP 0 f", b"UTIME 20200101000000 f",
]  # fmt: skip
VERBS = [verb.encode() for verb in request_lines.VERBS if verb not in ("QUIT", "ABOR")]
NEVER = (b"EPSV ALL",)
"""What would make all that comes after it dull."""


def soup(chance: random.Random, count: int) -> list[bytes]:
    lines: list[bytes] = []
    while len(lines) < count:
        line = chance.choice(VERBS) + b" " + chance.choice(ARGUMENTS)
        if line not in NEVER:
            lines.append(line)
    return lines


def check(talk: Dialogue, chance: random.Random, rounds: int) -> None:
    for number in range(rounds):
        lines = soup(chance, 60)
        marker = f"FOO{number}"
        talk.send(*lines, f"HELP {marker}")
        for line in lines:
            reply = talk.answer()
            assert 200 <= reply.code < 600, line
            assert "internal error" not in reply.text, line
            assert marker not in reply.text, line
        assert talk.answer().text == f"Unknown command '{marker}'."


def make(root: Path) -> None:
    (root / "d").mkdir(exist_ok=True)
    (root / "d" / "g").write_bytes(b"abc")
    (root / "f").write_bytes(b"hello")


@pytest.mark.parametrize("seed", range(4))
def test_each_command_has_one_answer(tmp_path: Path, seed: int) -> None:
    make(tmp_path)
    with dialogue(PosixStorage(tmp_path), limits=IMPATIENT) as talk:
        check(talk, random.Random(seed), 6)


@pytest.mark.parametrize("seed", range(4))
def test_with_aborts_among_them(tmp_path: Path, seed: int) -> None:
    make(tmp_path)
    chance = random.Random(seed)
    with dialogue(PosixStorage(tmp_path), limits=IMPATIENT) as talk:
        for _ in range(8):
            lines = soup(chance, 40)
            for _ in range(4):
                lines.insert(chance.randrange(len(lines)), b"ABOR")
            cut = chance.randrange(len(lines))
            talk.send(*lines[:cut])
            talk.send(*lines[cut:])
            answers = [talk.answer() for _ in lines]
            stopped = [a.code for line, a in zip(lines, answers, strict=True) if line == b"ABOR"]
            assert stopped == [226] * 4
        assert talk.ask("NOOP").code == 200


@pytest.mark.parametrize("seed", range(6))
def test_hanging_up_in_the_middle(tmp_path: Path, seed: int) -> None:
    make(tmp_path)
    chance = random.Random(seed)
    with dialogue(PosixStorage(tmp_path), limits=IMPATIENT) as talk:
        talk.send(*soup(chance, 200))
        for _ in range(chance.randrange(60)):
            talk.answer()
        talk.socket.shutdown(chance.choice([socket.SHUT_RDWR, socket.SHUT_WR]))
        assert talk.ended.wait(30)


@pytest.mark.long
def test_each_command_has_one_answer_for_long(tmp_path: Path) -> None:
    for seed in range(100, 200):
        root = tmp_path / str(seed)
        root.mkdir()
        make(root)
        with dialogue(PosixStorage(root), limits=IMPATIENT) as talk:
            check(talk, random.Random(seed), 20)
