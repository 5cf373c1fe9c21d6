"""What a server's refusal means: servers say most of it in free text (the Grid Community Toolkit
answers nearly every data error with code 500). Nothing else in Towpath looks at such texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from towpath.gridftp.errors import GridFTPError, Kind, printable

if TYPE_CHECKING:
    from towpath.gridftp.wire.replies import Reply

# The first rule whose words all occur in the lower-cased reply decides. Order: the specific before
# the general; causes before echoes. Texts: GCT 13.24 (globus_gridftp_server_control, globus_xio,
# globus_gssapi), and strerror(3).
_RULES: tuple[tuple[tuple[str, ...], Kind], ...] = (
    (("c=incorrect_checksum",), Kind.CHECKSUM_MISMATCH),
    (("unknown checksum algorithm",), Kind.CHECKSUM_UNSUPPORTED),
    (("path not allowed",), Kind.PATH_NOT_ALLOWED),
    (("c=path_not_found",), Kind.NOT_FOUND),
    (("c=permission_denied",), Kind.PERMISSION_DENIED),
    (("c=is_a_directory",), Kind.IS_A_DIRECTORY),
    (("c=not_a_directory",), Kind.NOT_A_DIRECTORY),
    (("c=path_exists",), Kind.EXISTS),
    (("c=no_space_left",), Kind.NO_SPACE),
    (("c=quota_exceeded",), Kind.QUOTA),
    (("gridftp-errno: 39\n",), Kind.NOT_EMPTY),
    (("directory not empty",), Kind.NOT_EMPTY),
    (("gridmap lookup failure",), Kind.MAPPING),
    (("could not map",), Kind.MAPPING),
    (("crl has expired",), Kind.AUTHENTICATION),
    (("gss_init_sec_context",), Kind.DATA_AUTH),
    (("gss_accept_sec_context",), Kind.DATA_AUTH),
    (("gss_acquire_cred",), Kind.DATA_AUTH),
    (("an authentication operation failed",), Kind.DATA_AUTH),
    (("an authorization operation failed",), Kind.DATA_AUTH),
    (("credential import failed",), Kind.DATA_AUTH),
    (("invalid base64 input for credential",), Kind.DATA_AUTH),
    (("encryption is required",), Kind.ENCRYPTION_REQUIRED),
    (("untrusted self-signed certificate",), Kind.DATA_AUTH),
    (("has expired",), Kind.CREDENTIAL_EXPIRED),
    (("no space left on device",), Kind.NO_SPACE),
    (("disk quota exceeded",), Kind.QUOTA),
    (("input/output error",), Kind.STORAGE),
    (("stale file handle",), Kind.STORAGE),
    (("remote i/o error",), Kind.STORAGE),
    (("structure needs cleaning",), Kind.STORAGE),
    (("no such file or directory",), Kind.NOT_FOUND),
    (("too many levels of symbolic links",), Kind.NOT_FOUND),
    (("permission denied",), Kind.PERMISSION_DENIED),
    (("operation not permitted",), Kind.PERMISSION_DENIED),
    (("read-only file system",), Kind.PERMISSION_DENIED),
    (("is a directory",), Kind.IS_A_DIRECTORY),
    (("not a directory",), Kind.NOT_A_DIRECTORY),
    (("file exists",), Kind.EXISTS),
    (("file name too long",), Kind.INVALID_NAME),
    (("c=data_channel_communication_failure",), Kind.DATA_REFUSED),
    (("local_pasv failed",), Kind.DATA_REFUSED),
    (("unable to connect to",), Kind.DATA_REFUSED),
    (("connection refused",), Kind.DATA_REFUSED),
    (("no route to host",), Kind.DATA_REFUSED),
    (("network is unreachable",), Kind.DATA_REFUSED),
    (("connection timed out",), Kind.DATA_BROKEN),
    (("connection reset by peer",), Kind.DATA_BROKEN),
    (("broken pipe",), Kind.DATA_BROKEN),
    (("an end-of-file was reached",), Kind.DATA_BROKEN),
    (("handle not in proper state",), Kind.CHANNEL_GONE),
    (("handle not in the proper state",), Kind.CHANNEL_GONE),
    (("callback failed",), Kind.DATA_BROKEN),
    (("data_force_close",), Kind.DATA_BROKEN),
    (("authentication error",), Kind.AUTHENTICATION),
    (("must perform gssapi authentication",), Kind.LOGIN),
    (("please login with user",), Kind.LOGIN),
    (("login incorrect",), Kind.LOGIN),
    (("invalid command",), Kind.UNSUPPORTED),
    (("command not supported",), Kind.UNSUPPORTED),
    (("syntax error",), Kind.UNSUPPORTED),
    (("unrecognized",), Kind.UNSUPPORTED),
)

# The same for MyProxy 6.2 (myproxy_server.c, myproxy_authorization.c, myproxy_read_pass.c).
_MYPROXY_RULES: tuple[tuple[str, Kind], ...] = (
    ("no credentials exist", Kind.LOGIN),
    ("no credentials found", Kind.LOGIN),
    ("credentials do not exist", Kind.LOGIN),
    ("unknown username", Kind.LOGIN),
    ("invalid username", Kind.LOGIN),
    ("pass phrase", Kind.LOGIN),
    ("passphrase", Kind.LOGIN),
    ("password", Kind.LOGIN),
    ("pam ", Kind.LOGIN),
    ("credential locked", Kind.LOGIN),
    ("not authorized", Kind.LOGIN),
    ("not owned by", Kind.LOGIN),
    ("does not own", Kind.LOGIN),
    ("expired", Kind.CREDENTIAL_EXPIRED),
    ("credentials are not valid", Kind.AUTHENTICATION),
    ("authentication failed", Kind.AUTHENTICATION),
    ("credential lifetime", Kind.LOGIN),
    ("not supported", Kind.UNSUPPORTED),
    ("unknown command", Kind.UNSUPPORTED),
)

# Our own server's words for grants (docs/reference/grants.md), with which such a reply begins. The
# first four are over by themselves, or with a new grant.
_GRANTS: dict[str, Kind] = {
    "expired": Kind.GRANT_EXPIRED,
    "replayed": Kind.GRANT_EXPIRED,
    "key": Kind.GRANT_EXPIRED,
    "clock": Kind.GRANT_EXPIRED,
    "prefix": Kind.PATH_NOT_ALLOWED,
    "read-only": Kind.PERMISSION_DENIED,
    "account": Kind.MAPPING,
    "audience": Kind.GRANT_REFUSED,
    "issuer": Kind.GRANT_REFUSED,
    "altered": Kind.GRANT_REFUSED,
    "certificate": Kind.GRANT_REFUSED,
    "session": Kind.GRANT_REFUSED,
}

_SENTENCES: dict[Kind, str] = {
    Kind.NOT_FOUND: "no such file or directory",
    Kind.PERMISSION_DENIED: "permission denied",
    Kind.IS_A_DIRECTORY: "is a directory",
    Kind.NOT_A_DIRECTORY: "not a directory",
    Kind.EXISTS: "exists already",
    Kind.NOT_EMPTY: "directory not empty",
    Kind.NO_SPACE: "no space left",
    Kind.QUOTA: "quota exceeded",
    Kind.STORAGE: "the server's storage failed",
    Kind.PATH_NOT_ALLOWED: "the server's rules do not allow this path",
    Kind.DATA_REFUSED: "the data connection could not be made",
    Kind.DATA_BROKEN: "the data connection broke",
    Kind.DATA_AUTH: "the data channel's authentication failed",
    Kind.ENCRYPTION_REQUIRED: "the server wants data encrypted",
    Kind.CHANNEL_GONE: "the data channel is gone",
    Kind.CHECKSUM_MISMATCH: "the checksum does not match",
    Kind.SIZE_CHANGED: "the source has another size now",
    Kind.SOURCE_CHANGED: "the source has changed",
    Kind.CHECKSUM_UNSUPPORTED: "the checksum algorithm is not supported",
    Kind.AUTHENTICATION: "the server refused the credential",
    Kind.CREDENTIAL_EXPIRED: "the credential has expired",
    Kind.MAPPING: "the server knows no account for this identity",
    Kind.LOGIN: "the server refused the login",
    Kind.GRANT_EXPIRED: "the endpoint does not take the grant any more",
    Kind.GRANT_REFUSED: "the endpoint refused the grant",
    Kind.PAUSED: "the endpoint is paused",
    Kind.DRAINING: "this node of the endpoint takes no new sessions",
    Kind.CONNECT: "the server takes no sessions now",
    Kind.CONNECTION_LOST: "the server closed the session",
    Kind.UNSUPPORTED: "the server does not support this command",
    Kind.INVALID_NAME: "the server cannot take this name",
    Kind.UNKNOWN: "the server reported an error",
}


def classify(reply: Reply, *, where: str, path: str | None = None) -> GridFTPError:
    """The error that a reply >= 400 means. Pure; the only place that looks at servers' texts."""
    text = reply.text
    lowered = text.lower() + "\n"
    if path is not None and "/" in path and len(path) > 1:
        # A file may be called "Permission denied". Names without a slash stay: "no" is in many
        # words of the server's own.
        lowered = lowered.replace(path.lower(), "")
    kind = _kind_of(reply.code, lowered)
    said = f"{reply.code} {printable(text.strip())}"
    return GridFTPError(kind, _SENTENCES[kind], where, path, said)


