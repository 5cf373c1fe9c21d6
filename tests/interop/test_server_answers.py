"""The same commands at GCT's server and at ours: the same answers, to the word.

What differs on purpose is listed, with why.
"""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from plugins.own_server import OwnServer
from plugins.pairs import tell
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.gridftp.client.session import Server, Session

SAME = [
    "NOOP", "NOOP x", "SYST", "PWD", "LANG", "LANG EN",
    "MODE E", "STOR d/x", "RETR d/f", "RETR none", "ERET P 0 10 d/f",  # no data channel
    "TYPE I", "TYPE A", "STRU F", "STRU R", "MODE S", "MODE e", "PBSZ 10",
    "PROT C", "PROT E", "DCAU N", "DCAU X", "DCAU S", "DCAU A", "DCAU",
    "DCSC D", "DCSC X", "DCSC P !!!!", "DCSC",
    "SBUF 65536", "SBUF abc", "SITE SBUF 100", "SITE RETRBUFSIZE 65536", "SITE RETRBUFSIZE abc",
    "ALLO 100", "ALLO abc", "ALLO",
    "TREV PERF 1", "TREV FOO 1", "TREV PERF",
    "REST 0-100,200-300", "REST 100", "REST abc", "REST",
    "OPTS", "OPTS RETR Parallelism=4,4,4;", "OPTS RETR Parallelism=a;", "OPTS RETR foo=1;",
    "OPTS RETR StripeLayout=Blocked;BlockSize=1048576;", "OPTS RETR markers=1;",
    "OPTS STOR x=1;", "OPTS FOO", "OPTS PASV AllowDelayed=1;", "PASV", "OPTS PASV AllowDelayed=0;",
    "OPTS MLST Type;Size;", "MLST d/f", "OPTS MLST type;modify;",
    "OPTS MLST Type;Size;UNIX.mode;UNIX.owner;UNIX.group;UNIX.uid;UNIX.gid;UNIX.slink;",
    "MLST d", "MLST d/f", "MLST d/l", "MLST d/dangling", "MLST d/sub/../f", "MLST none",
    "MLSC d/f", "MLSC none", "STAT d", "STAT d/f", "STAT",
    "PORT 127,0,0,1,200,200", "PORT 127,0,0,1,1", "PORT", "SPOR 127,0,0,1,200,200",
    "EPSV 3", "EPRT |1|127.0.0.1|51400|", "EPRT |3|127.0.0.1|5000|",
    "CWD d", "PWD", "CDUP", "CWD", "CWD d/sub", "CDUP", "CDUP",
    "MKD d", "MKD d/new", "MKD d/new", "MKD none/x", "MKD", "RMD d/sub", "RMD d/f", "RMD d/none",
    "RMD d/new", "DELE d/none", "DELE d/sub", "DELE",
    "RNTO x", "RNFR d/f", "RNTO none/x", "RNTO d/f2", "RNFR d/f", "RNTO d/f2", "RNFR d/f2",
    "RNTO d/f", "SIZE d/f", "SIZE d/dangling", "SIZE none",
    "MFMT 20200102030405 d/f", "MDTM d/f", "MFMT 20200102030405.123 d/f", "MFMT abc d/f",
    "MFMT 20200102030405", "MFMT 20200102030405 none", "MDTM none",
    "SITE UTIME 20210102030405 d/f", "SITE CHMOD 0640 d/f", "SITE CHMOD 640",
    "SITE CHMOD 640 none", "SITE CHGRP root",
    "SITE SYMLINKTO d/l2", "SITE SYMLINKFROM d/f", "SITE SYMLINKTO d/l2", "SITE SYMLINKTO d/l3",
    "SITE SYMLINKFROM d/f", "SITE SYMLINKTO d/l2", "SITE SYMLINK a b", "MLST d/l2",
    "SITE TRNC 100 d/f", "SITE TRNC 3 d/f", "SITE TRNC a d/f", "SIZE d/f",
    "SITE RDEL d/l2", "SITE RDEL", "SITE FOO", "SITE", "SITE WHOAMI", "SITE TASKID x",
    "SITE TASKID", 'SITE CLIENTINFO appname="x";', "SITE DSI foo",
    "CKSM MD5 0 -1 d/f", "CKSM md5 1 2 d/f", "CKSM MD5 100 -1 d/f", "CKSM FOO 0 -1 d/f",
    "CKSM MD5 x -1 d/f", "CKSM MD5 0 -2 d/f", "CKSM MD5 0 d/f", "CKSM ADLER32 0 -1 d/f",
    "CKSM SHA1 0 -1 d/f", "CKSM SHA256 0 -1 d/f", "CKSM SHA512 0 -1 d/f",
    "SCKS MD5 abcd", "SCKS MD5", "SITE STORATTR foo=bar;", "SITE STORATTR",
    "STOR", "RETR", "ERET", "ESTO", "HELP FOO", "FOO", "REIN", "STOU", "ABOR",
    "SITE RESTRICT", "SITE RESTRICT R/", "SIZE d/f", "SITE RESTRICT",
]  # fmt: skip

