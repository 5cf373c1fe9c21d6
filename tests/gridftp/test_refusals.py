"""What servers say when they refuse something, and what is made of it."""

import pytest

from towpath.gridftp.errors import Kind, printable
from towpath.gridftp.refusals import classify, classify_myproxy
from towpath.gridftp.wire.replies import Reply

CASES = [
    (530, ("GRANT expired: nothing begins now",), Kind.GRANT_EXPIRED),
    (426, ("GRANT expired: what ran too long was cut",), Kind.GRANT_EXPIRED),
    (530, ("GRANT replayed: it was used before",), Kind.GRANT_EXPIRED),
    (530, ("GRANT key: it is signed with a key that is not known here",), Kind.GRANT_EXPIRED),
    (530, ("GRANT clock: it is from tomorrow",), Kind.GRANT_EXPIRED),
    (530, ("GRANT audience: it was made for another endpoint",), Kind.GRANT_REFUSED),
    (530, ("GRANT issuer: it was made by another deployment",), Kind.GRANT_REFUSED),
    (530, ("GRANT altered: its signature is wrong",), Kind.GRANT_REFUSED),
    (530, ("GRANT certificate: it was made for another",), Kind.GRANT_REFUSED),
    (530, ("GRANT session: the session is for another",), Kind.GRANT_REFUSED),
    (530, ("GRANT account: there is no such account here",), Kind.MAPPING),
    (550, ("GRANT prefix: the grant does not name this path",), Kind.PATH_NOT_ALLOWED),
    (550, ("GRANT read-only: the grant lets this path be read only",), Kind.PERMISSION_DENIED),
    (530, ("GRANT unheard-of: something of a later version",), Kind.UNKNOWN),
    (421, ("PAUSED: the owner has paused it",), Kind.PAUSED),
    (421, ("DRAINING: another node takes over",), Kind.DRAINING),
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
    (
        550,
        ("GlobusError: v=1 c=PERMISSION_DENIED", "GridFTP-Errno: 13", "End."),
        Kind.PERMISSION_DENIED,
    ),
    (
        550,
        (
            "GlobusError: v=1 c=INTERNAL_ERROR",
            "GridFTP-Errno: 1",
            "GridFTP-Reason: System error in chmod",
            "GridFTP-Error-String: Operation not permitted",
            "End.",
        ),
        Kind.PERMISSION_DENIED,
    ),
    (500, ("globus_xio: System error in open: Read-only file system",), Kind.PERMISSION_DENIED),
    (
        451,
        (
            "GlobusError: v=1 c=INTERNAL_ERROR",
            "GridFTP-Errno: 40",
            "GridFTP-Error-String: Too many levels of symbolic links",
        ),
        Kind.NOT_FOUND,
    ),
    (
        451,
        ("GlobusError: v=1 c=INTERNAL_ERROR", "GridFTP-Error-String: File name too long"),
        Kind.INVALID_NAME,
    ),
    (
        500,
        (
            "recursion failed.",
            "GlobusError: v=1 c=PERMISSION_DENIED",
            "GridFTP-Errno: 13",
            "GridFTP-Reason: System error in unlink",
            "GridFTP-Error-String: Permission denied",
            "End.",
        ),
        Kind.PERMISSION_DENIED,
    ),
    (550, ("GlobusError: v=1 c=IS_A_DIRECTORY",), Kind.IS_A_DIRECTORY),
    (500, ("globus_xio: System error in read: Is a directory",), Kind.IS_A_DIRECTORY),
    (500, ("globus_xio: System error in open: Is a directory",), Kind.IS_A_DIRECTORY),
    (
        500,
        (
            "checksum read callback failed.",
            "globus_xio: System error in read: Is a directory",
            "globus_xio: A system call failed: Is a directory",
            "End.",
        ),
        Kind.IS_A_DIRECTORY,
    ),
    (550, ("GlobusError: v=1 c=NOT_A_DIRECTORY",), Kind.NOT_A_DIRECTORY),
    (550, ("/a/f: Not a directory.",), Kind.NOT_A_DIRECTORY),
    (553, ("GlobusError: v=1 c=PATH_EXISTS", "GridFTP-Errno: 17"), Kind.EXISTS),
    (451, ("GlobusError: v=1 c=INTERNAL_ERROR", "GridFTP-Errno: 39", "End."), Kind.NOT_EMPTY),
    (552, ("GlobusError: v=1 c=NO_SPACE_LEFT",), Kind.NO_SPACE),
    (552, ("GlobusError: v=1 c=QUOTA_EXCEEDED",), Kind.QUOTA),
    (500, ("globus_xio: System error in write: No space left on device",), Kind.NO_SPACE),
    (500, ("globus_xio: System error in write: Disk quota exceeded",), Kind.QUOTA),
    (
        500,
        (
            "Command failed. : callback failed.",
            "globus_xio: System error in read: Input/output error",
        ),
        Kind.STORAGE,
    ),
    (500, ("globus_xio: System error in open: Stale file handle",), Kind.STORAGE),
    (550, ("Command failed : Path not allowed.",), Kind.PATH_NOT_ALLOWED),
    (500, ("Command failed : Path not allowed.",), Kind.PATH_NOT_ALLOWED),
    (500, ("Command failed. : Path not allowed.",), Kind.PATH_NOT_ALLOWED),
    (500, ("Path not allowed.",), Kind.PATH_NOT_ALLOWED),
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
    (500, ("Command failed. : globus_xio: System error in send: Broken pipe",), Kind.DATA_BROKEN),
    (500, ("Command failed. : callback failed.",), Kind.DATA_BROKEN),
    (
        500,
        (
            "Command failed. : callback failed.",
            (
                "globus_xio: The GSI XIO driver failed to establish a secure connection."
                " The failure occurred during a handshake read."
            ),
            "globus_xio: System error in recv: Connection reset by peer",
        ),
        Kind.DATA_BROKEN,
    ),
    (
        500,
        (
            "Command failed.",
            " : globus_ftp_control_local_pasv failed.",
            "globus_xio: System error in bind: Address already in use",
        ),
        Kind.DATA_REFUSED,
    ),
    (425, ("GlobusError: v=1 c=DATA_CHANNEL_COMMUNICATION_FAILURE",), Kind.DATA_REFUSED),
    (500, ("System error in connect: No route to host",), Kind.DATA_REFUSED),
    (500, ("System error in connect: Connection timed out",), Kind.DATA_BROKEN),
    (
        500,
        (
            "an authentication operation failed",
            "globus_xio_gsi: gss_init_sec_context failed.",
        ),
        Kind.DATA_AUTH,
    ),
    (
        500,
        (
            "Command failed. : callback failed.",
            "an authorization operation failed",
            (
                "globus_xio_gsi: The peer authenticated as /O=A/CN=a. Expected the peer to"
                " authenticate as /O=A/CN=b"
            ),
        ),
        Kind.DATA_AUTH,
    ),
    (
        500,
        (
            "Command failed. : callback failed.",
            "an authentication operation failed",
            "globus_xio_gsi: gss_accept_sec_context failed.",
            "The certificate has expired: Credential with subject: /O=T/CN=data has expired.",
        ),
        Kind.DATA_AUTH,
    ),
    (500, ("Command failed. : gss_acquire_cred failed",), Kind.DATA_AUTH),
    (500, ("Invalid base64 input for credential type P.",), Kind.DATA_AUTH),
    (500, ("Credential import failed.", "globus_gsi_gssapi: Error", "End."), Kind.DATA_AUTH),
    (
        534,
        ("Data connection auth error : Encryption is required.",),
        Kind.ENCRYPTION_REQUIRED,
    ),
    (500, ("Command failed",), Kind.CHANNEL_GONE),
    (500, ("command failed.",), Kind.CHANNEL_GONE),
    (
        500,
        (
            (
                "Command failed. : eb_connect_write(): Handle not in the proper state.  Call"
                " local_port or local_spor before calling connect_write."
            ),
        ),
        Kind.CHANNEL_GONE,
    ),
    (
        500,
        ("Command failed. : globus_ftp_control_data_read(): Handle not in proper state PORT.",),
        Kind.CHANNEL_GONE,
    ),
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
        ("globus_xio: Authentication Error", "Invalid CRL: The available CRL has expired"),
        Kind.AUTHENTICATION,
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
    (530, ("Please login with USER and PASS.",), Kind.LOGIN),
    (421, ("Service not available, closing control connection.",), Kind.CONNECTION_LOST),
    (421, ("Service busy: Connection limit exceeded. Please try again later.",), Kind.CONNECT),
    (422, ("Service temporarily offline. Closing control connection.",), Kind.CONNECT),
    (500, ("Invalid command.",), Kind.UNSUPPORTED),
    (501, ("Syntax error in parameters or arguments.",), Kind.UNSUPPORTED),
    (501, ("Invalid command arguments.",), Kind.UNSUPPORTED),
    (501, ("'TYPE X",), Kind.UNSUPPORTED),
    (500, ("Command not supported.",), Kind.UNSUPPORTED),
    (536, ("E protection level not supported.",), Kind.UNSUPPORTED),
    (522, ("Network protocol not supported, use (1,2).",), Kind.UNSUPPORTED),
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


@pytest.mark.parametrize("name", ["no", "file", "is a", "path_not_found", "c", "found"])
def test_a_short_name_does_not_hide_the_error(name: str) -> None:
    for lines in (
        ("GlobusError: v=1 c=PATH_NOT_FOUND", "GridFTP-Error-String: No such file or directory"),
        (f"Unable to open file {name}", "System error in open: No such file or directory"),
    ):
        assert classify(Reply.of(550, *lines), where="h", path=name).kind is Kind.NOT_FOUND


def test_replies_are_shown_bounded_and_printable() -> None:
    reply = Reply(550, (b"\x1b[31m caf\xe9 \x00" + b"x" * 5000,))
    shown = classify(reply, where="h").reply
    assert shown is not None
    assert len(shown) < 1200
    assert shown.isprintable()
    assert printable("a\udce9\nb") == "a\\xe9 / b"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Bad password\ninvalid credential passphrase", Kind.LOGIN),
        ("Pass phrase too short.  Must be at least 6 characters long.", Kind.LOGIN),
        ("PAM authentication failed: User account has expired", Kind.LOGIN),
        ('No credentials exist for username "expired".', Kind.LOGIN),
        ("credential locked\nby order", Kind.LOGIN),
        ("Credential lifetime (480 hours) exceeds maximum allowed by server.", Kind.LOGIN),
        ('"/O=A/CN=B" not authorized by server\'s authorized_retrievers policy', Kind.LOGIN),
        ("X509_verify_cert() failed: certificate has expired", Kind.CREDENTIAL_EXPIRED),
        ("Credential expired!", Kind.CREDENTIAL_EXPIRED),
        ("Credentials are not valid.", Kind.AUTHENTICATION),
        ("authentication failed", Kind.AUTHENTICATION),
        ("command not supported by MyProxy CA", Kind.UNSUPPORTED),
        ("Unable to store credentials.", Kind.UNKNOWN),
        ("", Kind.UNKNOWN),
    ],
)
def test_refusals_of_myproxy_servers(text: str, kind: Kind) -> None:
    error = classify_myproxy(text, where="here:7512")
    assert (error.kind, error.where) == (kind, "here:7512")
    assert error.reply == text.replace("\n", " / ")
