"""Whom rules of other people's computers let in, and what they cost."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from towpath.platform.database import Connection
from towpath.transfer.connect import mapping, permits
from towpath.transfer.connect.nodes import new_endpoint
from towpath.transfer.connect.permits import Refused
from towpath.transfer.rights import Who
from towpath.transfer.store import connect


async def test_rules_that_take_long_hold_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = {"source": "a" * 100 + "{username}", "match": "(.*?)(.*?)(.*?)(?:x|!)", "output": "x"}
    documents = [{"DATA_TYPE": mapping.DATA_TYPE, "mappings": [slow] * mapping.MAX_RULES}]

    async def told(_conn: Any, _endpoint_id: Any) -> list[Any]:
        return documents

    monkeypatch.setattr(connect, "get_mappings", told)
    site = new_endpoint(
        kind="server",
        endpoint_id=uuid4(),
        owner_id=uuid4(),
        owner_string="o@example.org",
        display_name="site",
        public=True,
        details={},
    )
    conn: Connection = None  # type: ignore[assignment]  # nobody asks it
    somebody = Who.alone(uuid4(), "a" * 27)
    asked = asyncio.create_task(permits.permit_for(conn, site, somebody, writes=True))
    turns = 0
    while not asked.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert isinstance(await asked, Refused)
    assert turns > mapping.MAX_RULES // 8, "others have their turn between two rules"
