"""Why no session can even be tried: something is missing here, not at the server."""

from uuid import UUID


def giving_a_credential(endpoint_id: UUID) -> str:
    """Where a user gives one, or another; the end of a sentence."""
    return (
        f"on its page, /endpoints/{endpoint_id} of this service; the operator can use"
        f" towpath credential add {endpoint_id} --proxy FILE"
    )


class SessionUnavailable(Exception):  # noqa: N818 - a state, named as one
    """No session can be tried. `advice` helps."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice


class NoEndpoint(SessionUnavailable):
    """The endpoint is not registered (any more)."""


class NotFunctional(SessionUnavailable):
    """There are no files in the endpoint itself."""


class NotAllowed(SessionUnavailable):
    """The user may not use the endpoint."""


class NotShared(NotAllowed):
    """No access rule of a guest collection lets the user do this."""


class NoCredential(SessionUnavailable):
    """The user has given no credential for this endpoint."""


class ServerMoved(NoCredential):
    """Somebody else has given the endpoint another server since the user gave a credential: it is
    not shown there."""


class SharerMustAct(SessionUnavailable):
    """The credential with which a guest collection is used is not there, or over, or was given for
    another server. Only who shares it can give another one."""

    def __init__(self, collection: str, sharer: str, *, what: str) -> None:
        """`what`: is the matter with it."""
        super().__init__(
            f"the credential of {sharer}, with which “{collection}” is shared, {what}",
            f"ask {sharer} to renew it",
        )
        self.sharer = sharer


class SharerSuspended(SessionUnavailable):
    """The account of who shares a guest collection is suspended."""

    def __init__(self, collection: str, sharer: str) -> None:
        super().__init__(
            f"“{collection}” cannot be used while the account of {sharer}, who shares it, is"
            " suspended",
            f"ask {sharer}",
        )
        self.sharer = sharer
