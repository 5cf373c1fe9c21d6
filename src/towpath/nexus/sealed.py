"""Where nexus keeps sealed values."""

from typing import Final

from towpath.nexus.federation.logins import secret_context
from towpath.nexus.oauth.keys import key_context
from towpath.platform.resealing import SealedColumn

SEALED: Final = (
    SealedColumn("signing_key", "private_key", ("kid",), key_context),
    SealedColumn("upstream", "client_secret", ("provider_id",), secret_context),
)
