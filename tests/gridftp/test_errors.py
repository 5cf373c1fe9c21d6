import pytest

from towpath.gridftp.errors import FaultClass, GridFTPError, Kind, Scope, cause_of

FACTS = {
    Kind.NOT_FOUND: (Scope.FILE, FaultClass.PERMANENT),
    Kind.PERMISSION_DENIED: (Scope.FILE, FaultClass.PERMANENT),
    Kind.IS_A_DIRECTORY: (Scope.FILE, FaultClass.PERMANENT),
    Kind.NOT_A_DIRECTORY: (Scope.FILE, FaultClass.PERMANENT),
    Kind.EXISTS: (Scope.FILE, FaultClass.PERMANENT),
    Kind.NOT_EMPTY: (Scope.FILE, FaultClass.PERMANENT),
    Kind.NO_SPACE: (Scope.ENDPOINT, FaultClass.TRANSIENT),
    Kind.QUOTA: (Scope.ENDPOINT, FaultClass.TRANSIENT),
    Kind.STORAGE: (Scope.FILE, FaultClass.TRANSIENT),
    Kind.PATH_NOT_ALLOWED: (Scope.FILE, FaultClass.PERMANENT),
    Kind.DATA_REFUSED: (Scope.CHANNEL, FaultClass.TRANSIENT),
    Kind.DATA_BROKEN: (Scope.CHANNEL, FaultClass.TRANSIENT),
    Kind.DATA_AUTH: (Scope.CHANNEL, FaultClass.PERMANENT),
    Kind.GRANT_EXPIRED: (Scope.SESSION, FaultClass.TRANSIENT),
    Kind.GRANT_REFUSED: (Scope.CREDENTIAL, FaultClass.PERMANENT),
    Kind.PAUSED: (Scope.ENDPOINT, FaultClass.TRANSIENT),
    Kind.AWAY: (Scope.ENDPOINT, FaultClass.TRANSIENT),
    Kind.DRAINING: (Scope.ENDPOINT, FaultClass.TRANSIENT),
    Kind.ENCRYPTION_REQUIRED: (Scope.ENDPOINT, FaultClass.PERMANENT),
    Kind.CHANNEL_GONE: (Scope.CHANNEL, FaultClass.TRANSIENT),
    Kind.CHECKSUM_MISMATCH: (Scope.FILE, FaultClass.TRANSIENT),
    Kind.SIZE_CHANGED: (Scope.FILE, FaultClass.TRANSIENT),
    Kind.SOURCE_CHANGED: (Scope.FILE, FaultClass.TRANSIENT),
    Kind.CHECKSUM_UNSUPPORTED: (Scope.ENDPOINT, FaultClass.PERMANENT),
    Kind.AUTHENTICATION: (Scope.CREDENTIAL, FaultClass.PERMANENT),
    Kind.CREDENTIAL_EXPIRED: (Scope.CREDENTIAL, FaultClass.CREDENTIAL),
    Kind.UNTRUSTED_HOST: (Scope.ENDPOINT, FaultClass.PERMANENT),
    Kind.MAPPING: (Scope.CREDENTIAL, FaultClass.PERMANENT),
    Kind.LOGIN: (Scope.CREDENTIAL, FaultClass.PERMANENT),
    Kind.CONNECT: (Scope.ENDPOINT, FaultClass.TRANSIENT),
    Kind.CONNECTION_LOST: (Scope.SESSION, FaultClass.TRANSIENT),
    Kind.TIMEOUT: (Scope.SESSION, FaultClass.TRANSIENT),
    Kind.STALLED: (Scope.CHANNEL, FaultClass.STALLED),
    Kind.PROTOCOL: (Scope.SESSION, FaultClass.TRANSIENT),
    Kind.UNSUPPORTED: (Scope.ENDPOINT, FaultClass.PERMANENT),
    Kind.INVALID_NAME: (Scope.FILE, FaultClass.PERMANENT),
    Kind.ADDRESS_REFUSED: (Scope.ENDPOINT, FaultClass.PERMANENT),
    Kind.UNKNOWN: (Scope.FILE, FaultClass.TRANSIENT),
}


@pytest.mark.parametrize("kind", list(Kind))
def test_how_far_and_how_long(kind: Kind) -> None:
    error = GridFTPError(kind, "it failed", "h:1")
    assert (error.scope, error.fault_class) == FACTS[kind]
    assert error.permanent is (error.fault_class in (FaultClass.PERMANENT, FaultClass.CREDENTIAL))


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_says_what_to_do(kind: Kind) -> None:
    error = GridFTPError(kind, "it failed", "h:1")
    assert error.advice
    assert error.fixers
    assert str(error).startswith("h:1: it failed")


def test_the_cause_is_not_the_echo() -> None:
    echo = GridFTPError(Kind.DATA_BROKEN, "reset", "a")
    cause = GridFTPError(Kind.NO_SPACE, "full", "b")
    assert cause_of(echo, cause) is cause
    assert cause_of(cause, echo) is cause
    assert cause_of(echo, None) is echo
    assert cause_of(None, echo) is echo
    assert cause_of(None, None) is None
    lost = GridFTPError(Kind.CONNECTION_LOST, "closed", "b")
    assert cause_of(echo, lost) is lost
    assert cause_of(lost, echo) is lost
    assert cause_of(lost, cause) is cause
