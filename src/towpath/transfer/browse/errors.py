"""What went wrong at an endpoint, as the Transfer API tells it.

One table from the kinds of GridFTP errors to status and code. Whatever lies at the endpoint's
side is 502 with `ExternalError`: the official clients repeat other 5xx answers for a minute, and
repeating does not help here.
"""

from enum import StrEnum

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.platform.errors import ApiError
from towpath.transfer.sessions import (
    NoEndpoint,
    NotAllowed,
    NotFunctional,
    SessionUnavailable,
    SharerMustAct,
    SharerSuspended,
)


class Operation(StrEnum):
    """A file operation; the value is its part of an error code."""

    LIST = "DirListingFailed"
    STAT = "StatFailed"
    MKDIR = "MkdirFailed"
    RENAME = "RenameFailed"
    LOGON = "MyProxyLogonFailed"
    TEST = "EndpointTestFailed"
    SHARE = "SharingFailed"
    SUBMIT = "SubmissionFailed"


_TITLES = {
    Operation.LIST: "Cannot list the directory",
    Operation.STAT: "Cannot look at the path",
    Operation.MKDIR: "Cannot create the directory",
    Operation.RENAME: "Cannot rename",
    Operation.LOGON: "Cannot log on at the MyProxy server",
    Operation.TEST: "Cannot test the endpoint",
    Operation.SHARE: "Cannot share the directory",
    Operation.SUBMIT: "Cannot accept the task",
}

# Codes that begin with a dot continue "ExternalError.<operation>".
_TABLE: dict[Kind, tuple[int, str]] = {
    Kind.NOT_FOUND: (404, "ClientError.NotFound"),
    Kind.PERMISSION_DENIED: (403, "EndpointPermissionDenied"),
    Kind.PATH_NOT_ALLOWED: (403, "EndpointPermissionDenied"),
    Kind.IS_A_DIRECTORY: (502, ".IsDirectory"),
    Kind.NOT_A_DIRECTORY: (502, ".NotDirectory"),
    Kind.EXISTS: (502, ".Exists"),
    Kind.NOT_EMPTY: (502, ".NotEmpty"),
    Kind.NO_SPACE: (502, ".NoSpaceLeft"),
    Kind.QUOTA: (502, ".QuotaExceeded"),
    Kind.STORAGE: (502, ".StorageFailed"),
    Kind.DATA_REFUSED: (502, ".ConnectFailed"),
    Kind.DATA_BROKEN: (502, ".ConnectFailed"),
    Kind.DATA_AUTH: (502, ".LoginFailed"),
    Kind.ENCRYPTION_REQUIRED: (502, ".NotSupported"),
    Kind.CHANNEL_GONE: (502, ".ConnectFailed"),
    Kind.CHECKSUM_MISMATCH: (502, ".ChecksumMismatch"),
    Kind.SIZE_CHANGED: (502, ".FileChanged"),
    Kind.SOURCE_CHANGED: (502, ".FileChanged"),
    Kind.CHECKSUM_UNSUPPORTED: (502, ".NotSupported"),
    Kind.AUTHENTICATION: (502, ".LoginFailed"),
    Kind.CREDENTIAL_EXPIRED: (502, ".CredentialExpired"),
    Kind.UNTRUSTED_HOST: (502, ".UntrustedHost"),
    Kind.MAPPING: (502, ".LoginFailed"),
    Kind.LOGIN: (502, ".LoginFailed"),
    Kind.GRANT_REFUSED: (502, ".LoginFailed"),
    Kind.GRANT_EXPIRED: (502, ".ConnectionLost"),
    Kind.AWAY: (502, ".GCDisconnected"),
    Kind.PAUSED: (502, ".GCPaused"),
    Kind.DRAINING: (502, ".GCDisconnected"),
    Kind.CONNECT: (502, ".ConnectFailed"),
    Kind.CONNECTION_LOST: (502, ".ConnectionLost"),
    Kind.TIMEOUT: (502, ".Timeout"),
    Kind.STALLED: (502, ".Timeout"),
    Kind.PROTOCOL: (502, ".ProtocolError"),
    Kind.UNSUPPORTED: (502, ".NotSupported"),
    Kind.INVALID_NAME: (400, "ClientError.BadRequest.InvalidPath"),
    Kind.ADDRESS_REFUSED: (502, ".AddressRefused"),
    Kind.UNKNOWN: (502, ".Unknown"),
}

# Where the general advice speaks of transfers: nothing is tried again here.
_ADVICE: dict[Kind, str] = {
    Kind.CONNECTION_LOST: "Try again; whether it was carried out is not known.",
    Kind.GRANT_EXPIRED: "Try again.",
}


class TooBusy(Exception):  # noqa: N818 - a state, named as one
    """As many operations as allowed are under way at the endpoint already."""


def api_error(error: Exception, operation: Operation) -> ApiError:
    """The answer for a failed operation: what failed, where, and what to do."""
    title = _TITLES[operation]
    if isinstance(error, NoEndpoint):
        return ApiError(404, "EndpointDeleted", f"{title}: {error.message}. {_way(error.advice)}")
    if isinstance(error, NotAllowed):
        return ApiError(403, "PermissionDenied", f"{title}: {error.message}. {_way(error.advice)}")
    if isinstance(error, SharerMustAct | SharerSuspended):
        code = "CredentialExpired" if isinstance(error, SharerMustAct) else "SharerSuspended"
        return ApiError(
            502,
            f"ExternalError.{operation}.{code}",
            f"{title}: {error.message}. {_way(error.advice)}",
        )
    if isinstance(error, NotFunctional):
        return ApiError.bad_request(f"{title}: {error.message}. {_way(error.advice)}")
    if isinstance(error, SessionUnavailable):
        return ApiError(
            400,
            "ClientError.ActivationRequired",
            f"{title}: {error.message}. {_way(error.advice)}",
        )
    if isinstance(error, TooBusy):
        return ApiError(
            502, f"ExternalError.{operation}.TooBusy", f"{title}: {error}. Try again in a moment."
        )
    assert isinstance(error, GridFTPError)
    status, code = _TABLE[error.kind]
    if code.startswith("."):
        code = f"ExternalError.{operation}{code}"
    if operation is Operation.STAT and error.kind is Kind.NOT_FOUND:
        code = "NotFound"  # the code that clients of this one operation look for
    place = f"server {error.where}" + (f", path {error.path!r}" if error.path else "")
    said = f" The server said: {error.reply}" if error.reply else ""
    advice = f" {_way(_ADVICE.get(error.kind, error.advice))}"
    return ApiError(status, code, f"{title}: {error.message} ({place}).{advice}{said}")


def _way(advice: str) -> str:
    sentence = advice[:1].upper() + advice[1:]
    return sentence if sentence.endswith((".", "!", "?")) else sentence + "."