def classify_myproxy(text: str, *, where: str) -> GridFTPError:
    """The error that the text of a MyProxy server's refusal means."""
    lowered = text.lower()
    kind = next((kind for words, kind in _MYPROXY_RULES if words in lowered), Kind.UNKNOWN)
    return GridFTPError(kind, _SENTENCES[kind], where, reply=printable(text.strip()))


def _kind_of(code: int, lowered: str) -> Kind:
    if lowered.startswith("grant "):
        return _GRANTS.get(lowered[6:].partition(":")[0], Kind.UNKNOWN)
    if code == 421 and lowered.startswith("paused:"):
        return Kind.PAUSED
    if code == 421 and lowered.startswith("draining:"):
        return Kind.DRAINING
    if code == 421:
        return Kind.CONNECT if "connection limit" in lowered else Kind.CONNECTION_LOST
    if code == 422:  # GCT's own: told to stay away, or full
        return Kind.CONNECT
    for words, kind in _RULES:
        if all(word in lowered for word in words):
            return kind
    # A data command whose data channel is gone gets this and nothing more.
    if code == 500 and lowered.strip().rstrip(".") == "command failed":
        return Kind.CHANNEL_GONE
    if code in (530, 535, 534):
        return Kind.LOGIN
    if code == 425:
        return Kind.DATA_REFUSED
    if code == 426:
        return Kind.DATA_BROKEN
    if code in (501, 502, 504, 522, 536):
        return Kind.UNSUPPORTED
    return Kind.UNKNOWN
