"""File names: the two spellings, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.transfer import names


def wire(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


@given(st.binary(max_size=40))
def test_every_name_survives_the_way_out_and_back(raw: bytes) -> None:
    text = names.to_text(wire(raw))
    text.encode("utf-8")
    assert names.to_wire(text) == wire(raw)


@given(st.text(max_size=20), st.text(max_size=20))
def test_different_names_never_look_alike(one: str, two: str) -> None:
    one, two = (text.encode("utf-8", "ignore").decode() for text in (one, two))
    assert (names.to_text(one) == names.to_text(two)) == (one == two)


def test_spelling_of_foreign_bytes() -> None:
    assert names.to_text(wire(b"/data/caf\xe9/x")) == "/data/\ufffdcafé/x"
    assert names.to_text("/plain/é") == "/plain/é"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        "/a/../b",
        "/a/..",
        "a\0b",
        "/a\nb",
        "/a\rb",
        "/" + "x" * 256,
        "/" + "é" * 128,
        "/" + "/".join(["x" * 250] * 17),
        "/\ud800",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(names.InvalidPathError):
        names.check_path(text)


def test_an_escape_cannot_smuggle_a_parent_directory() -> None:
    assert ".." not in names.check_path("/a/\ufffd../b").split("/")


@pytest.mark.parametrize(
    ("given_path", "absolute", "tidy"),
    [
        ("/", "/", "/"),
        ("/a//b/./c/", "/a/b/c", "/a/b/c/"),
        ("/~/", "/home/u", "/~/"),
        ("/~", "/home/u", "/~/"),
        ("~", "/home/u", "/~/"),
        ("~/x", "/home/u/x", "/~/x/"),
        ("/~/x/y", "/home/u/x/y", "/~/x/y/"),
        ("x", "/home/u/x", "/~/x/"),
        ("/~x", "/~x", "/~x/"),
        ("~x", "/home/u/~x", "/~/~x/"),
        (" x", "/home/u/ x", "/~/ x/"),
    ],
)
def test_absolute_and_tidy(given_path: str, absolute: str, tidy: str) -> None:
    assert names.absolute(given_path, "/home/u") == absolute
    assert names.tidy(given_path) == tidy
    if not names.needs_home(given_path):
        assert names.absolute(given_path, "/elsewhere") == absolute
