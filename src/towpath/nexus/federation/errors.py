"""What can go wrong with an upstream, each with what the person in front of the browser is told."""


class FederationError(Exception):
    """A login at an upstream came to nothing. ``told`` is for the page, the message for the log."""

    told = "The login at your institution did not succeed. Try again."
    status = 403


class UpstreamDownError(FederationError):
    """The upstream does not answer, or with nothing that can be used."""

    status = 502

    told = (
        "Your institution's login service does not answer at the moment."
        " Try again in a few minutes, or log in in another way."
    )


class UpstreamRefusedError(FederationError):
    """The upstream sent the browser back with an error (RFC 6749, 4.1.2.1)."""

    told = "Your institution did not log you in. Try again, or log in in another way."


class NotOursError(FederationError):
    """The answer belongs to no login that this browser began here (RFC 9700, 4.7)."""

    status = 400

    told = (
        "This login was not begun in this browser, or too long ago. Nothing was changed."
        " Begin again from the login page."
    )


class ProofRejectedError(FederationError):
    """An id_token or user document that proves nothing (OpenID Connect Core, 3.1.3.7)."""

    told = (
        "Your institution's answer could not be accepted. Nothing was changed."
        " If this happens again, tell the operator of this service."
    )


class NotFreshError(ProofRejectedError):
    """A fresh login was needed, and the upstream does not say that this is one."""

    told = "A fresh login was needed, and your institution did not ask you for one. Try again."
