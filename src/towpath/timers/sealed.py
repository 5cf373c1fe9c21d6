"""Where timers keeps sealed values."""

from typing import Final

from towpath.platform.resealing import SealedColumn
from towpath.timers.nexus import token_context

SEALED: Final = (SealedColumn("timer", "refresh_token", ("id",), token_context),)
