"""What was told arrives, through a real mail server and a real web server, whatever they do."""

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from plugins.receivers import OK, HookHost, MailHost, Posted
from towpath.notify import runner as runner_module
from towpath.notify.mails import MailSender
from towpath.notify.queue import NotDelivered
from towpath.notify.runner import Runner
from towpath.notify.texts import Place
from towpath.notify.webhooks import HookSender
from towpath.platform import standard_webhooks
from towpath.platform.database import Database
from towpath.platform.dial import DialPolicy
from towpath.platform.mail import SmtpMailer
from towpath.platform.outbound import Outbound
from towpath.platform.secrets import Sealer, add_key
from towpath.platform.settings import MailSettings, NotifySettings
from towpath.transfer import outbox as outbox_module
from towpath.transfer.outbox import SwitchOff, TransferOutbox
from towpath.transfer.store import deliveries, outbox, webhooks
from towpath.transfer.store.deliveries import Taken
from towpath.transfer.store.outbox import Topic
from towpath.transfer.store.webhooks import Webhook, seal_context

ORIGIN = "https://towpath.test"
ADA = UUID(int=1)
GRANTED = {"endpoint_id": str(UUID(int=2)), "display_name": "lake", "path": "/run7/"}


class People:
    """Where Ada gets mail, and nobody else; `away`: the identity service does not answer."""

    def __init__(self) -> None:
        self.away = False

    async def of(self, identity_id: UUID) -> str | None:
        if self.away:
            raise NotDelivered("away")
        return "ada@mill.example" if identity_id == ADA else None


