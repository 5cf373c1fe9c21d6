import pytest

from towpath.gridftp.errors import GridFTPError, Kind, Scope, cause_of, classify, printable
from towpath.gridftp.wire.replies import Reply

CASES = [
    (550, ("GlobusError: v=1 c=PATH_NOT_FOUND", "GridFTP-Errno: 2", "End."), Kind.NOT_FOUND),
    (
        500,
        (
            "Command failed. : Unable to open file /x",
            "globus_xio: System error in open: No such file or directory",
            "End.",
        ),
        Kind.NOT_FOUND,
    ),
    (500, ("globus_xio: System error in open: Permission denied",), Kind.PERMISSION_DENIED),
    (550, ("GlobusError: v=1 c=IS_A_DIRECTORY",), Kind.IS_A_DIRECTORY),
    (500, ("globus_xio: System error in read: Is a directory",), Kind.IS_A_DIRECTORY),
    (550, ("GlobusError: v=1 c=NOT_A_DIRECTORY",), Kind.NOT_A_DIRECTORY),
    (553, ("GlobusError: v=1 c=PATH_EXISTS", "GridFTP-Errno: 17"), Kind.EXISTS),
    (451, ("GlobusError: v=1 c=INTERNAL_ERROR", "GridFTP-Errno: 39", "End."), Kind.NOT_EMPTY),
    (552, ("GlobusError: v=1 c=NO_SPACE_LEFT",), Kind.NO_SPACE),
    (552, ("GlobusError: v=1 c=QUOTA_EXCEEDED",), Kind.QUOTA),
    (500, ("globus_xio: System error in write: No space left on device",), Kind.NO_SPACE),
    (550, ("Command failed : Path not allowed.",), Kind.PATH_NOT_ALLOWED),
    (
        500,
        (
            "Command failed. : globus_xio: Unable to connect to 127.0.0.1:38791",
            "globus_xio: System error in connect: Connection refused",
        ),
        Kind.DATA_REFUSED,
    ),
    (
        500,
        ("globus_xio: System error in writev: Connection reset by peer",),
        Kind.DATA_BROKEN,
    ),
    (500, ("Command failed. : an end-of-file was reached",), Kind.DATA_BROKEN),
    (
        500,
        (
            "an authentication operation failed",
            "globus_xio_gsi: gss_init_sec_context failed.",
        ),
        Kind.DATA_AUTH,
    ),
    (500, ("Command failed",), Kind.CHANNEL_GONE),
    (500, ("Command failed.",), Kind.CHANNEL_GONE),
    (550, ("GlobusError: v=1 c=INCORRECT_CHECKSUM",), Kind.CHECKSUM_MISMATCH),
    (500, ("Unknown checksum algorithm requested.",), Kind.CHECKSUM_UNSUPPORTED),
    (
        530,
        ("globus_xio: Authentication Error", "The certificate has expired: Credential with"),
        Kind.CREDENTIAL_EXPIRED,
    ),
    (
        530,
        ("globus_xio: Authentication Error", "Cannot find trusted CA certificate with hash 1"),
        Kind.AUTHENTICATION,
    ),
    (
        530,
        ("Login incorrect. : globus_gss_assist: Gridmap lookup failure: Could not map /O=A",),
        Kind.MAPPING,
    ),
    (530, ("Login incorrect. : Invalid user.",), Kind.LOGIN),
    (530, ("Must perform GSSAPI authentication.",), Kind.LOGIN),
    (421, ("Idle Timeout: closing control connection.",), Kind.CONNECTION_LOST),
    (500, ("Invalid command.",), Kind.UNSUPPORTED),
    (425, ("something",), Kind.DATA_REFUSED),
    (426, ("something",), Kind.DATA_BROKEN),
    (599, ("what is this",), Kind.UNKNOWN),
]


@pytest.mark.parametrize(("code", "lines", "kind"), CASES)
def test_texts_of_real_servers(code: int, lines: tuple[str, ...], kind: Kind) -> None:
    error = classify(Reply.of(code, *lines), where="h:2811", path="/data/x")
    assert error.kind is kind
    assert error.where == "h:2811"
    assert error.path == "/data/x"


def test_a_file_cannot_choose_its_error() -> None:
    path = "/d/Permission denied"
    reply = Reply.of(500, f"Unable to open file {path}", "System error: No such thing")
    assert classify(reply, where="h", path=path).kind is Kind.UNKNOWN


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_says_what_to_do(kind: Kind) -> None:
    error = GridFTPError(kind, "it failed", "h:1")
    assert error.advice
    assert isinstance(error.scope, Scope)
    assert isinstance(error.permanent, bool)
    assert str(error).startswith("h:1: it failed")


def test_the_cause_is_not_the_echo() -> None:
    echo = GridFTPError(Kind.DATA_BROKEN, "reset", "a")
    cause = GridFTPError(Kind.NO_SPACE, "full", "b")
    assert cause_of(echo, cause) is cause
    assert cause_of(cause, echo) is cause
    assert cause_of(echo, None) is echo
    assert cause_of(None, echo) is echo
    assert cause_of(None, None) is None


def test_replies_are_shown_bounded_and_printable() -> None:
    reply = Reply(550, (b"\x1b[31m caf\xe9 \x00" + b"x" * 5000,))
    shown = classify(reply, where="h").reply
    assert shown is not None
    assert len(shown) < 1200
    assert shown.isprintable()
    assert printable("a\udce9\nb") == "a\\xe9 / b"
