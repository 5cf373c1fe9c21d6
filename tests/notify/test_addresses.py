"""Where people get mail, by a real nexus."""

import httpx
import pytest

from plugins.nexus import Nexus
from towpath.notify.mails import NexusAddresses
from towpath.notify.queue import NotDelivered


async def test_addresses_are_those_of_now(nexus: Nexus) -> None:
    ada = await nexus.person("ada")
    login = httpx.BasicAuth(str(nexus.transfer.client_id), nexus.transfer.client_secret)
    addresses = NexusAddresses(nexus.http, login)
    async with nexus.database.connection() as conn:
        await conn.execute(
            "UPDATE identity SET email = 'ada@mill.example' WHERE id = %s", (ada.identity_id,)
        )
    assert await addresses.of(ada.identity_id) == "ada@mill.example"
    assert await addresses.of(nexus.transfer.client_id) is None
    refused = NexusAddresses(nexus.http, httpx.BasicAuth("x", "y"))
    with pytest.raises(NotDelivered) as error:
        await refused.of(ada.identity_id)
    assert not error.value.permanent
