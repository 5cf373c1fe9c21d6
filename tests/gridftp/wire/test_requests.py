"""Command lines as a server reads them: what is in them, and what is answered when nothing is."""

import string
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.errors import GridFTPError
from towpath.gridftp.server.limits import COMMAND_BYTES
from towpath.gridftp.wire import commands, request_lines, requests
from towpath.gridftp.wire.addresses import HostPort
from towpath.gridftp.wire.numbers import LARGEST
from towpath.gridftp.wire.ranges import ByteRange, RangeSet
from towpath.gridftp.wire.request_lines import parse_request
from towpath.gridftp.wire.requests import Request, RequestError

UNDERSTOOD: dict[bytes, Request] = {
    b"NOOP": requests.Noop(),
    b"noop with more": requests.Noop(),
    b"Abor": requests.Abor(),
    b"XPWD": requests.Pwd(),
    b"CDUP x": requests.Cdup(),
    b"USER anonymous": requests.Login(),
    b"TYPE I": requests.Type("I"),
    b"TYPE l 8": requests.Type("I"),
    b"TYPE A N": requests.Type("A"),
    b"MODE e": requests.Mode("E"),
    b"STRU F": requests.Stru("F"),
    b"PBSZ 1048576": requests.Pbsz(1048576),
    b"PROT p": requests.Prot("P"),
    b"DCAU N": requests.Dcau("N"),
    b"DCAU S /O=A/CN=Bob Smith": requests.Dcau("S", "/O=A/CN=Bob Smith"),
    b"DCSC p QUJD": requests.Dcsc("P", b"QUJD"),
    b"DCSC D": requests.Dcsc("D"),
    b"SBUF 65536": requests.Sbuf(65536),
    b"SITE RETRBUFSIZE 65536": requests.Sbuf(65536, site=True),
    b"TREV PERF 0.25": requests.Trev("PERF", 0.25),
    b"TREV PERF 0.000001": requests.Trev("PERF", 0.01),
    b"TREV PERF 0": requests.Trev("PERF", 0.0),
    b"TREV restart 5 some info": requests.Trev("RESTART", 5.0),
    b"OPTS RETR Parallelism=4,4,4;": requests.OptsRetr(streams=4),
    b"OPTS RETR StripeLayout=Blocked;BlockSize=65536;": requests.OptsRetr(block_bytes=65536),
    b"OPTS retr MARKERS=1;": requests.OptsRetr(markers_s=1.0),
    b"OPTS RETR Digest=blake3;": requests.OptsRetr(digest="BLAKE3"),
    b"OPTS RETR Parallelism=2;Digest=;": requests.OptsRetr(streams=2, digest=""),
    b"OPTS STOR Digest=XXH128;": requests.OptsStor("XXH128"),
    b"OPTS STOR Digest=;": requests.OptsStor(""),
    b"OPTS MLST Type;UNIX.mode;": requests.OptsMlst(("type", "unix.mode")),
    b"OPTS MLST": requests.OptsMlst(()),
    b"OPTS PASV AllowDelayed=1;": requests.OptsPasv(delayed=True),
    b"OPTS UTF8 ON": requests.OptsUtf8(),
    b"LANG": requests.Lang("EN"),
    b"EPSV": requests.Epsv(0),
    b"EPSV 2": requests.Epsv(6),
    b"EPSV ALL": requests.EpsvAll(),
    b"PORT 127,0,0,1,1,0": requests.Port((HostPort("127.0.0.1", 256),)),
    b"SPOR 1,2,3,4,5,6 1,2,3,4,5,7": requests.Port(
        (HostPort("1.2.3.4", 1286), HostPort("1.2.3.4", 1287))
    ),
    b"EPRT |1|127.0.0.1|5000|": requests.Port((HostPort("127.0.0.1", 5000),)),
    b"EPRT !2!::1!5000!": requests.Port((HostPort("::1", 5000),)),
    b"REST 100": requests.Rest(RangeSet([ByteRange(0, 100)])),
    b"REST 0-10,20-30": requests.Rest(RangeSet([ByteRange(0, 10), ByteRange(20, 30)])),
    b"ALLO 100 R 10": requests.Allo(100),
    b"STOR   a b ": requests.Stor(b"a b "),
    b"RETR \xff\n": requests.Retr(b"\xff\n"),
    b"ERET P 5 10 a b": requests.Eret(5, 10, b"a b"),
    b'ERET P="5 10" a b': requests.Eret(5, 10, b"a b"),
    b"ESTO A 5 f": requests.Esto(5, b"f"),
    b'ESTO A="5" f': requests.Esto(5, b"f"),
    b"MLSD": requests.Mlsd(b""),
    b"LIST -la -t /d": requests.List(b"/d"),
    b"LIST -la": requests.List(b""),
    b"CKSM sha256 0 -1 f": requests.Cksm("SHA256", 0, None, b"f"),
    b"CKSM MD5 5 10 f": requests.Cksm("MD5", 5, 10, b"f"),
    b"SCKS MD5 ABCD": requests.Scks("MD5", "abcd"),
    b"SITE STORATTR modify=20200102030405;": requests.SiteStorattr(1577934245),
    b"SITE STORATTR other=1;checksum.MD5=AB;": requests.SiteStorattr(None, (("MD5", "ab"),)),
    b"MFMT 20200102030405.5 f g": requests.SetTime(1577934245, b"f g"),
    b"SITE UTIME 19691231235959 f": requests.SetTime(-1, b"f"),
    b"SITE CHMOD 0640 f": requests.SiteChmod(0o640, b"f"),
    b"SITE CHGRP users f": requests.SiteChgrp("users", b"f"),
    b"SITE TRNC 5 f": requests.SiteTrnc(5, b"f"),
    b"SITE RDEL f": requests.SiteRdel(b"f"),
    b"SITE RESTRICT RW/a,R/b c": requests.SiteRestrict("RW/a,R/b c"),
    b"SITE WHOAMI": requests.SiteWhoami(),
    b"SITE TASKID 5": requests.SiteNoted(),
    b'SITE CLIENTINFO appname="guc";': requests.SiteNoted(),
    b"SITE HELP": requests.Help(""),
    b"HELP site chmod": requests.Help("SITE CHMOD"),
}

