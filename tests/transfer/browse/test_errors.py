"""What clients are told when an endpoint fails."""

import pytest

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.transfer.browse.errors import Operation, TooBusy, api_error
from towpath.transfer.sessions import NoCredential, NoEndpoint


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("operation", Operation)
def test_every_kind_is_told_and_none_is_retried(kind: Kind, operation: Operation) -> None:
    failure = GridFTPError(kind, "it failed", "host:2811", "/a\udcff", "550 no")
    error = api_error(failure, operation)
    if error.status not in (400, 403, 404):
        # the SDK repeats other 5xx answers for a minute
        assert error.status == 502
        assert error.code.startswith(f"ExternalError.{operation}.")
    for part in ("it failed", "host:2811", "550 no"):
        assert part in error.message
    error.message.encode()


def test_codes_that_clients_look_for() -> None:
    gone = GridFTPError(Kind.NOT_FOUND, "no such file", "h:1")
    assert api_error(gone, Operation.LIST).code == "ClientError.NotFound"
    assert api_error(gone, Operation.STAT).code == "NotFound"
    exists = GridFTPError(Kind.EXISTS, "exists", "h:1")
    assert api_error(exists, Operation.MKDIR).code == "ExternalError.MkdirFailed.Exists"


def test_what_is_missing_on_our_side() -> None:
    missing = api_error(NoCredential("none", "add one"), Operation.LIST)
    assert (missing.status, missing.code) == (400, "ClientError.ActivationRequired")
    assert missing.message.endswith("Add one.")
    assert api_error(NoEndpoint("gone", "x"), Operation.LIST).status == 404
    assert api_error(TooBusy("8 under way"), Operation.LIST).code.endswith(".TooBusy")
