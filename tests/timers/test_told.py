"""Whose timer stands still is told by mail, through a real mail server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from plugins.receivers import MailHost
from plugins.timers import TIMERS_GROUP, World
from towpath.nexus.people import accounts
from towpath.notify.mails import MailSender
from towpath.notify.runner import Runner
from towpath.notify.texts import Place
from towpath.notify.webhooks import HookSender
from towpath.platform.dial import DialPolicy
from towpath.platform.mail import SmtpMailer
from towpath.platform.outbound import Outbound
from towpath.platform.settings import MailSettings, NotifySettings
from towpath.timers.nexus import TIMER_SCOPE, TRANSFER_SCOPE
from towpath.timers.outbox import TimersOutbox
from towpath.timers.owners import OwnerWatch
from towpath.timers.store import outbox
from towpath.transfer.outbox import SwitchOff

pytestmark = TIMERS_GROUP

ORIGIN = "https://towpath.test"


class Everybody:
    """Has an address, and wants mail unless it is said otherwise."""

    def __init__(self) -> None:
        self.unwilling: set[UUID] = set()

    async def of(self, identity_id: UUID) -> str | None:
        return f"{identity_id}@mill.example"

    async def want(self, identity_id: UUID) -> bool:
        return identity_id not in self.unwilling


class Mails:
    """What arrives at a mail server while somebody delivers."""

    def __init__(self, timing: World, directory: Path) -> None:
        self.timing = timing
        self.host = MailHost(directory)
        self.people = Everybody()

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        settings = MailSettings(host="127.0.0.1", port=self.host.port, tls="none")
        runner = Runner(
            TimersOutbox(self.timing.database, self.people.want),
            mails=MailSender(
                SmtpMailer(settings),
                "towpath@towpath.test",
                self.people,
                Place("Towpath", ORIGIN),
                SwitchOff(self.timing.kept._sealer, ORIGIN).url,
            ),
            hooks=HookSender(Outbound(DialPolicy())),
            settings=NotifySettings(),
            poll_s=0.02,
            first_again_s=0.05,
        )
        running = asyncio.create_task(runner.run())
        try:
            yield
        finally:
            running.cancel()
            [ended] = await asyncio.gather(running, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError), ended

    async def rows(self) -> list[dict[str, Any]]:
        async with self.timing.database.connection() as conn:
            return await (await conn.execute("SELECT * FROM outbox ORDER BY id")).fetchall()

    async def over(self) -> list[EmailMessage]:
        """Nothing waits any more: all that has come."""
        async with asyncio.timeout(20):
            while any(row["state"] == "waiting" for row in await self.rows()):
                await asyncio.sleep(0.02)
        return self.host.taken


@pytest.fixture
def mails(timing: World, tmp_path: Path) -> Mails:
    return Mails(timing, tmp_path)


async def take_back(timing: World) -> None:
    """Nobody lets Timers do anything any more."""
    async with timing.nexus.database.connection() as conn:
        await conn.execute("DELETE FROM oauth_grant")


async def test_its_owner_learns_why_and_what_to_do(timing: World, mails: Mails) -> None:
    user = await timing.user()
    job_id = await user.makes()
    await take_back(timing)
    await timing.rounds(timing.runner())
    async with mails.host.serving(), mails.delivering():
        [mail] = await mails.over()
    assert mail["To"] == f"{user.sub}@mill.example"
    assert mail["Subject"] == "[Towpath] Waits for you: the timer mirror"
    text = mail.get_content()
    for words in (
        'Your timer "mirror" makes no transfers until you resume it.',
        "What happened: The timer may not transfer for you (any more)",
        f"  {TIMER_SCOPE}[{TRANSFER_SCOPE}]",
        f"globus timer resume {job_id}",
    ):
        assert words in text
    assert mail["List-Unsubscribe"][1:-1] in text
    [row] = await mails.rows()
    assert (row["state"], row["attempts"], row["error"]) == ("delivered", 1, None)


async def test_it_is_told_with_the_change_or_neither_is(
    timing: World, mails: Mails, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await timing.user()
    job_id = await user.makes()
    await take_back(timing)

    async def dies(*_arguments: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "tell_inactive", dies)
        with pytest.raises(asyncio.CancelledError):
            await timing.runner().round()
    async with timing.database.connection() as conn:
        found = await conn.execute("SELECT status FROM timer WHERE id = %s", (job_id,))
        assert await found.fetchone() == {"status": "active"}
    timing.lease_ends()
    await timing.rounds(timing.runner())
    assert len(await mails.rows()) == 1


async def test_who_wants_no_mail_or_has_resumed_it_gets_none(timing: World, mails: Mails) -> None:
    bob, eve = await timing.person("bob"), await timing.person("eve")
    mails.people.unwilling.add(bob.user.sub)
    await bob.user.makes()
    resumed = await eve.user.makes()
    await take_back(timing)
    await timing.rounds(timing.runner())
    document = await timing.log_in(eve.person, eve.application)
    user = await timing.known(eve.user.sub, document, eve.user.endpoints)
    assert len(await mails.rows()) == 2
    assert (await user.resumes(resumed)).status_code == 200
    async with mails.host.serving(), mails.delivering():
        assert await mails.over() == []
    assert await mails.rows() == [], "nothing is kept that nobody wants"


async def test_a_mail_server_that_is_down_is_waited_for_and_told_the_newest(
    timing: World, mails: Mails
) -> None:
    ada = await timing.person("ada")
    job_id = await ada.user.makes()
    await take_back(timing)
    await timing.rounds(timing.runner())
    mails.host.port = 1  # nobody listens there
    async with mails.delivering():
        async with asyncio.timeout(20):
            while not any(row["error"] for row in await mails.rows()):
                await asyncio.sleep(0.02)
    async with timing.database.transaction() as conn:
        detail = {"authorization_parameters": {"session_message": "again", "required_scopes": []}}
        await outbox.tell_inactive(conn, UUID(job_id), ada.user.sub, "mirror", detail)
        await conn.execute("UPDATE outbox SET due_at = now()")
    mails.host.port = 0
    async with mails.host.serving(), mails.delivering():
        [mail] = await mails.over()
    assert "What happened: again" in mail.get_content()


async def test_a_suspended_owner_is_told_of_each_and_a_deleted_one_of_none(
    timing: World, mails: Mails
) -> None:
    eve = await timing.person("eve")
    for _ in range(2):
        await eve.user.makes(type="once", datetime="2031-01-01")
    login = httpx.BasicAuth(str(timing.client.client_id), timing.client.client_secret)
    watch = OwnerWatch(timing.database, timing.nexus.http, login)
    async with timing.nexus.database.transaction() as conn:
        await accounts.suspend(conn, eve.person.account_id)
    while await watch.look():
        pass
    rows = await mails.rows()
    assert [row["recipient_id"] for row in rows] == [eve.user.sub] * 2
    assert all("suspended" in row["document"]["reason"] for row in rows)
    async with timing.nexus.database.transaction() as conn:
        await accounts.delete(conn, eve.person.account_id)
    while await watch.look():
        pass
    assert await mails.rows() == []


async def test_what_is_over_is_forgotten_after_a_week(timing: World, mails: Mails) -> None:
    user = await timing.user()
    await user.makes()
    await take_back(timing)
    await timing.rounds(timing.runner())
    mails.host.refuses = "550 no such user"
    async with mails.host.serving(), mails.delivering():
        assert await mails.over() == []
    [row] = await mails.rows()
    assert (row["state"], row["status"]) == ("given_up", 550)
    kept = TimersOutbox(timing.database, mails.people.want)
    await kept.sweep()
    assert len(await mails.rows()) == 1
    async with timing.database.connection() as conn:
        await conn.execute("UPDATE outbox SET created_at = now() - interval '8 days'")
    await kept.sweep()
    assert await mails.rows() == []
