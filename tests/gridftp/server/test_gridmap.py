"""Gridmap files as grids have them."""

import os
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.security.names import one_line
from towpath.gridftp.server import gridmap
from towpath.gridftp.server.gridmap import Gridmap, parse_gridmap

LETTERS = b"""
# who may do what
"/O=Lab/CN=Ana Lu" ana,data
/O=Lab/CN=Bob\tbob
  "/O=Lab/CN=\\"Cy\\" \\\\ Doe"   cy
"/O=Lab/CN=host/ftp.example.org" ftp
"/O=Lab/OU=a\\/b/CN=Dan" dan
"/O=Lab/CN=Zo\\xc3\\xAB" zoe
"/O=Lab/CN=Zo\xc3\xab 2" zoe2
"/O=Lab/CN=\\x41nton" anton
"/O=Lab/E=eve@example.org" eve
"/USERID=fay/O=Lab" fay
"/O=Lab/CN=Ana Lu" guest,ana
"""


@pytest.mark.parametrize(
    ("subject", "accounts"),
    [
        ("/O=Lab/CN=Ana Lu", ("ana", "data", "guest")),
        ("/O=Lab/CN=Bob", ("bob",)),
        ('/O=Lab/CN="Cy" \\ Doe', ("cy",)),
        ("/O=Lab/CN=host\\/ftp.example.org", ("ftp",)),
        ("/O=Lab/OU=a\\/b/CN=Dan", ("dan",)),
        ("/O=Lab/CN=Zo\\xC3\\xAB", ("zoe",)),
        ("/O=Lab/CN=Zo\\xC3\\xAB 2", ("zoe2",)),
        ("/O=Lab/CN=Anton", ("anton",)),
        ("/O=Lab/emailAddress=eve@example.org", ("eve",)),
        ("/UID=fay/O=Lab", ("fay",)),
    ],
)
def test_names(subject: str, accounts: tuple[str, ...]) -> None:
    content = parse_gridmap(LETTERS)
    assert content.bad_lines == ()
    assert content.accounts[subject] == accounts


@pytest.mark.parametrize(
    "line",
    [
        b'"/O=Lab/CN=Ana ana',
        b"/O=Lab/CN=Ana",
        b'"/O=Lab/CN=Ana"ana',
        b'"/O=Lab/CN=Ana" ana,',
        b'"/O=Lab/CN=Ana" ana, bob',
        b'"/O=Lab/CN=Ana" an\xc3\xa4',
        b'"/O=Lab/CN=Ana\\" ana',
    ],
)
def test_a_line_that_makes_no_sense_maps_nobody_and_spoils_nothing(line: bytes) -> None:
    content = parse_gridmap(line + b'\n"/O=Lab/CN=Bob" bob\n')
    assert content.bad_lines == (1,)
    assert content.accounts == {"/O=Lab/CN=Bob": ("bob",)}


@given(st.binary(max_size=300))
def test_any_bytes_are_taken(content: bytes) -> None:
    for accounts in parse_gridmap(content).accounts.values():
        assert all(accounts)


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20))
def test_any_common_name_finds_its_line(name: str) -> None:
    encoded = name.encode()
    subject = one_line((gridmap_attribute(encoded),))
    written = b"".join(b"\\x%02x" % byte for byte in encoded)
    content = parse_gridmap(b'"/CN=' + written + b'" someone\n')
    assert list(content.accounts.values()) == [("someone",)]
    if b"\\" not in encoded:  # OpenSSL does not escape it: a name with one may be read in two ways
        assert content.accounts[gridmap.canonical(subject)] == ("someone",)


def gridmap_attribute(value: bytes) -> object:
    from towpath.gridftp.security.certificates import Attribute

    return Attribute(x509.NameOID.COMMON_NAME.dotted_string, value)


def test_it_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "gridmap"
    path.write_bytes(b"/CN=a one\n")
    mapping = Gridmap(path)
    assert mapping.accounts("/CN=a") == ("one",)
    assert mapping.accounts("/CN=b") == ()
    assert mapping.names_account("one")
    path.write_bytes(b"/CN=a two\nnonsense\n")
    assert mapping.accounts("/CN=a") == ("two",)
    assert mapping.bad_lines() == (2,)
    assert not mapping.names_account("one")
    other = tmp_path / "other"
    other.write_bytes(b"/CN=a six\nnonsense\n")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)
    assert mapping.accounts("/CN=a") == ("six",)


def test_a_file_that_is_gone_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "gridmap"
    path.write_bytes(b"/CN=a one\n")
    mapping = Gridmap(path)
    assert mapping.accounts("/CN=a") == ("one",)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        mapping.accounts("/CN=a")


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gridmap"
    path.write_bytes(b"/CN=a one\n")
    monkeypatch.setattr(gridmap, "MAX_FILE_BYTES", 5)
    with pytest.raises(ValueError, match="too large"):
        Gridmap(path).accounts("/CN=a")
