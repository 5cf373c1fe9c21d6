"""Runs: once each, whatever happens between their steps."""

import asyncio
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from structlog.testing import capture_logs

from plugins.browsing import Browser
from plugins.nexus import ISSUER
from plugins.timers import START, TIMERS_GROUP, World
from towpath.nexus.pages.frame import SESSION_COOKIE
from towpath.nexus.people import accounts
from towpath.platform.secrets import Sealer, add_key
from towpath.timers.nexus import TIMER_SCOPE, TRANSFER_SCOPE, Kept
from towpath.timers.owners import OwnerWatch
from towpath.timers.runner import (
    RETRY_FIRST_S,
    RETRY_LONGEST_S,
    TRIES,
)
from towpath.timers.store import timers
from towpath.timers.transfer import Accepted, Transfer

pytestmark = TIMERS_GROUP

HOURLY = {"type": "recurring", "interval_seconds": 3600}


class Dying(Transfer):
    """The process ends when Transfer has answered, and nothing is written any more."""

    async def submit(self, *arguments: Any) -> Accepted:
        await super().submit(*arguments)
        raise asyncio.CancelledError


class Answering(Transfer):
    """Transfer with one answer to every submission, which no real one gives on request."""

    def __init__(self, real: httpx.AsyncClient, answer: Callable[[], httpx.Response]) -> None:
        super().__init__(real)
        double = httpx.MockTransport(lambda _request: answer())
        self._double = Transfer(httpx.AsyncClient(transport=double, base_url="https://transfer"))

    async def submit(self, *arguments: Any) -> Accepted:
        return await self._double.submit(*arguments)


async def token_of(timing: World, job_id: str) -> str:
    async with timing.database.connection() as conn:
        found = await conn.execute(
            "SELECT refresh_token, t::text AS row FROM timer t WHERE id = %s", (job_id,)
        )
        row = await found.fetchone()
    assert row is not None
    token = timing.kept.unseal(UUID(job_id), row["refresh_token"])
    assert token not in row["row"]
    assert token.encode().hex() not in row["row"]
    return token


async def is_active(timing: World, token: str) -> bool:
    answer = await timing.nexus.post("token/validate", timing.client, token=token)
    return bool(answer.json()["active"])


async def test_once(timing: World) -> None:
    user, runner = await timing.user(), timing.runner()
    job_id = await user.makes(type="once", datetime="2030-01-01 13:00:00")
    await timing.rounds(runner)
    assert await user.tasks() == []
    before = await user.job(job_id)
    assert (before["status"], before["next_run"]) == ("new", "2030-01-01T13:00:00+00:00")
    assert before["activity"] == {"code": "awaiting_next_run", "start_timestamp": None}
    token = await token_of(timing, job_id)
    timing.clock.move(hours=1)
    await timing.rounds(runner)
    [task] = await user.tasks()
    assert (task["label"], task["status"]) == ("nightly", "ACTIVE")
    running = await user.job(job_id)
    assert (running["status"], running["next_run"], running["n_runs"]) == ("loaded", None, 1)
    assert running["activity"] == {
        "code": "run_in_progress",
        "start_timestamp": "2030-01-01T13:00:00+00:00",
    }
    [result] = running["results"]["data"]
    assert (result["status"], result["errors"]) == (202, None)
    assert result["data"]["action_id"] == task["task_id"]
    assert result["data"]["details"]["status"] == "ACTIVE"
    await timing.finish()
    timing.clock.move(minutes=1)
    await timing.rounds(runner)
    over = await user.job(job_id)
    assert (over["status"], over["activity"], over["n_errors"]) == ("ended", None, 0)
    assert over["results"]["data"][0]["data"]["status"] == "SUCCEEDED"
    assert not await is_active(timing, token), "nothing is kept that nobody needs"


async def test_what_was_missed_is_made_up_for_once(timing: World) -> None:
    user, runner = await timing.user(), timing.runner()
    job_id = await user.makes(**HOURLY, end={"condition": "iterations", "count": 3})
    await timing.rounds(runner)
    await timing.finish()
    timing.clock.move(minutes=1)
    await timing.rounds(runner)
    timing.clock.move(days=3, minutes=30)  # the service was away
    await timing.rounds(runner)
    assert len(await user.tasks()) == 2
    job = await user.job(job_id)
    assert job["next_run"] == "2030-01-04T13:00:00+00:00", "again at the full hour"
    await timing.finish()
    timing.clock.move(hours=1)
    await timing.rounds(runner)  # sees the end, and runs for the last time
    await timing.finish()
    timing.clock.move(minutes=1)
    await timing.rounds(runner)
    timing.clock.move(days=1)
    await timing.rounds(runner)
    job = await user.job(job_id)
    assert (job["status"], job["n_runs"], len(await user.tasks())) == ("ended", 3, 3)


