"""Webhooks: one's own only, secrets shown once, and nothing that is no https URL."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from plugins.transfer_api import Api, assert_error
from towpath.transfer.api import webhooks
from towpath.transfer.api.service import TransferService
from towpath.transfer.outbox import SwitchOff, TransferOutbox

GOOD = {"url": "https://lab.example/towpath", "topics": ["task.failed", "task.succeeded"]}


async def created(api: Api, **more: Any) -> dict[str, Any]:
    answer = await api.post("webhook", GOOD | more)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_the_life_of_a_webhook(
    alice: Api, bob: Api, service: TransferService, answered: set[str]
) -> None:
    made = await created(alice, description="lab")
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    route = f"webhook/{made['id']}"
    assert (await alice.get(route)).json() == made
    assert (await alice.get("webhook_list")).json()["DATA"] == [made]
    assert (await bob.get("webhook_list")).json()["DATA"] == []

    changed = (await alice.put(route, {"topics": ["task.inactive"], "enabled": False})).json()
    assert changed == made | {"topics": ["task.inactive"], "enabled": False}
    assert (await alice.put(route, {"enabled": True})).json()["enabled"] is True

    replaced = (await alice.post(f"{route}/secret")).json()
    assert replaced["secret"] != secret
    assert replaced["earlier_secret_until"] is not None
    tested = await alice.post(f"{route}/test")
    assert tested.status_code == 202
    [delivery] = (await alice.get(f"{route}/delivery_list")).json()["DATA"]
    assert delivery["id"] == tested.json()["delivery_id"]
    assert (delivery["status"], delivery["topic"]) == ("waiting", "webhook.test")
    taken = await TransferOutbox(service.database, service.sealer).take(
        by_mail=False, most=9, per_target=2, lease_s=60
    )
    [one] = [taken.hook for taken in taken]
    assert one is not None
    assert len(one.secrets) == 2

    for answer in (
        await bob.get(route),
        await bob.put(route, {"enabled": False}),
        await bob.post(f"{route}/secret"),
        await bob.post(f"{route}/test"),
        await bob.get(f"{route}/delivery_list"),
        await bob.delete(route),
        await alice.get(f"webhook/{uuid4()}"),
        await alice.get("webhook/x"),
    ):
        assert_error(answer, 404, "WebhookNotFound")
    assert (await alice.delete(route)).status_code == 200
    assert_error(await alice.get(route), 404, "WebhookNotFound")
    assert {"create_webhook", "list_webhook_deliveries", "test_webhook"} <= answered


OF_VERSION_6 = """-----BEGIN CERTIFICATE-----
MIHDMHegAwIBBQIBATAFBgMrZXAwDDEKMAgGA1UEAwwBYTAeFw0yMDAxMDEwMDAwMDBaFw0zMDAx
MDEwMDAwMDBaMAwxCjAIBgNVBAMMAWEwKjAFBgMrZXADIQA486r/eiE2vKB1lVSxPSi66rjjQEoB
OvuDFBtVY1rbFTAFBgMrZXADQQB4Ny3J4VdusfUMZLJy+VqO+FdLGJ4nCRvo/FomVpL3ZFb0xyAZ
MuYkl4eckwA48WO+hLjgwv5Py6bqopT6+YcO
-----END CERTIFICATE-----
"""

WRONG: list[dict[str, Any]] = [
    {"url": "http://lab.example/"},
    {"url": "ftp://lab.example/"},
    {"url": "https://"},
    {"url": "https://user:word@lab.example/"},
    {"url": "https://lab.example/#part"},
    {"url": "https://lab.example/a b"},
    {"url": "https://lab.example/\r\nX: y"},
    {"url": "https://lab.example:0/"},
    {"url": "https://lab.example:99999/"},
    {"url": "https://lab.example/" + "x" * 2000},
    {"topics": []},
    {"topics": ["webhook.test"]},
    {"topics": ["task.*"]},
    {"authority": "-----BEGIN CERTIFICATE-----"},
    {"authority": OF_VERSION_6},
    {"description": "x" * 257},
]


async def test_what_is_refused(alice: Api) -> None:
    for wrong in WRONG:
        answer = await alice.post("webhook", GOOD | wrong)
        assert answer.status_code == 400, (wrong, answer.text)
    assert (await alice.get("webhook_list")).json()["DATA"] == []


async def test_there_is_an_end_to_them(
    alice: Api, bob: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "MAX_WEBHOOKS", 2)
    for _ in range(2):
        await created(alice)
    refused = await alice.post("webhook", GOOD)
    assert_error(refused, 409, "ClientError.Conflict.TooManyWebhooks")
    await created(bob)


async def test_nobody_is_flooded_with_tests(alice: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MAX_TESTS", 2)
    route = f"webhook/{(await created(alice))['id']}/test"
    assert [(await alice.post(route)).status_code for _ in range(2)] == [202, 202]
    refused = await alice.post(route)
    assert_error(refused, 429, "ClientError.TooManyRequests")
    assert refused.headers["Retry-After"] == "60"


async def test_mail_is_switched_off_by_oneself_and_by_the_link_in_a_mail(
    alice: Api, service: TransferService
) -> None:
    async def wanted() -> bool:
        return bool((await alice.get("notifications")).json()["mail"])

    assert await wanted()
    assert (await alice.put("notifications", {"mail": False})).json()["mail"] is False
    assert not await wanted()
    await alice.put("notifications", {"mail": True})

    switch_off = SwitchOff(service.sealer, service.origin)
    link = switch_off.url(alice.sub).removeprefix(service.origin)
    nobody = {"Authorization": ""}
    page = await alice.http.get(link, headers=nobody)
    assert "<form" in page.text
    assert await wanted(), "to look at it changes nothing"
    done = await alice.http.post(link, content=b"List-Unsubscribe=One-Click", headers=nobody)
    assert done.status_code == 200
    assert not await wanted()


async def test_a_link_that_was_changed_is_nobodys(alice: Api, service: TransferService) -> None:
    switch_off = SwitchOff(service.sealer, service.origin)
    link = switch_off.url(UUID(int=1)).removeprefix(service.origin)
    # of the last character not all bits count
    other = link[:-2] + ("A" if link[-2] != "A" else "B") + link[-1]
    for wrong in (link[:-3], other, link + "é", link[:30]):
        answer = await alice.http.post(wrong)
        assert_error(answer, 404, "ClientError.NotFound")