DIFFERENT = {
    "TYPE X": "GCT's answer is two lines of which the second is no reply",
    "LANG FR": "the same",
    "MODE B": "GCT says the whole command",
    "PBSZ abc": "GCT takes it",
    "OPTS UTF8 ON": "GCT knows no such option; clients for people send it",
    "SITE CHMOD abc d/f": "GCT takes it for 0",
    "REST 5-1": "GCT takes it",
    "SCKS FOO abcd": "GCT takes it, and fails the next STOR",
    "SITE STORATTR modify=abc;": "the same",
    "RNFR none": "GCT has code 500 and else the same words; a missing path has 550 everywhere here",
    "SITE SYMLINKFROM none": "the same",
    "SITE RDEL none": "the same, with one line more",
    "CKSM MD5 0 -1 none": "GCT's words are those of data commands",
    "CWD none": "GCT has a path in front",
    "EPSV 2": "GCT then listens as before",
    "SITE HELP CHMOD": "GCT knows no help for it",
}

Ask = Callable[[str], Awaitable[str]]


async def asker(domain: Domain, port: int, directory: Path) -> tuple[Session, Ask]:
    """Asks one command in a directory of its own; the answer without what must differ."""
    (directory / "d" / "sub").mkdir(parents=True)
    (directory / "d" / "sub" / "g").write_bytes(b"abc")
    (directory / "d" / "f").write_bytes(b"hello\n")
    (directory / "d" / "l").symlink_to("f")
    (directory / "d" / "dangling").symlink_to("nowhere")
    session = await Session.open(
        Server("localhost", port), credential=domain.credential, trust=domain.trust
    )
    await session.command(f"CWD {directory}")

    async def ask(line: str) -> str:
        told = await tell(session, line)
        text = f"{told.code} {told.text}".replace(str(directory), "HERE")
        text = re.sub(r"\d+,\d+,\d+,\d+,\d+,\d+", "ADDRESS", text)
        # the same facts in another order, if they were asked for
        text = re.sub(r"Type=\S+;", lambda facts: ";".join(sorted(facts[0].split(";"))), text)
        text = re.sub(r"Modify=2026\d+|\w{3} [ \d]\d \d\d:\d\d", "NOW", text)
        return re.sub(r"Unique=[0-9a-f]+-[0-9a-f]+", "Unique", text)

    return session, ask


async def test_the_same_answers(
    own_a: OwnServer, server_a: GctServer, domain_a: Domain, tmp_path: Path
) -> None:
    ours, ask_us = await asker(domain_a, own_a.port, tmp_path / "ours")
    theirs, ask_them = await asker(domain_a, server_a.port, tmp_path / "them")
    differing = []
    for line in SAME:
        us, them = await ask_us(line), await ask_them(line)
        if us != them:
            differing.append((line, us, them))
    await ours.close()
    await theirs.close()
    assert not differing, "\n".join(map(repr, differing))


@pytest.mark.parametrize("line", DIFFERENT)
async def test_what_differs_on_purpose(
    own_a: OwnServer, server_a: GctServer, domain_a: Domain, tmp_path: Path, line: str
) -> None:
    ours, ask_us = await asker(domain_a, own_a.port, tmp_path / "ours")
    theirs, ask_them = await asker(domain_a, server_a.port, tmp_path / "them")
    assert await ask_us(line) != await ask_them(line)
    await ours.close()
    await theirs.close()