async def test_a_run_that_lasts_is_waited_for_and_then_made_up_for_once(timing: World) -> None:
    user, runner = await timing.user(), timing.runner()
    job_id = await user.makes(**HOURLY)
    await timing.rounds(runner)
    for _ in range(5):
        timing.clock.move(hours=1)
        await timing.rounds(runner)
    assert len(await user.tasks()) == 1
    assert (await user.job(job_id))["activity"]["code"] == "run_in_progress"
    await timing.finish()
    timing.clock.move(minutes=2)
    await timing.rounds(runner)
    assert len(await user.tasks()) == 2
    assert (await user.job(job_id))["next_run"] == "2030-01-01T18:00:00+00:00"


async def test_nothing_begins_after_the_end(timing: World) -> None:
    user, runner = await timing.user(), timing.runner()
    end = {"condition": "time", "datetime": "2030-01-01T14:30:00+01:00"}
    job_id = await user.makes(**HOURLY, end=end)
    await timing.rounds(runner)
    await timing.finish()
    timing.clock.move(minutes=5)
    await timing.rounds(runner)
    assert (await user.job(job_id))["next_run"] == "2030-01-01T13:00:00+00:00"
    timing.clock.move(minutes=86)  # it was away when it was due
    await timing.rounds(runner)
    job = await user.job(job_id)
    assert (job["status"], job["n_runs"], len(await user.tasks())) == ("ended", 1, 1)


async def test_killed_between_submitting_and_writing_it_down(timing: World) -> None:
    user = await timing.user()
    job_id = await user.makes(**HOURLY)
    with pytest.raises(asyncio.CancelledError):
        await timing.runner(Dying(timing.at(timing.transfer))).round()
    [task] = await user.tasks()
    assert (await user.job(job_id))["n_runs"] == 0, "nobody has written it down"
    runner = timing.runner()
    assert await runner.round() == 0, "the dead one's lease has not ended"
    timing.lease_ends()
    await timing.rounds(runner)
    job = await user.job(job_id)
    assert [one["task_id"] for one in await user.tasks()] == [task["task_id"]]
    [result] = job["results"]["data"]
    assert (job["n_runs"], result["status"]) == (1, 200), "Transfer knew it"
    assert result["data"]["action_id"] == task["task_id"]


