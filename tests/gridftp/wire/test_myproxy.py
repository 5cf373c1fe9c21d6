from base64 import b64encode
from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.myproxy import (
    LINES_LIMIT,
    MESSAGE_LIMIT_BYTES,
    TRUST_ROOTS_LIMIT_BYTES,
    VALUE_LIMIT_BYTES,
    Command,
    MessageReader,
    Request,
    Response,
    Status,
    StoredCredential,
    encode_certificates,
)

T = TypeVar("T")

OK = b"VERSION=MYPROXYv2\nRESPONSE=0\n\0"

# what a value of a response may hold: anything but the end of its line and of the message
texts = st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]), max_size=30)
words = st.text("abcXYZ019_-.", min_size=1, max_size=12)
file_names = st.from_regex(r"[0-9a-f]{8}\.(0|r0|signing_policy|info)", fullmatch=True)
unix_s = st.integers(0, 10**11 - 1)


@st.composite
def stored_credentials(draw: st.DrawFn) -> tuple[StoredCredential, ...]:
    names = draw(st.lists(words, max_size=4, unique=True))
    # a name that continues another one could take its lines: names are told apart by them
    names = [name for name in names if not any(name.startswith(f"{o}_") for o in names)]
    return tuple(
        StoredCredential(name, draw(texts), draw(unix_s), draw(unix_s), draw(texts), draw(texts))
        for name in (draw(st.sampled_from(["", "first"])), *names)
    )


@st.composite
def responses(draw: st.DrawFn) -> Response:
    if draw(st.booleans()):
        return Response(Status.REFUSED, tuple(draw(st.lists(texts, max_size=3))))
    return Response(
        draw(st.sampled_from([Status.OK, Status.CHALLENGE])),
        (),
        draw(st.one_of(st.just(()), stored_credentials())),
        draw(st.dictionaries(file_names, st.binary(max_size=60), max_size=3)),
    )


def encode(response: Response) -> bytes:
    """As myproxy_serialize_response does."""
    lines = ["VERSION=MYPROXYv2", f"RESPONSE={response.status:d}"]
    for number, item in enumerate(response.credentials):
        prefix = f"CRED_{item.name}_" if number else "CRED_"
        if item.name and not number:
            lines.append(f"CRED_NAME={item.name}")
        lines.append(f"{prefix}DESC={item.description}")
        lines.append(f"{prefix}START_TIME={item.starts_unix_s}")
        lines.append(f"{prefix}END_TIME={item.ends_unix_s}")
        lines.append(f"{prefix}OWNER={item.owner}")
        lines.append(f"{prefix}LOCKMSG={item.locked}")
    if response.credentials[1:]:
        lines.append("ADDL_CREDS=" + ",".join(item.name for item in response.credentials[1:]))
    lines += [f"ERROR={line}" for line in response.errors]
    if response.trust_roots:
        lines.append("TRUSTED_CERTS=" + ",".join(response.trust_roots))
        for name, content in response.trust_roots.items():
            lines.append(f"FILEDATA_{name}={b64encode(content).decode()}")
    return "\n".join(lines).encode() + b"\n\0"


