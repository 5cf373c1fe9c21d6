"""What can go wrong between an agent and its service, by what is to be done about it."""

from enum import StrEnum


class Trouble(StrEnum):
    """Kinds of trouble."""

    KEY = "key"
    """The setup key is none, is spent, or belongs to another service."""
    AUTHORITY = "authority"
    """Who answers is not who the key or the setup says."""
    REFUSED = "refused"
    """The service does not take what it was told; the same again would be refused again."""
    GONE = "gone"
    """The endpoint was deleted."""
    TOO_OLD = "too old"
    """The service does not serve this version any more."""
    TOKEN = "token"  # noqa: S105 - a word, no secret
    """The service does not know this agent: another computer was set up in its place."""
    AWAY = "away"
    """Nobody answers, or not now: later it may."""


FINAL = frozenset({Trouble.GONE, Trouble.TOO_OLD, Trouble.TOKEN})
"""No agent goes on after these by itself. A wrong authority is none of them: a laptop meets the
login pages of hotels."""


class ConnectError(Exception):
    """The text is a sentence for whoever set the agent up: what failed, where, what to do."""

    def __init__(self, trouble: Trouble, message: str) -> None:
        super().__init__(message)
        self.trouble = trouble
        self.message = message