class Ground:
    """An outbox, those who are told, and runners between them."""

    def __init__(self, database: Database, sealer: Sealer, directory: Path) -> None:
        self.database = database
        self.sealer = sealer
        self.mail = MailHost(directory / "mail")
        self.hooks = HookHost(directory / "hooks")
        self.people = People()
        self.settings = NotifySettings()
        self.dial = DialPolicy(allow_loopback=True)
        self.tls = "none"
        self.outbound_s = 5.0

    def runner(self, lease_s: float = 120.0) -> Runner[Taken]:
        mail = MailSettings(
            host="127.0.0.1",
            port=self.mail.port,
            tls=self.tls,  # type: ignore[arg-type]
            authority=self.mail.authority if self.tls == "starttls" else None,
        )
        return Runner(
            TransferOutbox(self.database, self.sealer),
            mails=MailSender(
                SmtpMailer(mail),
                "towpath@towpath.test",
                self.people,
                Place("Towpath", ORIGIN),
                SwitchOff(self.sealer, ORIGIN).url,
            ),
            hooks=HookSender(Outbound(self.dial, timeout_s=self.outbound_s)),
            settings=self.settings,
            poll_s=0.02,
            first_again_s=0.05,
            lease_s=lease_s,
        )

    @asynccontextmanager
    async def delivering(self, runners: int = 1) -> AsyncIterator[None]:
        running = [asyncio.create_task(self.runner().run()) for _ in range(runners)]
        try:
            yield
        finally:
            for one in running:
                one.cancel()
            done = await asyncio.gather(*running, return_exceptions=True)
        for error in done:
            assert isinstance(error, asyncio.CancelledError), error

    async def tell(self, who: UUID = ADA, times: int = 1, **more: Any) -> None:
        async with self.database.transaction() as conn:
            for _ in range(times):
                await outbox.tell(conn, Topic.ACCESS_GRANTED, who, GRANTED | more)

    async def hook(self, url: str | None = None) -> tuple[UUID, bytes]:
        """Ada's webhook, and its secret."""
        made = Webhook(
            uuid4(), ADA, url or self.hooks.url, "", [Topic.ACCESS_GRANTED], self.hooks.authority
        )
        secret = standard_webhooks.new_secret()
        async with self.database.transaction() as conn:
            sealed = self.sealer.seal(secret, seal_context(made.id))
            assert await webhooks.insert(conn, made, sealed, most=20)
            await deliveries.want_mail(conn, ADA, wanted=False)
        return made.id, secret

    async def rows(self) -> list[dict[str, Any]]:
        async with self.database.connection() as conn:
            return await (await conn.execute("SELECT * FROM outbox ORDER BY id")).fetchall()

    async def until(self, look: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        async with asyncio.timeout(20):
            while not look(rows := await self.rows()):
                await asyncio.sleep(0.02)
        return rows

    async def over(self) -> list[dict[str, Any]]:
        return await self.until(lambda rows: all(row["state"] != "waiting" for row in rows))


@pytest.fixture
async def ground(untold_database: Database, tmp_path: Path) -> AsyncIterator[Ground]:
    made = Ground(untold_database, Sealer(tmp_path / "seal.key"), tmp_path)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(made.mail.serving())
        await stack.enter_async_context(made.hooks.serving())
        yield made


# -- mail


async def test_a_mail_says_what_happened_and_how_to_have_no_more(ground: Ground) -> None:
    await ground.tell(granted_by="Bob\r\nBcc: all@mill.example", permissions="rw")
    async with ground.delivering():
        [row] = await ground.over()
    assert (row["state"], row["attempts"]) == ("delivered", 1)
    [mail] = ground.mail.taken
    assert mail["To"] == "ada@mill.example"
    assert mail["Subject"] == "[Towpath] Bob Bcc: all@mill.example shares lake with you"
    assert mail["Bcc"] is None
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    link = mail["List-Unsubscribe"][1:-1]
    key = link.partition("?key=")[2]
    assert SwitchOff(ground.sealer, ORIGIN).read(key) == ADA
    text = mail.get_content()
    assert "read and write /run7/" in text
    assert link in text


async def test_a_server_that_is_down_is_tried_until_it_is_back(ground: Ground) -> None:
    port, ground.mail.port = ground.mail.port, 1  # nobody listens there
    await ground.tell()
    async with ground.delivering():
        [row] = await ground.until(lambda rows: rows[0]["attempts"] >= 2)
        assert row["error"].startswith("the mail server cannot be reached")
    ground.mail.port = port
    async with ground.database.connection() as conn:  # the lease of one that was stopped is over
        await conn.execute("UPDATE outbox SET due_at = now()")
    async with ground.delivering():
        [row] = await ground.over()
    assert (row["state"], row["error"]) == ("delivered", None)
    assert len(ground.mail.taken) == 1


async def test_a_refused_recipient_is_given_up_and_a_busy_server_is_not(ground: Ground) -> None:
    ground.mail.refuses = "550 no such user"
    await ground.tell()
    async with ground.delivering():
        [row] = await ground.over()
        assert (row["state"], row["status"], row["attempts"]) == ("given_up", 550, 1)
        ground.mail.refuses = "451 not now"
        await ground.tell()
        await ground.until(lambda rows: rows[1]["status"] == 451)
        ground.mail.refuses, ground.mail.refuses_text = None, "554 that is no mail"
        rows = await ground.over()
    assert [row["state"] for row in rows] == ["given_up", "given_up"]
    assert rows[1]["status"] == 554
    assert ground.mail.taken == []


async def test_by_starttls_and_only_so(ground: Ground, tmp_path: Path) -> None:
    secure = MailHost(tmp_path / "secure", starttls=True)
    async with secure.serving():
        ground.mail = secure
        await ground.tell()
        async with ground.delivering():
            await ground.until(lambda rows: rows[0]["attempts"] >= 1 and not rows[0]["taken"])
        assert secure.taken == [], "in clear it takes nothing"
        ground.tls = "starttls"
        async with ground.delivering():
            await ground.over()
    assert len(secure.taken) == 1


async def test_a_slow_mail_server_is_given_time_and_no_more(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "DELIVER_S", 0.3)
    ground.mail.waits = asyncio.Event()
    await ground.tell()
    async with ground.delivering():
        [row] = await ground.until(lambda rows: rows[0]["error"] is not None)
        assert "took longer" in row["error"]
        ground.mail.waits.set()
        await ground.over()
    # it may have come twice: with one id
    assert {mail["Message-ID"] for mail in ground.mail.taken} == {
        ground.mail.taken[0]["Message-ID"]
    }


async def test_nobody_to_write_to_and_nobody_who_knows(ground: Ground) -> None:
    ground.people.away = True
    await ground.tell()
    await ground.tell(UUID(int=9))
    async with ground.delivering():
        await ground.until(lambda rows: all(row["error"] == "away" for row in rows))
        ground.people.away = False
        rows = await ground.over()
    assert [row["state"] for row in rows] == ["delivered", "given_up"]


async def test_several_runners_side_by_side_deliver_each_once(ground: Ground) -> None:
    _, _ = await ground.hook()
    await ground.tell(times=30)
    async with ground.delivering(runners=4):
        await ground.over()
    ids = [one.headers["webhook-id"] for one in ground.hooks.posted]
    assert len(ids) == len(set(ids)) == 30


async def test_after_days_it_is_given_up(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    ground.mail.refuses = "451 not now"
    await ground.tell()
    async with ground.database.connection() as conn:
        await conn.execute("UPDATE outbox SET created_at = now() - interval '73 hours'")
    async with ground.delivering():
        [row] = await ground.over()
    assert row["state"] == "given_up"
    said = capsys.readouterr()
    assert "notify.given_up" in said.out + said.err
    assert "ada@mill.example" not in said.out + said.err


# -- webhooks


async def test_a_webhook_gets_what_it_can_check(ground: Ground) -> None:
    hook, secret = await ground.hook()
    await ground.tell()
    async with ground.delivering():
        await ground.over()
        second = standard_webhooks.new_secret()
        async with ground.database.transaction() as conn:
            sealed = ground.sealer.seal(second, seal_context(hook))
            await webhooks.replace_secret(conn, hook, sealed)
        await ground.tell()
        await ground.over()
    first, both = ground.hooks.posted
    for one, secrets in ((first, [secret]), (both, [second, secret])):
        signed = one.headers["webhook-id"], int(one.headers["webhook-timestamp"]), one.body
        expected = [standard_webhooks.signature(some, *signed) for some in secrets]
        assert one.headers["webhook-signature"].split() == expected
    said = json.loads(first.body)
    assert said["type"] == "access.granted"
    assert said["data"] == GRANTED
    assert first.headers["webhook-id"] != both.headers["webhook-id"]


def test_the_signature_is_that_of_the_specification() -> None:
    # the example of the specification's own libraries
    given = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    message = "msg_p5jXN8AQM9LWM0D4loKWxJek"
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert standard_webhooks.signature(given, message, 1614265330, body) == expected


async def answering(status: int, headers: str = "") -> Callable[[Posted], Awaitable[bytes]]:
    async def answer(_posted: Posted) -> bytes:
        return f"HTTP/1.1 {status} X\r\n{headers}\r\n".encode()

    return answer


async def test_what_fails_comes_again_with_the_same_id(ground: Ground) -> None:
    await ground.hook()
    ground.hooks.answer = await answering(500)
    await ground.tell()
    async with ground.delivering():
        [row] = await ground.until(lambda rows: rows[0]["attempts"] >= 2)
        assert (row["status"], row["error"]) == (500, "the receiver answered 500")
        ground.hooks.answer = await answering(200)
        [row] = await ground.over()
    assert row["state"] == "delivered"
    assert len({one.headers["webhook-id"] for one in ground.hooks.posted}) == 1


async def test_redirects_are_not_followed_and_gone_is_gone(ground: Ground) -> None:
    hook, _ = await ground.hook()
    ground.hooks.answer = await answering(307, f"Location: {ground.hooks.url}/there\r\n")
    await ground.tell()
    async with ground.delivering():
        [row] = await ground.until(lambda rows: rows[0]["error"] is not None)
        assert "redirects are not followed" in row["error"]
        ground.hooks.answer = await answering(410)
        async with asyncio.timeout(20):
            found = None
            while found is None or found.enabled:
                async with ground.database.connection() as conn:
                    found = await webhooks.get(conn, ADA, hook)
        await ground.over()
    assert (found.enabled, found.disabled_because) == (False, "the receiver answered 410")
    assert {one.path for one in ground.hooks.posted} == {"/hook"}


async def test_what_has_failed_for_long_is_switched_off_and_told_by_mail(ground: Ground) -> None:
    hook, _ = await ground.hook()
    async with ground.database.transaction() as conn:
        await deliveries.want_mail(conn, ADA, wanted=True)
        await conn.execute(
            "UPDATE webhook SET failures_in_a_row = 8, failing_since = now() - interval '25 hours'"
        )
    ground.hooks.answer = await answering(503)
    await ground.tell()
    async with ground.delivering():
        await ground.until(lambda rows: rows[-1]["topic"] == Topic.WEBHOOK_DISABLED)
        await ground.over()
    mail = next(one for one in ground.mail.taken if "switched off" in one["Subject"])
    assert ground.hooks.url in mail.get_content()
    assert str(hook) in mail.get_content()


async def test_a_webhook_whose_key_is_not_here_waits_for_it(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "NO_KEY_S", 0.05)
    file, here = tmp_path / "seal.key", tmp_path / "second-host.key"
    shutil.copy(file, here)
    key_id = add_key(file)
    hook, secret = await ground.hook()
    ground.sealer = Sealer(here)
    await ground.tell()
    with capture_logs() as logs:
        async with ground.delivering():
            [row] = await ground.until(lambda rows: rows[0]["attempts"] >= 3)
            assert (row["state"], row["error"]) == ("waiting", outbox_module.NO_KEY)
            shutil.copy(file, here)
            await ground.over()
    told = [one for one in logs if one["log_level"] == "error"]
    assert [(one["event"], one["key"]) for one in told] == [("secrets.key_missing", key_id)]
    async with ground.database.connection() as conn:
        found = await webhooks.get(conn, ADA, hook)
    assert found is not None
    assert (found.enabled, found.failures_in_a_row) == (True, 0)
    [one] = ground.hooks.posted
    signed = one.headers["webhook-id"], int(one.headers["webhook-timestamp"]), one.body
    assert one.headers["webhook-signature"] == standard_webhooks.signature(secret, *signed)


async def test_a_secret_that_was_changed_signs_nothing_and_one_that_is_lost_is_replaced(
    ground: Ground, tmp_path: Path
) -> None:
    hook, _ = await ground.hook()
    lost = Sealer(tmp_path / "lost.key").seal(b"x" * 24, seal_context(hook))
    new = ground.sealer.seal(b"y" * 24, seal_context(hook))
    async with ground.database.transaction() as conn:
        await conn.execute("UPDATE webhook SET sealed_secret = %s", (lost,))
        await webhooks.replace_secret(conn, hook, new)
    await ground.tell()
    async with ground.delivering():
        await ground.over()
        assert len(ground.hooks.posted[0].headers["webhook-signature"].split()) == 1
        async with ground.database.transaction() as conn:
            await conn.execute("UPDATE webhook SET sealed_secret = %s", (new[:-1] + b"\0",))
        await ground.tell()
        async with asyncio.timeout(20):
            found = None
            while found is None or found.enabled:
                async with ground.database.connection() as conn:
                    found = await webhooks.get(conn, ADA, hook)
    assert found.disabled_because == outbox_module.CANNOT_SIGN
    assert len(ground.hooks.posted) == 1


async def test_a_receiver_that_says_nothing_or_never_ends_costs_little(ground: Ground) -> None:
    await ground.hook()
    ground.outbound_s = 0.6
    never = asyncio.Event()

    async def endless(posted: Posted) -> bytes:
        if len(ground.hooks.posted) == 1:
            await never.wait()
        return b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 100_000

    ground.hooks.answer = endless
    await ground.tell()
    async with ground.delivering():
        [row] = await ground.until(lambda rows: rows[0]["error"] is not None)
        assert row["error"] == "localhost did not answer in time"
        [row] = await ground.over()
    assert (row["state"], row["attempts"]) == ("delivered", 2)
    never.set()


async def test_a_slow_receiver_holds_up_nobody_else(ground: Ground) -> None:
    await ground.hook(f"{ground.hooks.url}/slow")
    await ground.hook()
    never = asyncio.Event()

    async def slow(posted: Posted) -> bytes:
        if posted.path.endswith("/slow"):
            await never.wait()
        return OK

    ground.hooks.answer = slow
    await ground.tell(times=20)
    async with ground.delivering():
        await ground.until(lambda rows: sum(row["state"] == "delivered" for row in rows) == 20)
    assert sum(one.path.endswith("/slow") for one in ground.hooks.posted) <= 2
    never.set()


REFUSED = [
    "https://127.0.0.1:1/",
    "https://10.0.0.7/",
    "https://[::1]/",
    "https://169.254.169.254/latest/meta-data",
    "https://localhost/",
    "https://0/",
    "https://2130706433/",
    "https://[::ffff:10.0.0.7]/",
]


async def test_an_address_that_is_not_allowed_is_not_dialled_and_nothing_is_said_of_it(
    ground: Ground,
) -> None:
    ground.dial = DialPolicy()
    for url in [*REFUSED, ground.hooks.url]:
        await ground.hook(url)
    await ground.tell()
    async with ground.delivering():
        rows = await ground.until(lambda rows: all(row["error"] for row in rows))
    said = "the address is not one that this service may call; the operator decides"
    assert {row["error"] for row in rows} == {said}
    assert ground.hooks.posted == []


async def test_http_only_if_the_operator_allows_it(ground: Ground) -> None:
    await ground.hook("http://localhost:1/")
    await ground.tell()
    async with ground.delivering():
        [row] = await ground.until(lambda rows: all(row["error"] for row in rows))
    assert "is not an https URL" in row["error"]
