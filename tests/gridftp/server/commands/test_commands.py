"""Every command on a real storage: what is answered, and what is done."""

import hashlib
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from plugins.dialogue import OPENING, Dialogue, address_of, dialogue
from towpath.dsi.posix import PosixStorage
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.server.commands.base import normalised
from towpath.gridftp.server.commands.dispatch import STOPPABLE, TABLE
from towpath.gridftp.server.commands.listings import UNLISTABLE
from towpath.gridftp.wire import requests
from towpath.gridftp.wire.listings import parse_fact_line, parse_status_line


def test_every_request_has_a_handler() -> None:
    kinds = {
        kind
        for kind in vars(requests).values()
        if isinstance(kind, type) and issubclass(kind, requests.Request)
    }
    assert kinds - {requests.Request, requests.OnPath} == set(TABLE)
    assert set(STOPPABLE) <= set(TABLE)


@pytest.mark.parametrize(
    ("given", "clean"),
    [
        (b"/", b"/"),
        (b"/a/b", b"/a/b"),
        (b"/a/b/", b"/a/b"),
        (b"//a///b", b"/a/b"),
        (b"/a/./b/.", b"/a/b"),
        (b"/a/../b", b"/b"),
        (b"/../../..", b"/"),
        (b"/a/b/../../../c", b"/c"),
        (b"/..a/.b", b"/..a/.b"),
        (b"/a/..", b"/"),
    ],
)
def test_paths_are_read_as_text_and_lead_nowhere_above_the_root(given: bytes, clean: bytes) -> None:
    assert normalised(given) == clean


def test_where_a_path_starts(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    opening = replace(OPENING, home="/home")
    with dialogue(PosixStorage(tmp_path), opening=opening) as talk:
        assert talk.text("PWD") == '257 "/home" is current directory.'
        assert talk.ask("MKD a").text == 'Directory "/home/a" created successfully.'
        assert talk.ask("MKD /~/b").text == 'Directory "/home/b" created successfully.'
        assert talk.ask("MKD ~/c").text == 'Directory "/home/c" created successfully.'
        assert talk.ask("MKD ~d").text == 'Directory "/home/~d" created successfully.'
        assert talk.ask("MKD ../e").text == 'Directory "/e" created successfully.'
        assert talk.ask("MKD ../../../f").text == 'Directory "/f" created successfully.'
        assert talk.ask("CWD ..", "PWD").text == '"/" is current directory.'


ANSWERS = [
    ("NOOP", "200 NOOP command successful."),
    ("SYST", "215 UNIX Type: L8"),
    ("USER x", "503 You are already logged in."),
    ("LANG EN", "200 lang set to EN."),
    ("TYPE I", "200 Type set to I."),
    ("STRU F", "200 STRU F ok."),
    ("MODE E", "200 Mode set to E."),
    ("MODE S", "200 Mode set to S."),
    ("PBSZ 1048576", "200 PBSZ=1048576"),
    ("PROT P", "200 Protection level set to P."),
    ("PROT C", "200 Protection level set to C."),
    ("DCAU N", "200 DCAU N."),
    ("DCAU S /O=x/CN=y", "200 DCAU S."),
    ("DCSC D", "250 OK."),
    ("DCSC P !", "500 Invalid base64 input for credential type P."),
    ("SBUF 65536", "200 SBUF Command Successful."),
    ("SITE RETRBUFSIZE 65536", "200 Site Command Successful."),
    ("ALLO 100", "200 ALLO command successful."),
    ("TREV PERF 0.5", "200 Command Successful."),
    ("TREV RESTART 0", "200 Command Successful."),
    ("OPTS RETR Parallelism=4,4,4;", "200 OPTS Command Successful."),
    ("OPTS PASV AllowDelayed=0;", "200 OPTS Command Successful."),
    ("OPTS UTF8 ON", "200 OPTS Command Successful."),
    ("REST 100", "350 Restart Marker OK. Send STORE or RETR to initiate transfer."),
    ("PORT 127,0,0,1,200,200", "200 PORT Command successful."),
    ("PORT 10,0,0,1,200,200", "501 Illegal PORT command."),
    ("PORT 127,0,0,1,0,22", "501 Illegal PORT command."),
    ("EPRT |1|127.0.0.1|51400|", "200 PORT Command successful."),
    ("EPSV 2", "522 Network protocol not supported, use (1)."),
    ("STAT", "212 GridFTP server status."),
    ("SITE WHOAMI", "200 alice"),
    ("SITE TASKID x", "250 OK."),
    ("SITE CLIENTINFO x", "250 OK."),
    ("SITE DSI x", "500 no such DSI"),
    ("SITE FOO", "500 Invalid command."),
    ("FOO", "500 Command not supported."),
    ("HELP FOO", "502 Unknown command 'FOO'."),
    ("HELP STOR", "214 Help for STOR:\nSTOR\nEnd."),
    ("RETR file", "425 Command failed. : Unable to connect to 127.0.0.1:51400"),
    ("RETR file", "500 Command failed"),
    ("CWD d", "250 CWD command successful."),
    ("PWD", '257 "/d" is current directory.'),
    ("CDUP", "250 CWD command successful."),
    ("CWD file", "550 /file: Not a directory."),
    ("SIZE file", "213 5"),
    ("MFMT 20200102030405 file", "250 OK."),
    ("MDTM file", "213 20200102030405"),
    ("SITE UTIME 20210102030405 file", "250 OK."),
    ("MDTM file", "213 20210102030405"),
    ("SITE CHMOD 0640 file", "250 OK."),
    ("RNTO x", "501 Invalid command arguments."),
    ("RNFR file", "350 OK. Send RNTO with destination name."),
    ("RNTO other", "250 OK."),
    ("RNTO file", "501 Invalid command arguments."),
    ("SITE SYMLINKTO l", "501 Invalid command arguments."),
    ("SITE SYMLINKFROM other", "350 OK. Send SITE SYMLINKTO with symlink name."),
    ("SITE SYMLINKTO l", "250 OK."),
    ("SITE TRNC 100 other", "500 Current size is smaller than truncate size."),
    ("SITE TRNC 2 other", "250 OK."),
    ("DELE l", "250 OK."),
    ("SIZE other", "213 2"),
    ("CKSM MD5 0 -1 other", f"213 {hashlib.md5(b'he').hexdigest()}"),
    ("CKSM sha256 1 1 other", f"213 {hashlib.sha256(b'e').hexdigest()}"),
    ("CKSM ADLER32 5 -1 other", "213 00000001"),
    ("CKSM FOO 0 -1 other", "500 Unknown checksum algorithm requested."),
    ("SCKS FOO ab", "500 Unknown checksum algorithm requested."),
    ("SCKS MD5 ab", "200 OK."),
    ("SITE STORATTR modify=20200102030405;", "250 OK."),
    ("MKD n", '257 Directory "/n" created successfully.'),
    ("RMD n", "250 OK."),
    ("SITE RDEL d", "250 OK."),
    ("SITE RESTRICT nothing", "500 Path restriction entries must be full paths"),
]


def test_what_is_answered(talk: Dialogue, tmp_path: Path) -> None:
    """In this order, on one session."""
    (tmp_path / "file").write_bytes(b"hello")
    (tmp_path / "d" / "e").mkdir(parents=True)
    wrong = [
        (line, expected, found)
        for line, expected in ANSWERS
        if not (found := talk.text(line)).startswith(expected)
    ]
    assert not wrong
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]
    assert (tmp_path / "other").stat().st_mode & 0o7777 == 0o640


