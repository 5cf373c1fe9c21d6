import pytest

from towpath.gridftp.errors import GridFTPError, Kind, Scope, cause_of

FACTS = {
    Kind.NOT_FOUND: (Scope.FILE, True),
    Kind.PERMISSION_DENIED: (Scope.FILE, True),
    Kind.IS_A_DIRECTORY: (Scope.FILE, True),
    Kind.NOT_A_DIRECTORY: (Scope.FILE, True),
    Kind.EXISTS: (Scope.FILE, True),
    Kind.NOT_EMPTY: (Scope.FILE, True),
    Kind.NO_SPACE: (Scope.ENDPOINT, False),
    Kind.QUOTA: (Scope.ENDPOINT, False),
    Kind.PATH_NOT_ALLOWED: (Scope.FILE, True),
    Kind.DATA_REFUSED: (Scope.CHANNEL, False),
    Kind.DATA_BROKEN: (Scope.CHANNEL, False),
    Kind.DATA_AUTH: (Scope.CHANNEL, True),
    Kind.ENCRYPTION_REQUIRED: (Scope.ENDPOINT, True),
    Kind.CHANNEL_GONE: (Scope.CHANNEL, False),
    Kind.CHECKSUM_MISMATCH: (Scope.FILE, False),
    Kind.SIZE_CHANGED: (Scope.FILE, False),
    Kind.SOURCE_CHANGED: (Scope.FILE, False),
    Kind.CHECKSUM_UNSUPPORTED: (Scope.ENDPOINT, True),
    Kind.AUTHENTICATION: (Scope.CREDENTIAL, True),
    Kind.CREDENTIAL_EXPIRED: (Scope.CREDENTIAL, True),
    Kind.UNTRUSTED_HOST: (Scope.ENDPOINT, True),
    Kind.MAPPING: (Scope.CREDENTIAL, True),
    Kind.LOGIN: (Scope.CREDENTIAL, True),
    Kind.CONNECT: (Scope.ENDPOINT, False),
    Kind.CONNECTION_LOST: (Scope.SESSION, False),
    Kind.TIMEOUT: (Scope.SESSION, False),
    Kind.STALLED: (Scope.CHANNEL, False),
    Kind.PROTOCOL: (Scope.SESSION, False),
    Kind.UNSUPPORTED: (Scope.ENDPOINT, True),
    Kind.INVALID_NAME: (Scope.FILE, True),
    Kind.ADDRESS_REFUSED: (Scope.ENDPOINT, True),
    Kind.UNKNOWN: (Scope.FILE, False),
}


@pytest.mark.parametrize("kind", list(Kind))
def test_how_far_and_how_long(kind: Kind) -> None:
    error = GridFTPError(kind, "it failed", "h:1")
    assert (error.scope, error.permanent) == FACTS[kind]


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