@st.composite
def elements(draw: st.DrawFn) -> bytes:
    content = draw(st.binary(max_size=20)) * draw(st.sampled_from([1, 20, 100]))
    size = len(content)
    if size < 0x80 and draw(st.booleans()):
        return b"\x30" + bytes([size]) + content
    digits = size.to_bytes(draw(st.integers(max(1, (size.bit_length() + 7) // 8), 4)), "big")
    return b"\x30" + bytes([0x80 | len(digits)]) + digits + content


chains = st.lists(elements(), min_size=1, max_size=5).map(tuple)


def read(
    stream: bytes, take: Callable[[MessageReader], Callable[[], T | None]], data: st.DataObject
) -> tuple[T, MessageReader]:
    """The first message of a stream that comes in any portions; nothing before its last byte."""
    reader = MessageReader()
    while stream:
        assert take(reader)() is None
        size = data.draw(st.integers(1, len(stream)))
        reader.feed(stream[:size])
        stream = stream[size:]
    message = take(reader)()
    assert message is not None
    return message, reader


@given(responses(), st.integers(0, 2), st.data())
def test_responses(response: Response, nuls: int, data: st.DataObject) -> None:
    stream = b"\0" * nuls + encode(response)
    found, reader = read(stream, lambda reader: reader.response, data)
    assert found == response
    assert reader.response() is None


@given(st.lists(responses(), max_size=4), st.data())
def test_responses_one_after_another(expected: list[Response], data: st.DataObject) -> None:
    stream = b"".join(map(encode, expected))
    reader = MessageReader()
    found = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        reader.feed(stream[:size])
        stream = stream[size:]
        while (response := reader.response()) is not None:
            found.append(response)
    assert found == expected


@given(chains, st.data())
def test_certificates(chain: tuple[bytes, ...], data: st.DataObject) -> None:
    stream = encode_certificates(chain)
    assert read(stream, lambda reader: reader.certificates, data)[0] == chain


@given(elements(), st.data())
def test_certificate_requests(request: bytes, data: st.DataObject) -> None:
    assert read(request, lambda reader: reader.certificate_request, data)[0] == request


@given(chains, responses(), elements())
def test_messages_that_come_together_are_told_apart(
    chain: tuple[bytes, ...], response: Response, request: bytes
) -> None:
    reader = MessageReader()
    reader.feed(OK + encode_certificates(chain) + encode(response) + request)
    assert reader.response() == Response(Status.OK)
    assert reader.certificates() == chain
    assert reader.response() == response
    assert reader.certificate_request() == request
    assert reader.certificates() is None


@given(st.data())
def test_why_there_is_no_certificate(data: st.DataObject) -> None:
    refusal = Response(Status.REFUSED, ("Unable to delegate credentials.",))
    for take in ("certificates", "certificate_request"):
        assert read(encode(refusal), lambda r, take=take: getattr(r, take), data)[0] == refusal


@given(
    st.binary(max_size=300), st.sampled_from(["response", "certificates", "certificate_request"])
)
def test_garbage_is_a_message_or_nonsense(garbage: bytes, what: str) -> None:
    def outcome(portions: list[bytes]) -> object:
        reader = MessageReader()
        try:
            for portion in portions:
                reader.feed(portion)
                message = getattr(reader, what)()
                if message is not None:
                    return message
        except GridFTPError as error:
            return error.kind, error.message
        return None

    assert outcome([garbage]) == outcome([garbage[i : i + 1] for i in range(len(garbage))])


@given(responses(), st.data())
def test_a_damaged_response_is_a_response_or_nonsense(
    response: Response, data: st.DataObject
) -> None:
    stream = bytearray(encode(response))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    reader = MessageReader()
    reader.feed(bytes(stream))
    kind = None
    try:
        reader.response()
    except GridFTPError as error:
        kind = error.kind
    assert kind in (None, Kind.PROTOCOL)


@pytest.mark.parametrize(
    "text",
    [
        b"\0\n\0",
        b"HTTP/1.1 400 Bad Request\r\n\0",
        b"VERSION=MYPROXYv1\nRESPONSE=0\n\0",
        b"VERSION=MYPROXYv2\n\0",
        b"VERSION=MYPROXYv2\nRESPONSE=3\n\0",
        b"VERSION=MYPROXYv2\nRESPONSE=00\n\0",
        b"VERSION=MYPROXYv2\nRESPONSE=0\nCRED_START_TIME=x\nCRED_END_TIME=1\n\0",
        b"VERSION=MYPROXYv2\nRESPONSE=0\nCRED_START_TIME=1\nCRED_END_TIME=" + b"9" * 5000 + b"\n\0",
        b"VERSION=MYPROXYv2\nRESPONSE=0\nCRED_START_TIME=1\n\0",
        b"VERSION=MYPROXYv2\nRESPONSE=0\nFILEDATA_01234567.0=!!!\n\0",
    ],
)
def test_what_is_no_response(text: bytes) -> None:
    reader = MessageReader()
    reader.feed(text)
    with pytest.raises(GridFTPError) as caught:
        reader.response()
    assert caught.value.kind is Kind.PROTOCOL


def test_unknown_lines_are_ignored_and_the_first_of_two_counts() -> None:
    reader = MessageReader()
    reader.feed(b"VERSION=MYPROXYv2\nRESPONSE=0\nRESPONSE=1\nFUTURE=x\nnonsense\n\n\0")
    assert reader.response() == Response(Status.OK)


def test_files_can_neither_leave_their_directory_nor_hide_in_it() -> None:
    names = ["../evil", "/etc/evil", ".hidden", "..", "a/b", "a\\b", "a b", "-rf", "x" * 101, "é"]
    lines = "".join(f"FILEDATA_{name}=YQ==\n" for name in [*names, "", "0123abcd.0"])
    reader = MessageReader()
    reader.feed(f"VERSION=MYPROXYv2\nRESPONSE=0\n{lines}\0".encode())
    response = reader.response()
    assert response is not None
    assert response.trust_roots == {"0123abcd.0": b"a"}


def test_hostile_sizes() -> None:
    for limit in (MESSAGE_LIMIT_BYTES, TRUST_ROOTS_LIMIT_BYTES):
        reader = MessageReader(limit)
        reader.feed(b"x" * limit)
        with pytest.raises(GridFTPError, match="without end"):
            reader.feed(b"x")

    lines = MessageReader(TRUST_ROOTS_LIMIT_BYTES)
    lines.feed(b"\n" * (LINES_LIMIT + 1) + b"\0")
    with pytest.raises(GridFTPError, match="too many lines"):
        lines.response()

    for start in (b"\x30\x84\xff\xff\xff\xff", b"\x30\x80", b"\x30\x85", b"\x31", b"\x2d---"):
        for prefix, what in ((b"", "certificate_request"), (b"\xff", "certificates")):
            reader = MessageReader()
            reader.feed(prefix + start)
            with pytest.raises(GridFTPError) as caught:
                getattr(reader, what)()
            assert caught.value.kind is Kind.PROTOCOL

    none = MessageReader()
    none.feed(b"\0")
    with pytest.raises(GridFTPError, match="no certificate"):
        none.certificates()


_LINE = {
    "username": "USERNAME=",
    "passphrase": "PASSPHRASE=",
    "new_passphrase": "NEW_PHRASE=",
    "credential_name": "CRED_NAME=",
    "description": "CRED_DESC=",
}


requested = st.one_of(
    st.text(max_size=20),
    st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), max_size=20),
)


@given(
    st.sampled_from(Command),
    st.integers(0, 10**9),
    st.fixed_dictionaries(dict.fromkeys(_LINE, requested)),
)
def test_a_request_has_the_lines_that_it_should_have_or_is_refused(
    command: Command, lifetime_s: int, values: dict[str, str]
) -> None:
    request = Request(command, lifetime_s=lifetime_s, **values)
    everything = "".join(values.values())
    if any(c in "\n\r\0" or "\ud800" <= c <= "\udfff" for c in everything):
        with pytest.raises(GridFTPError):
            request.encode()
        return
    message = request.encode()
    head = ["VERSION=MYPROXYv2", f"COMMAND={command:d}"]
    expected = {_LINE[key] + value for key, value in values.items() if value}
    expected |= {"USERNAME=" + values["username"], "PASSPHRASE=" + values["passphrase"]}
    assert message.endswith(b"\n\0")
    lines = message[:-2].decode("utf-8", "surrogateescape").split("\n")
    assert lines[:2] == head
    assert sorted(lines[2:]) == sorted([*expected, f"LIFETIME={lifetime_s}"])


@pytest.mark.parametrize("what", _LINE)
@pytest.mark.parametrize(
    "value",
    [
        "a\nLIFETIME=9",
        "a\0b",
        "a\rb",
        "x RETRIEVER=*",  # the server looks for its words anywhere in the request
        "TRUSTED_CERTS=1",
        "x" * (VALUE_LIMIT_BYTES + 1),
        "é" * (VALUE_LIMIT_BYTES // 2 + 1),
        "\ud800",
    ],
)
def test_no_value_can_add_to_a_request(what: str, value: str) -> None:
    secret = f"{value} secret"
    with pytest.raises(GridFTPError) as caught:
        Request(Command.PUT, **{what: secret}).encode()
    assert caught.value.kind is Kind.LOGIN
    assert "secret" not in f"{caught.value} {caught.value!r}"


def test_a_request_does_not_show_its_secrets() -> None:
    request = Request(Command.GET, "alice", "correct horse", new_passphrase="battery staple")
    assert "alice" in repr(request)
    assert "horse" not in repr(request)
    assert "staple" not in repr(request)