SYNTAX = "501 Syntax error in parameters or arguments."
ARGUMENTS = "501 Invalid command arguments."
REFUSED: dict[bytes, str] = {
    b"": "500 Command not supported.",
    b"FOO": "500 Command not supported.",
    b"STORE f": "500 Command not supported.",
    b"\xff\xfe": "500 Command not supported.",
    b"SITE FOO x": "500 Invalid command.",
    b"SITE": SYNTAX,
    b"STOR": SYNTAX,
    b"STOR  ": SYNTAX,
    b"RETR a\0b": SYNTAX,
    b"TYPE": SYNTAX,
    b"TYPE X": "501 'X' unrecognized type.",
    b"TYPE X\r\n226 Y": "501 Syntax error in parameters or arguments.",
    b"MODE B": "501 'B' unrecognized transfer mode.",
    b"STRU R": "501 Syntax error in parameter.",
    b"PBSZ abc": "501 Bad value for PBSZ: abc",
    b"PROT E": "536 E protection level not supported.",
    b"DCAU": SYNTAX,
    b"DCAU X": "501 Bad DCAU mode.",
    b"DCAU S": "501 DCAU S expected subject.",
    b"DCSC X": ARGUMENTS,
    b"DCSC P": ARGUMENTS,
    b"SBUF abc": "502 Invalid Parameter.",
    b"TREV PERF": SYNTAX,
    b"TREV PERF -1": SYNTAX,
    b"TREV PERF nan": SYNTAX,
    b"TREV FOO 1": "502 Unsupported event.",
    b"OPTS": SYNTAX,
    b"OPTS FOO x=1": "500 OPTS failed.",
    b"OPTS RETR": "500 OPTS failed.",
    b"OPTS RETR Parallelism=a;": "500 OPTS failed.",
    b"OPTS RETR Parallelism=0;": "500 OPTS failed.",
    b"OPTS RETR Parallelism=99999;": "500 OPTS failed.",
    b"OPTS RETR foo=1": "500 OPTS failed.",
    b"OPTS STOR": "500 OPTS failed.",
    b"OPTS STOR Digest": "500 OPTS failed.",
    b"OPTS STOR Digest=MD5;Digest=MD5;": "500 OPTS failed.",
    b"OPTS STOR Parallelism=1;": "500 OPTS failed.",
    b"OPTS PASV AllowDelayed=2;": "500 OPTS failed.",
    b"LANG FR": "501 'FR' unrecognized language.",
    b"EPSV 3": "501 Invalid protocol.",
    b"EPRT |3|127.0.0.1|5000|": "522 Network protocol not supported, use (1,2).",
    b"EPRT |1|::1|5000|": "501 Illegal PORT command.",
    b"EPRT foo": "501 Illegal PORT command.",
    b"PORT 127,0,0,1,1": "501 Illegal PORT command.",
    b"PORT 127,0,0,1,0,0": "501 Illegal PORT command.",
    b"PORT 127,0,0,256,1,1": "501 Illegal PORT command.",
    b"PORT": SYNTAX,
    b"REST": SYNTAX,
    b"REST abc": "501 bad parameter.",
    b"REST 5-1": "501 bad parameter.",
    b"ALLO abc": SYNTAX,
    b"ERET": SYNTAX,
    b"ERET X 0 10 f": "501 bad parameter.",
    b"ERET P 0 99999999999999999999 f": "501 bad parameter.",
    b"ESTO A -1 f": "501 bad parameter.",
    b"CKSM MD5 0 f": SYNTAX,
    b"CKSM MD5 x -1 f": "500 Invalid offset.",
    b"CKSM MD5 0 -2 f": "500 Invalid length.",
    b"CKSM M;5 0 -1 f": "500 Unknown checksum algorithm requested.",
    b"SCKS MD5": SYNTAX,
    b"SCKS MD5 xyz": ARGUMENTS,
    b"SITE STORATTR": SYNTAX,
    b"SITE STORATTR modify=abc;": ARGUMENTS,
    b"MFMT 20200102030405": SYNTAX,
    b"MFMT 20201302030405 f": ARGUMENTS,
    b"MFMT 20200102250405 f": ARGUMENTS,
    b"SITE CHMOD 640": SYNTAX,
    b"SITE CHMOD 999 f": ARGUMENTS,
    b"SITE CHMOD 17777 f": ARGUMENTS,
    b"SITE TRNC a f": "500 Invalid length.",
    b"SITE RESTRICT": SYNTAX,
}