@pytest.mark.parametrize(
    ("line", "code", "name", "number"),
    [
        ("SIZE none", 550, "PATH_NOT_FOUND", 2),
        ("MKD d", 553, "PATH_EXISTS", 17),
        ("RMD d", 451, "INTERNAL_ERROR", 39),
        ("RMD f", 550, "NOT_A_DIRECTORY", 20),
        ("DELE d", 550, "IS_A_DIRECTORY", 21),
        ("MKD f/x", 550, "NOT_A_DIRECTORY", 20),
        ("CKSM MD5 0 -1 d", 550, "IS_A_DIRECTORY", 21),
        ("RETR d", 550, "IS_A_DIRECTORY", 21),
        ("STOR d", 550, "IS_A_DIRECTORY", 21),
        ("STOR none/f", 550, "PATH_NOT_FOUND", 2),
        ("MLSC none", 550, "PATH_NOT_FOUND", 2),
        ("MLSD none", 550, "PATH_NOT_FOUND", 2),
        ("SITE CHMOD 600 none", 550, "PATH_NOT_FOUND", 2),
        ("CWD none", 550, "PATH_NOT_FOUND", 2),
    ],
)
def test_what_a_storage_refuses(
    talk: Dialogue, tmp_path: Path, line: str, code: int, name: str, number: int
) -> None:
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "f").write_bytes(b"")
    talk.passive()
    reply = talk.ask(line)
    assert reply.code == code
    assert reply.lines[0].endswith(f"GlobusError: v=1 c={name}")
    assert reply.lines[1] == f"GridFTP-Errno: {number}"
    assert talk.preliminary == []


