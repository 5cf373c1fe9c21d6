import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire import commands
from towpath.gridftp.wire.addresses import (
    HostPort,
    parse_passive,
    parse_six_numbers,
)
from towpath.gridftp.wire.ranges import ByteRange, RangeSet
from towpath.gridftp.wire.replies import Reply

BUILDERS = [
    commands.stor,
    commands.retr,
    commands.mlst,
    commands.mlsc,
    commands.mkd,
    commands.dele,
    commands.size,
    lambda path: commands.esto(path, 5),
    lambda path: commands.eret(path, ByteRange(1, 3)),
    lambda path: commands.cksm(path, "SHA256"),
    lambda path: commands.mfmt(path, 0),
]


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("path", ["a\r\nDELE b", "a\nb", "a\0b", "", " a", "\ta"])
def test_no_builder_lets_a_name_become_a_command(builder, path: str) -> None:
    with pytest.raises(GridFTPError) as caught:
        builder(path)
    assert caught.value.kind is Kind.INVALID_NAME


def test_forms() -> None:
    assert commands.esto("/d f", 1000) == "ESTO A 1000 /d f"
    assert commands.eret("/f", ByteRange(10, 15)) == "ERET P 10 5 /f"
    assert commands.cksm("/f", "SHA256") == "CKSM SHA256 0 -1 /f"
    assert commands.cksm("/f", "MD5", ByteRange(3, 9)) == "CKSM MD5 3 6 /f"
    assert commands.storattr_modified(1577934245) == "SITE STORATTR modify=20200102030405;"
    assert commands.port(HostPort("127.0.0.1", 51543)) == "PORT 127,0,0,1,201,87"
    assert commands.rest(RangeSet([ByteRange(0, 5), ByteRange(7, 9)])) == "REST 0-5,7-9"
    assert commands.stor("/dir/ name ") == "STOR /dir/ name "


@given(st.binary(max_size=50).filter(lambda data: not set(data) & set(b"\r\n\0")))
def test_every_name_is_sent_as_its_bytes(data: bytes) -> None:
    line = commands.mlst("/" + data.decode("utf-8", "surrogateescape"))
    assert commands.encode_line(line) == b"MLST /" + data


@pytest.mark.parametrize("name", ["/dé", "/\udcff"])
def test_clear_text_takes_ascii_only(name: str) -> None:
    with pytest.raises(GridFTPError) as caught:
        commands.encode_line(commands.mkd(name), ascii_only=True)
    assert caught.value.kind is Kind.INVALID_NAME


def test_a_surrogate_that_is_no_byte_is_refused() -> None:
    with pytest.raises(GridFTPError) as caught:
        commands.encode_line("MKD /\ud800")
    assert caught.value.kind is Kind.INVALID_NAME


@given(st.ip_addresses(v=4), st.integers(1, 65535))
def test_addresses_read_back(host, port: int) -> None:
    address = HostPort(str(host), port)
    assert parse_passive(Reply.of(227, f"Entering Passive Mode ({address})")) == [address]
    striped = Reply.of(229, "Entering Striped Passive Mode.", str(address), "End")
    assert parse_passive(striped) == [address]


@pytest.mark.parametrize(
    "text", ["1,2,3,4,5", "256,0,0,1,1,1", "1,2,3,4,5,6,7", "127,0,0,1,0,0", "1.2.3.4:5"]
)
def test_what_is_no_address(text: str) -> None:
    assert parse_six_numbers(text) is None
    with pytest.raises(GridFTPError):
        parse_passive(Reply.of(227, text))


ADDRESS = HostPort("127.0.0.1", 1)
COMMANDS = {
    commands.stor: ("/f",),
    commands.retr: ("/f",),
    commands.esto: ("/f", 1),
    commands.eret: ("/f", ByteRange(0, 1)),
    commands.cksm: ("/f", "MD5"),
    commands.storattr_modified: (0,),
    commands.storattr_expected: (0, "ab"),
    commands.scks: ("MD5", "ab"),
    commands.mfmt: ("/f", 0),
    commands.utime: ("/f", 0),
    commands.mlst: ("/f",),
    commands.mlsc: ("/f",),
    commands.mlsd: ("/f",),
    commands.mlsr: ("/f",),
    commands.mkd: ("/f",),
    commands.rmd: ("/f",),
    commands.dele: ("/f",),
    commands.rnfr: ("/f",),
    commands.rnto: ("/f",),
    commands.size: ("/f",),
    commands.mdtm: ("/f",),
    commands.cwd: ("/f",),
    commands.rdel: ("/f",),
    commands.chmod: ("/f", 0o600),
    commands.chgrp: ("/f", "users"),
    commands.symlink_from: ("/f",),
    commands.symlink_to: ("/f",),
    commands.truncate: ("/f", 1),
    commands.restrict: ("R/f",),
    commands.task_id: ("x",),
    commands.client_info: ("x", "1"),
    commands.port: (ADDRESS,),
    commands.rest: (RangeSet([ByteRange(0, 1)]),),
    commands.parallelism: (2,),
    commands.digest_sent: ("MD5",),
    commands.digest_received: ("MD5",),
}
READ = {
    *(commands.cksm, commands.mlst, commands.mlsc, commands.mlsd, commands.mlsr, commands.size),
    *(commands.mdtm, commands.cwd, commands.restrict, commands.task_id, commands.client_info),
    *(commands.parallelism, commands.digest_sent, commands.digest_received),
}


def test_every_command_is_known_to_read_or_may_not_be_sent_by_who_only_reads() -> None:
    builders = {
        made
        for name, made in vars(commands).items()
        if callable(made)
        and not name.startswith("_")
        and getattr(made, "__module__", "") == commands.__name__
        and made.__annotations__.get("return") == "str"
    } - {commands.check_line, commands.restriction}  # no commands by themselves
    assert builders == set(COMMANDS)
    harmless = {
        made for made, given in COMMANDS.items() if commands.only_reads(made(*given).encode())
    }
    assert harmless == READ


@pytest.mark.parametrize(
    "line",
    [b"dele /f", b" DELE /f", b"SITE\tRDEL /f", b"SITE  RDEL /f", b"site rdel /f", b"APPE /f", b""],
)
def test_what_is_not_known_is_not_harmless(line: bytes) -> None:
    assert not commands.only_reads(line)