async def test_killed_when_the_run_has_begun(
    timing: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, runner = await timing.user(), timing.runner()
    job_id = await user.makes(**HOURLY)

    async def dies(*_arguments: Any, **_more: Any) -> str:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(runner, "_access_token", dies)
        with pytest.raises(asyncio.CancelledError):
            await runner.round()
    assert await user.tasks() == []
    timing.lease_ends()
    timing.clock.move(hours=2)
    await timing.rounds(timing.runner())
    assert len(await user.tasks()) == 1, "the run that had begun is the one that makes up for all"
    assert (await user.job(job_id))["n_runs"] == 1


async def test_two_instances(timing: World) -> None:
    users = [await timing.user() for _ in range(4)]
    jobs = [(user, await user.makes(**HOURLY)) for user in users for _ in range(3)]
    one, other = timing.runner(), timing.runner()
    for _ in range(5):
        await asyncio.gather(one.round(), other.round(), one.round())
    for user in users:
        assert len(await user.tasks()) == 3
    assert [(await user.job(job_id))["n_runs"] for user, job_id in jobs] == [1] * 12


async def test_one_that_has_lost_its_lease_writes_nothing(timing: World) -> None:
    user = await timing.user()
    job_id = await user.makes(**HOURLY)
    real = Transfer(timing.at(timing.transfer))
    waits, goes_on = asyncio.Event(), asyncio.Event()

    class Slow(Transfer):
        async def submit(self, *arguments: Any) -> Accepted:
            waits.set()
            await goes_on.wait()
            return await real.submit(*arguments)

    slow = asyncio.create_task(timing.runner(Slow(timing.at(timing.transfer))).round())
    await waits.wait()
    timing.lease_ends()
    await timing.rounds(timing.runner())
    await timing.finish()
    timing.clock.move(hours=1)
    await timing.rounds(timing.runner())
    assert len(await user.tasks()) == 2
    goes_on.set()
    await slow
    job = await user.job(job_id)
    assert (len(await user.tasks()), job["n_runs"]) == (2, 2)


async def test_consent_taken_back_and_given_again(timing: World) -> None:
    ada, runner = await timing.person("ada"), timing.runner()
    job_id = await ada.user.makes(**HOURLY)
    await timing.rounds(runner)
    await timing.finish()
    _, cookie = await timing.nexus.log_in(ada.person)
    browser = Browser(timing.nexus.app, ISSUER)
    browser.http.cookies.set(SESSION_COOKIE, cookie)
    await browser.get("/account/applications")
    assert (await browser.send("/account/applications/revoke")).status_code == 303
    await browser.close()
    [token] = runner._tokens.values()
    answer = await timing.nexus.post("token/introspect", timing.client, token=token)
    assert answer.json() == {"active": False}, "also what was out"
    timing.clock.move(hours=1)
    await timing.rounds(runner)
    document = await timing.log_in(ada.person, ada.application)
    user = await timing.known(ada.user.sub, document, ada.user.endpoints)
    job = await user.job(job_id)
    assert (job["status"], job["n_runs"], job["n_errors"]) == ("inactive", 1, 1)
    assert job["activity"]["code"] == "paused"
    assert job["inactive_reason"]["cause"] == "globus_auth_requirements"
    parameters = job["inactive_reason"]["detail"]["authorization_parameters"]
    assert parameters["required_scopes"] == [f"{TIMER_SCOPE}[{TRANSFER_SCOPE}]"]
    timing.clock.move(hours=1)
    await timing.rounds(runner)
    assert len(await user.tasks()) == 1, "it stands still"
    assert (await user.resumes(job_id)).json()["message"]
    await timing.rounds(runner)
    job = await user.job(job_id)
    assert (job["status"], job["inactive_reason"], job["n_runs"]) == ("loaded", None, 2)
    assert len(await user.tasks()) == 2


async def test_the_clock_is_set_back(timing: World) -> None:
    """As after a failover to a host whose clock is right: a run is not looked at a day late."""
    user, runner = await timing.user(), timing.runner()
    job_id = await user.makes(**HOURLY)
    await timing.rounds(runner)
    timing.clock.move(days=-1)
    await timing.rounds(runner)
    await timing.finish()
    timing.clock.move(minutes=2)
    await timing.rounds(runner)
    job = await user.job(job_id)
    assert (job["activity"]["code"], len(await user.tasks())) == ("awaiting_next_run", 1)


async def test_a_timer_outlasts_the_login_in_which_it_was_set(timing: World) -> None:
    bob = await timing.person("bob")
    job_id = await bob.user.makes(**HOURLY)
    token = await token_of(timing, job_id)
    for one in (bob.document, *bob.document["other_tokens"]):  # as `globus logout` does
        for name in ("access_token", "refresh_token"):
            await timing.nexus.post("token/revoke", bob.application, token=one[name])
    assert await is_active(timing, token)
    await timing.rounds(timing.runner())
    async with timing.database.connection() as conn:
        found = await conn.execute("SELECT n_runs FROM timer")
        assert await found.fetchone() == {"n_runs": 1}


async def test_an_owner_is_suspended_and_deleted(timing: World) -> None:
    eve, runner = await timing.person("eve"), timing.runner()
    job_id = await eve.user.makes(**HOURLY)
    async with timing.nexus.database.transaction() as conn:
        await accounts.suspend(conn, eve.person.account_id)
    login = httpx.BasicAuth(str(timing.client.client_id), timing.client.client_secret)
    watch = OwnerWatch(timing.database, timing.nexus.http, login)
    await timing.rounds(runner)
    assert await _status(timing, job_id) == "inactive", "its token has ended"
    async with timing.database.connection() as conn:
        await conn.execute("UPDATE timer SET status = 'active', inactive_detail = NULL")
    while await watch.look():
        pass
    assert await _status(timing, job_id) == "inactive", "nexus has told"
    async with timing.nexus.database.transaction() as conn:
        await accounts.delete(conn, eve.person.account_id)
    while await watch.look():
        pass
    assert await _status(timing, job_id) is None


async def _status(timing: World, job_id: str) -> str | None:
    async with timing.database.connection() as conn:
        found = await conn.execute("SELECT status FROM timer WHERE id = %s", (job_id,))
        row = await found.fetchone()
    return None if row is None else str(row["status"])


async def test_a_missing_data_access_consent_is_asked_for_below_the_timers_own(
    timing: World,
) -> None:
    data = "https://auth.globus.org/scopes/6ac7ad60-0bb2-4bd4-a0bc-4ff7e0f6f7a1/data_access"
    transfer = f"urn:globus:auth:scope:transfer.api.globus.org:all[*{data}]"
    refused = {
        "code": "ConsentRequired",
        "message": "Missing required data_access consent",
        "required_scopes": [transfer],
    }
    user = await timing.user()
    job_id = await user.makes(**HOURLY)
    double = Answering(timing.at(timing.transfer), lambda: httpx.Response(403, json=refused))
    await timing.rounds(timing.runner(double))
    job = await user.job(job_id)
    parameters = job["inactive_reason"]["detail"]["authorization_parameters"]
    assert parameters["required_scopes"] == [
        f"https://auth.globus.org/scopes/{timing.client.client_id}/timer[{transfer}]"
    ]
    assert (await user.resumes(job_id, update_credentials=True)).status_code == 200
    await timing.rounds(timing.runner())
    job = await user.job(job_id)
    assert (job["status"], job["n_runs"], len(await user.tasks())) == ("loaded", 1, 1)


async def test_a_refusal_is_told_and_the_next_run_tries_again(timing: World) -> None:
    user, runner = await timing.user(), timing.runner()
    job_id = await user.makes(**HOURLY)
    await user.transfer.delete(f"/v0.10/endpoint/{user.endpoints[0]}")
    await timing.rounds(runner)
    job = await user.job(job_id)
    assert (job["status"], job["n_runs"], job["n_errors"]) == ("loaded", 1, 1)
    [result] = job["results"]["data"]
    assert (result["data"], result["status"]) == (None, 404)
    assert result["errors"][0]["code"] == "EndpointDeleted"
    assert user.endpoints[0] in result["errors"][0]["detail"]
    assert job["next_run"] == "2030-01-01T13:00:00+00:00"
    for _ in range(12):
        timing.clock.move(hours=1)
        await timing.rounds(runner)
    job = await user.job(job_id)
    assert (job["n_errors"], len(job["results"]["data"])) == (13, 10), "only the latest are kept"


async def test_transfer_is_away_for_a_while(timing: World) -> None:
    user = await timing.user()
    job_id = await user.makes(**HOURLY)
    away = Answering(timing.at(timing.transfer), lambda: httpx.Response(503, text="later"))
    runner = timing.runner(away)
    await timing.rounds(runner)
    job = await user.job(job_id)
    assert (job["activity"]["code"], job["n_runs"], job["n_errors"]) == ("retrying", 0, 0)
    assert job["results"]["data"][0]["status"] == 503
    assert await runner.round() == 0, "not at once"
    timing.clock.move(seconds=RETRY_FIRST_S)
    assert await runner.round() == 1
    timing.clock.move(seconds=RETRY_LONGEST_S)
    await timing.rounds(timing.runner())
    job = await user.job(job_id)
    assert (job["n_runs"], job["n_errors"]) == (1, 0)
    assert job["results"]["data"][0]["errors"] is None


async def test_transfer_stays_away(timing: World) -> None:
    user = await timing.user()
    job_id = await user.makes(type="once")
    away = Answering(timing.at(timing.transfer), lambda: httpx.Response(503, text="later"))
    runner, tries = timing.runner(away), 0
    while await runner.round():
        tries += 1
        timing.clock.move(seconds=RETRY_LONGEST_S)
    job = await user.job(job_id)
    assert (job["status"], job["n_runs"], job["n_errors"]) == ("ended", 1, 1)
    assert tries == TRIES + 1, "and one look to end it"


async def test_a_host_without_the_newest_key_gives_nothing_up(
    timing: World, tmp_path: Path
) -> None:
    file, here = timing.kept._sealer._file, tmp_path / "seal.key"
    shutil.copy(file, here)
    key_id = add_key(file)
    user = await timing.user()
    job_id = await user.makes(type="once")
    runner = timing.runner(kept=Kept(Sealer(here)))
    with capture_logs() as logs:
        for _ in range(TRIES + 2):
            assert await runner.round() == 1
            timing.clock.move(seconds=RETRY_LONGEST_S)
    told = [one for one in logs if one["log_level"] == "error"]
    assert [(one["event"], one["key"]) for one in told] == [("secrets.key_missing", key_id)]
    job = await user.job(job_id)
    assert (job["activity"]["code"], job["n_runs"], job["n_errors"]) == ("retrying", 0, 0)
    assert "key" in job["results"]["data"][0]["errors"][0]["detail"]
    shutil.copy(file, here)
    await timing.rounds(runner)
    job = await user.job(job_id)
    assert (job["n_runs"], job["n_errors"], len(await user.tasks())) == (1, 0, 1)


async def test_a_token_whose_key_is_lost_is_replaced_when_its_timer_is_resumed(
    timing: World, tmp_path: Path
) -> None:
    user = await timing.user()
    job_id = await user.makes(**HOURLY)
    lost = Kept(Sealer(tmp_path / "lost.key"))
    async with timing.database.connection() as conn:
        await conn.execute(
            "UPDATE timer SET refresh_token = %s", (lost.seal(UUID(job_id), "a token"),)
        )
    await timing.rounds(timing.runner())
    assert (await user.job(job_id))["activity"]["code"] == "retrying"
    assert (await user.resumes(job_id, update_credentials=False)).status_code == 200
    await timing.rounds(timing.runner())
    assert len(await user.tasks()) == 1


async def test_a_task_that_fails_says_why(timing: World) -> None:
    user, runner = await timing.user(), timing.runner()
    job_id = await user.makes(**HOURLY)
    await timing.rounds(runner)
    await timing.finish("FAILED")
    timing.clock.move(minutes=1)
    await timing.rounds(runner)
    job = await user.job(job_id)
    assert job["n_errors"] == 1
    [result] = job["results"]["data"]
    assert result["errors"] == [
        {"code": "FILE_NOT_FOUND", "detail": "there is no /a", "status": None}
    ]
    assert result["data"]["status"] == "FAILED"


async def test_pause_and_resume(timing: World) -> None:
    user, runner = await timing.user(), timing.runner()
    job_id = await user.makes(**HOURLY)
    await timing.rounds(runner)
    assert (await user.http.post(f"/jobs/{job_id}/pause")).status_code == 200
    job = await user.job(job_id)
    assert job["inactive_reason"] == {"cause": "user", "detail": None}
    await timing.finish()
    timing.clock.move(hours=5)
    await timing.rounds(runner)
    assert len(await user.tasks()) == 1
    await user.resumes(job_id, update_credentials=False)
    await timing.rounds(runner)
    assert len(await user.tasks()) == 2
    assert (await user.job(job_id))["next_run"] == "2030-01-01T18:00:00+00:00"


async def test_a_refresh_token_is_not_forgotten_while_a_timer_waits(timing: World) -> None:
    user, runner = await timing.user(), timing.runner()
    job_id = await user.makes(type="once", datetime="2032-01-01")
    async with timing.nexus.database.connection() as conn:
        await conn.execute("UPDATE token SET expires_at = now() + interval '1 hour'")
    timing.clock.move(days=31)
    await timing.rounds(runner)
    async with timing.nexus.database.connection() as conn:
        found = await conn.execute(
            "SELECT count(*) AS n FROM token WHERE kind = 'refresh'"
            " AND expires_at > now() + interval '100 days'"
        )
        assert await found.fetchone() == {"n": 1}
    job = await user.job(job_id)
    assert (job["status"], job["next_run"]) == ("new", "2032-01-01T00:00:00+00:00")


async def test_a_deleted_timer_leaves_no_token(timing: World) -> None:
    user = await timing.user()
    job_id = await user.makes(**HOURLY)
    token = await token_of(timing, job_id)
    await timing.rounds(timing.runner())
    deleted = await user.http.delete(f"/jobs/{job_id}")
    assert (deleted.status_code, deleted.json()["status"]) == (200, "deleted")
    assert not await is_active(timing, token)
    assert (await user.http.get(f"/jobs/{job_id}")).status_code == 404
    timing.clock.move(hours=1)
    await timing.rounds(timing.runner())
    assert len(await user.tasks()) == 1


async def test_what_is_over_for_long_is_forgotten(timing: World) -> None:
    user, runner = await timing.user(), timing.runner()
    job_id = await user.makes(type="once")
    await timing.rounds(runner)
    await timing.finish()
    timing.clock.move(minutes=1)
    await timing.rounds(runner)
    async with timing.database.connection() as conn:
        await timers.sweep_old(conn, at=START + timedelta(days=29))
        assert await _status(timing, job_id) == "ended"
        await timers.sweep_old(conn, at=START + timedelta(days=31))
    assert await _status(timing, job_id) is None


async def test_it_goes_on_by_itself_and_is_woken(
    timing: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("towpath.timers.runner.POLL_S", 3600.0)
    user, runner = await timing.user(), timing.runner()
    running = asyncio.create_task(runner.run())
    await user.makes(**HOURLY)
    runner.wake()
    try:
        async with asyncio.timeout(60):
            while not await user.tasks():
                await asyncio.sleep(0.02)
    finally:
        running.cancel()
        await asyncio.wait([running])