def test_a_first_half_that_failed_is_no_first_half(talk: Dialogue, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    talk.send("RNFR a", "RNFR none", "RNTO b", "SITE SYMLINKFROM a", "SITE SYMLINKFROM none",
              "SITE SYMLINKTO l")  # fmt: skip
    assert [talk.answer().code for _ in range(6)] == [350, 550, 501, 350, 550, 501]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_link_is_absolute(tmp_path: Path) -> None:
    """As with GCT, whatever was given."""
    (tmp_path / "f").write_bytes(b"12")
    with dialogue(PosixStorage(), opening=replace(OPENING, home=str(tmp_path))) as talk:
        assert talk.ask("SITE SYMLINKFROM f", "SITE SYMLINKTO l", "SIZE l").text == "2"
        assert (tmp_path / "l").readlink() == tmp_path / "f"
        target = parse_status_line(talk.ask("MLST l").raw[1]).link_target
        assert target == str((tmp_path / "f").resolve())


def test_a_narrowed_session_stays_narrow(talk: Dialogue, tmp_path: Path) -> None:
    for name in ("open", "read", "closed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_bytes(b"x")
    assert talk.ask("SITE RESTRICT RW/open,R/read").code == 250
    assert talk.ask("SITE RESTRICT RW/").code == 250
    denied = "550 Command failed : Path not allowed."
    for line in ("SIZE /closed/f", "MKD /read/d", "DELE /read/f", "RETR /closed/f", "STOR /read/g",
                 "CKSM MD5 0 -1 /closed/f", "MLSC /closed", "CWD /closed"):  # fmt: skip
        talk.passive()
        assert talk.text(line) == denied, line
    for line in ("SIZE /open/f", "MKD /open/d", "SIZE /read/f", "CWD /read"):
        assert talk.ask(line).code < 300, line
    names = [parse_fact_line(line).name for line in talk.ask("MLSC /").raw[1:-1]]
    assert sorted(names) == [".", "..", "open", "read"]


def test_names_of_any_bytes(talk: Dialogue, tmp_path: Path) -> None:
    for name in (b"\xff\xfe", b" a; b ", "é".encode(), b'q"q', b"a\nb", b"%41"):
        assert talk.ask(b"MKD /" + name).code == 257
        assert talk.ask(b"MLST /" + name).code == 250
        assert talk.ask(b"CWD /" + name).code == 250
        assert talk.ask(b"PWD").code == 257
        assert (tmp_path / os.fsdecode(name)).is_dir()
    lines = list(talk.ask("MLSC /").raw[1:-1])
    lines.remove(UNLISTABLE)
    assert len([parse_fact_line(line).name for line in lines]) == 2 + 5
    with pytest.raises(GridFTPError) as caught:
        parse_fact_line(UNLISTABLE)
    assert caught.value.kind is Kind.INVALID_NAME
    assert UNLISTABLE in talk.fetch("MLSR /").split(b"\r\n")


# -- listings


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "d" / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "d" / "file").write_bytes(b"12345")
    (tmp_path / "d" / "sub" / "deep" / "f").write_bytes(b"1")
    (tmp_path / "d" / "link").symlink_to("sub")
    (tmp_path / "d" / "dangling").symlink_to("nowhere")
    return tmp_path


def test_one_entry(talk: Dialogue, tree: Path) -> None:
    reply = talk.ask("MLST d/file")
    assert (reply.code, reply.lines[0], reply.lines[-1]) == (250, "status of d/file", "End.")
    entry = parse_status_line(reply.raw[1])
    assert (entry.name, entry.type, entry.size) == ("d/file", "file", 5)
    assert talk.ask("OPTS MLST Size;Type;", "MLST d/file").lines[1] == "Type=file;Size=5; d/file"
    assert talk.ask("MLST d/dangling").code == 550
    assert talk.ask("STAT d/file").lines[1].endswith(" file")


def listed(lines: list[bytes], *, tree: bool = False) -> dict[str, str]:
    entries = [parse_fact_line(line, relative_paths=tree) for line in lines]
    return {entry.name: entry.type.value for entry in entries}


def test_a_directory_on_the_control_channel(talk: Dialogue, tree: Path) -> None:
    reply = talk.ask("MLSC d")
    assert (reply.code, reply.lines[0], reply.lines[-1]) == (250, "Contents of d", "End.")
    assert listed(list(reply.raw[1:-1])) == {
        ".": "cdir", "..": "pdir", "file": "file", "sub": "dir", "link": "dir",
    }  # fmt: skip
    assert listed(list(talk.ask("MLSC d/file").raw[1:-1])) == {"file": "file"}


def test_a_large_directory_on_the_control_channel(talk: Dialogue, tmp_path: Path) -> None:
    """Several replies, a thousand entries each."""
    for number in range(2500):
        (tmp_path / f"f{number}").touch()
    last = talk.ask("MLSC")
    assert [reply.code for reply in talk.preliminary] == [150, 150]
    replies = [*talk.preliminary, last]
    lines = [line for reply in replies for line in reply.raw[1:-1]]
    assert [len(reply.raw) - 2 for reply in replies] == [1000, 1000, 502]
    assert len(listed(lines)) == 2502


def test_listings_on_a_data_channel(talk: Dialogue, tree: Path) -> None:
    def lines(command: str) -> list[bytes]:
        data = talk.fetch(command)
        assert (talk.answer().code, [reply.code for reply in talk.preliminary]) == (226, [150])
        assert data.endswith(b"\r\n")
        return data.split(b"\r\n")[:-1]

    assert listed(lines("MLSD d")) == {
        ".": "cdir", "..": "pdir", "file": "file", "sub": "dir", "link": "dir",
    }  # fmt: skip
    assert listed(lines("MLSD d/file")) == {"file": "file"}
    assert listed(lines("MLSR d"), tree=True) == {
        ".": "cdir", "file": "file", "sub": "dir", "link": "dir", "sub/deep": "dir",
        "sub/deep/f": "file",
    }  # fmt: skip
    assert sorted(lines("NLST d")) == [b".", b"..", b"file", b"link", b"sub"]
    assert [line.split()[-1] for line in lines("LIST -la d/sub")] == [b".", b"..", b"deep"]


def test_a_tree_with_what_may_not_be_read(tree: Path) -> None:
    """The rest is told; only the root must be readable."""

    class Partly(PosixStorage):
        def entries(self, path: bytes, **options: object):
            if path == b"/d/sub":
                raise PermissionError(13, "Permission denied")
            return super().entries(path, **options)

    with dialogue(Partly(tree)) as talk:
        lines = talk.fetch("MLSR d").split(b"\r\n")[:-1]
        assert talk.answer().code == 226
        assert set(listed(lines, tree=True)) == {".", "file", "sub", "link"}
        assert talk.ask("PASV", "MLSR d/sub").code == 550
        assert not talk.preliminary


# -- transfers


def test_files_go_and_come(talk: Dialogue, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    reply = talk.give("STOR f", content)
    assert (reply.code, reply.text) == (226, "Transfer Complete.")
    assert talk.preliminary[0].text == "Beginning transfer."
    assert (tmp_path / "f").read_bytes() == content
    assert talk.fetch("RETR f") == content
    assert talk.answer().code == 226
    assert talk.give("STOR f", b"short").code == 226
    assert (tmp_path / "f").read_bytes() == b"short"
    assert talk.give("APPE f", b"er").code == 226
    assert talk.give("APPE g", b"new").code == 226
    assert ((tmp_path / "f").read_bytes(), (tmp_path / "g").read_bytes()) == (b"shorter", b"new")
    assert talk.give("STOR empty", b"").code == 226
    assert talk.fetch("RETR empty") == b""
    assert talk.answer().code == 226


def test_parts_of_files(talk: Dialogue, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    for line, expected in {
        "ERET P 2 3 f": b"234",
        "ERET P 8 100 f": b"89",
        "ERET P 100 5 f": b"",
        'ERET P="0 2" f': b"01",
    }.items():
        assert talk.fetch(line) == expected
        assert talk.answer().code == 226
    assert talk.give("ESTO A 4 f", b"xy").code == 226
    assert (tmp_path / "f").read_bytes() == b"0123xy6789"


def test_restarts(talk: Dialogue, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    assert talk.ask("REST 7").code == 350
    assert talk.fetch("RETR f") == b"789"
    assert talk.answer().code == 226
    assert talk.fetch("RETR f") == b"0123456789"  # it holds once
    assert talk.answer().code == 226
    assert talk.ask("REST 4").code == 350
    assert talk.give("STOR f", b"ab").code == 226
    assert (tmp_path / "f").read_bytes() == b"0123ab6789"
    assert talk.ask("REST 0").code == 350
    assert talk.give("STOR f", b"ab").code == 226
    assert (tmp_path / "f").read_bytes() == b"ab"


def test_facts_of_the_next_file(talk: Dialogue, tmp_path: Path) -> None:
    assert talk.ask("SITE STORATTR modify=20200102030405;").code == 250
    assert talk.give("STOR f", b"x").code == 226
    assert (tmp_path / "f").stat().st_mtime == 1577934245
    assert talk.give("STOR g", b"x").code == 226
    assert (tmp_path / "g").stat().st_mtime > 1577934245


@pytest.mark.parametrize("form", ["SCKS {} {}", "SITE STORATTR checksum.{}={};"])
@pytest.mark.parametrize("algorithm", ["MD5", "SHA256"])
def test_a_checksum_that_the_next_file_must_have(
    talk: Dialogue, tmp_path: Path, form: str, algorithm: str
) -> None:
    content = os.urandom(3_000_000)
    digest = hashlib.new(algorithm, content).hexdigest()
    assert talk.ask(form.format(algorithm, digest)).code in (200, 250)
    assert talk.give("STOR f", content).code == 226
    assert talk.ask(form.format(algorithm, digest.upper())).code in (200, 250)
    reply = talk.give("STOR f", content[:-1])
    assert reply.code == 550
    computed = hashlib.new(algorithm, content[:-1]).hexdigest()
    assert reply.lines[:3] == (
        "GlobusError: v=1 c=INCORRECT_CHECKSUM",
        f"GridFTP-Computed-Checksum: {computed}",
        f"GridFTP-Expected-Checksum: {digest}",
    )
    assert (tmp_path / "f").read_bytes() == content[:-1]  # it stays
    assert talk.give("STOR f", b"any").code == 226


def test_an_address_that_comes_with_the_transfer(talk: Dialogue, tmp_path: Path) -> None:
    assert talk.ask("OPTS PASV AllowDelayed=1;").code == 200
    assert talk.text("PASV") == "200 Passive delayed."
    talk.send("STOR f")
    reply = talk.next()
    assert reply.code == 127
    with socket.create_connection(address_of(reply.text)) as connection:
        connection.sendall(b"later")
    assert talk.next().code == 150
    assert talk.answer().code == 226
    assert (tmp_path / "f").read_bytes() == b"later"


def test_a_failed_transfer_takes_the_channel_with_it(talk: Dialogue, tmp_path: Path) -> None:
    talk.passive()
    talk.send("RETR none", "STOR f", "MLSD")
    assert talk.answer().code == 550
    assert [str(talk.answer()) for _ in range(2)] == ["Reply(500, 'Command failed')"] * 2


def test_a_failed_listing_does_not(talk: Dialogue, tmp_path: Path) -> None:
    address = talk.passive()
    assert talk.ask("MLSD none").code == 550
    talk.send("MLSD")
    with socket.create_connection(address) as connection:
        assert connection.recv(10) == b"Type=cdir;"
    assert talk.answer().code in (226, 426)


def test_a_promise_to_use_epsv_only(talk: Dialogue) -> None:
    assert talk.ask("EPSV ALL").code == 229
    assert [talk.ask(line).code for line in ("PASV", "PORT 127,0,0,1,200,200", "SPAS")] == [501] * 3
    assert talk.ask("EPSV").text.startswith("Entering Extended Passive Mode (|||")


def test_addresses_of_ipv6_have_one_command(tmp_path: Path) -> None:
    """The others have no words for them."""
    opening = replace(OPENING, local_host="::1", peer_host="::1")
    with dialogue(PosixStorage(tmp_path), opening=opening) as talk:
        assert [talk.ask(line).code for line in ("PASV", "SPAS")] == [425, 425]
        assert talk.ask("OPTS PASV AllowDelayed=1;").code == 200
        assert talk.ask("PASV").code == 425
        assert talk.ask("EPSV").text.startswith("Entering Extended Passive Mode (|||")


def test_without_a_channel_no_file_is_touched(talk: Dialogue, tmp_path: Path) -> None:
    """Hundreds of STORs may have been sent ahead of the one that failed."""
    for name in "abc":
        (tmp_path / name).write_bytes(b"old")
    address = talk.passive()
    talk.send("ESTO A 0 none/f", "STOR a", "STOR b", "APPE new", "MODE E", "STOR c", "RETR c")
    assert [talk.answer().code for _ in range(7)] == [550, 500, 500, 500, 200, 500, 500]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == dict.fromkeys(
        "abc", b"old"
    )
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_the_tree_that_is_deleted_may_be_a_file(talk: Dialogue, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(b"")
    (tmp_path / "l").symlink_to("d")
    (tmp_path / "f").write_bytes(b"")
    assert [talk.ask(f"SITE RDEL {name}").code for name in "lf"] == [250, 250]
    assert [path.name for path in tmp_path.iterdir()] == ["d"]
    assert talk.ask("SITE RDEL d").code == 250
    assert talk.ask("SITE RDEL d").code == 550