@pytest.mark.parametrize("line", UNDERSTOOD)
def test_what_is_understood(line: bytes) -> None:
    found = parse_request(line)
    assert (type(found), found) == (type(UNDERSTOOD[line]), UNDERSTOOD[line])


@pytest.mark.parametrize("line", REFUSED)
def test_what_is_refused_and_how(line: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request(line)
    assert str(caught.value) == REFUSED[line]


def test_a_list_of_ranges_has_an_end() -> None:
    with pytest.raises(RequestError):
        parse_request(b"REST " + b",".join(b"%d-%d" % (n, n + 1) for n in range(0, 40000, 2)))


def test_a_credential_is_not_shown() -> None:
    assert "SECRET" not in repr(parse_request(b"DCSC P SECRET"))


words = st.sampled_from(
    [b" ", b"  ", b"-1", b"0", b"5", b"P", b"A", b"MD5", b"/f", b"x=1;", b";", b"=", b'"', b"|",
     b"20200102030405", b"127,0,0,1,1,1", b"\n", b"\r", b"\0", b"\xff", "１".encode(), b"9" * 30]
)  # fmt: skip
verbs = st.sampled_from(
    [verb.encode() for verb in request_lines.VERBS]
    + [b"SITE " + verb.encode() for verb in request_lines.SITE_VERBS]
    + [b"OPTS " + what for what in (b"RETR", b"MLST", b"PASV", b"UTF8")]
)


def attempted(line: bytes) -> Request | RequestError:
    try:
        return parse_request(line)
    except RequestError as error:
        return error


@given(verbs, st.lists(words, max_size=8).map(b"".join) | st.binary(max_size=60))
def test_any_line_is_a_request_or_refused_on_one_line(verb: bytes, argument: bytes) -> None:
    found = attempted(verb + b" " + argument)
    if isinstance(found, RequestError):
        assert 500 <= found.code < 600
        assert found.text.isprintable()
    else:
        assert isinstance(found, Request)


@given(st.binary(max_size=100))
def test_any_bytes(line: bytes) -> None:
    found = attempted(line)
    assert isinstance(found, Request) or found.text.isprintable()


# -- what our client sends is what the server reads

names = st.binary(min_size=1, max_size=60)
sizes = st.integers(0, LARGEST)
ranges = st.tuples(sizes, sizes).map(lambda pair: ByteRange(min(pair), max(pair)))

ON_PATH: dict[Callable[[str], str], type[requests.OnPath]] = {
    commands.stor: requests.Stor,
    commands.retr: requests.Retr,
    commands.mlst: requests.Mlst,
    commands.mlsc: requests.Mlsc,
    commands.mlsd: requests.Mlsd,
    commands.mlsr: requests.Mlsr,
    commands.mkd: requests.Mkd,
    commands.rmd: requests.Rmd,
    commands.dele: requests.Dele,
    commands.rnfr: requests.Rnfr,
    commands.rnto: requests.Rnto,
    commands.size: requests.Size,
    commands.mdtm: requests.Mdtm,
    commands.cwd: requests.Cwd,
    commands.rdel: requests.SiteRdel,
    commands.symlink_from: requests.SiteSymlinkFrom,
    commands.symlink_to: requests.SiteSymlinkTo,
}


@given(
    st.sampled_from(list(ON_PATH)),
    names,
    sizes,
    ranges,
    st.integers(0, 0o7777),
    st.integers(0, 2**31),
)
def test_the_client_s_commands_are_understood(
    build: Callable[[str], str], name: bytes, offset: int, part: ByteRange, mode: int, time: int
) -> None:
    path = name.decode("utf-8", "surrogateescape")
    lines: list[tuple[Callable[[], str], Request]] = [
        (lambda: build(path), ON_PATH[build](name)),
        (lambda: commands.esto(path, offset), requests.Esto(offset, name)),
        (lambda: commands.eret(path, part), requests.Eret(part.first, part.length, name)),
        (lambda: commands.cksm(path, "sha256"), requests.Cksm("SHA256", 0, None, name)),
        (
            lambda: commands.cksm(path, "MD5", part),
            requests.Cksm("MD5", part.first, part.length, name),
        ),
        (lambda: commands.mfmt(path, time), requests.SetTime(time, name)),
        (lambda: commands.utime(path, time), requests.SetTime(time, name)),
        (lambda: commands.chmod(path, mode), requests.SiteChmod(mode, name)),
        (lambda: commands.chgrp(path, "staff"), requests.SiteChgrp("staff", name)),
        (lambda: commands.truncate(path, offset), requests.SiteTrnc(offset, name)),
        (lambda: commands.digest_sent("BLAKE3"), requests.OptsRetr(digest="BLAKE3")),
        (lambda: commands.digest_received(""), requests.OptsStor("")),
    ]
    for make, expected in lines:
        try:
            line = commands.encode_line(make())
        except GridFTPError:
            continue
        found = parse_request(line)
        assert (type(found), found) == (type(expected), expected)


@given(st.lists(ranges, max_size=8).map(RangeSet))
def test_ranges_that_the_client_sends(present: RangeSet) -> None:
    if len(present):
        assert parse_request(commands.rest(present).encode()) == requests.Rest(present)


digests = st.text(string.hexdigits.lower(), min_size=1, max_size=128)


@given(st.integers(0, 2**31), digests, st.integers(1, request_lines.MOST_STREAMS))
def test_settings_that_the_client_sends(time: int, digest: str, streams: int) -> None:
    for line, expected in (
        (commands.storattr_modified(time), requests.SiteStorattr(time)),
        (
            commands.storattr_expected(time, digest),
            requests.SiteStorattr(time, (("MD5", digest),)),
        ),
        (commands.scks("MD5", digest), requests.Scks("MD5", digest)),
        (commands.parallelism(streams), requests.OptsRetr(streams=streams)),
        (commands.restrict("RW/a,R/b"), requests.SiteRestrict("RW/a,R/b")),
        (commands.task_id("17"), requests.SiteNoted()),
        (commands.client_info("towpath", "1"), requests.SiteNoted()),
    ):
        assert parse_request(line.encode()) == expected


@given(st.ip_addresses(v=4).map(str), st.integers(1, 65535))
def test_addresses_that_the_client_sends(host: str, port: int) -> None:
    address = HostPort(host, port)
    assert parse_request(commands.port(address).encode()) == requests.Port((address,))


LINE_S = 2.0
"""Of processor time; each takes some ms. Under the interpreter's lock all sessions would wait."""


@pytest.mark.parametrize(
    "fill", [b" ", b"1", b'"', b"\t", b"1 ", b"1-", b",", b"|", b"=", b"/a", b";"]
)
@pytest.mark.parametrize("head", [b"ERET P", b'ERET P "1', b"ESTO A", b'ESTO A "', b"REST 0-1,"])
def test_no_line_takes_long(head: bytes, fill: bytes) -> None:
    line = (head + fill * COMMAND_BYTES)[:COMMAND_BYTES]
    began = time.thread_time()
    with suppress(RequestError):
        parse_request(line)
    assert time.thread_time() - began < LINE_S
