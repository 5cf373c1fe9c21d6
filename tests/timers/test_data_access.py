"""Timers that use a person's data in a collection of a Connect server: the consent is below Timers'
own, and nothing else stands for it.
"""

from plugins.connect_api import set_up
from plugins.manager_api import Lab
from plugins.nexus import DOMAIN, REDIRECT
from plugins.timers import TIMERS_GROUP, User, World
from plugins.transfer_api import Api
from towpath.timers.nexus import TIMER_SCOPE, TRANSFER_SCOPE
from towpath.transfer.api import TransferService
from towpath.transfer.store.consents import Fitted
from towpath.transfer.watches.consents import ConsentWatch

pytestmark = TIMERS_GROUP

MAPPINGS = {
    "DATA_TYPE": "expression_identity_mapping#1.0.0",
    "mappings": [{"source": "{username}", "match": f"(.*)@{DOMAIN}", "output": "daemon"}],
}


async def collection_of(user: User) -> str:
    """A new one, on a node that is set up."""
    api = Api(user.transfer, user.sub)
    made = await api.post("endpoint", {"display_name": "Lab", "connect": "server"})
    assert made.status_code == 201, made.text
    _, node = await set_up(api, made.json()["globus_connect_setup_key"])
    await Lab(made.json()["id"], node).report(
        collections=[{"name": "Data", "base_path": "/srv/data", "policies": {}}],
        mappings=[MAPPINGS],
    )
    found = await api.get(
        "endpoint_search", filter_scope="my-endpoints", filter_entity_type="GCSv5_mapped_collection"
    )
    return str(found.json()["DATA"][0]["id"])


async def test_the_consent_below_timers_is_what_counts(timing: World) -> None:
    ada, runner = await timing.person("ada"), timing.runner()
    user = ada.user
    collection = await collection_of(user)
    data = f"{TRANSFER_SCOPE}[*https://auth.globus.org/scopes/{collection}/data_access]"
    user.endpoints[0] = collection
    job_id = await user.makes(type="recurring", interval_seconds=3600)

    async def log_in(scope: str) -> None:
        await timing.nexus.log_in_at(
            ada.application, ada.person, scope=scope, redirect_uri=REDIRECT
        )

    async def missing() -> list[str]:
        await timing.rounds(runner)
        job = await user.job(job_id)
        assert job["status"] == "inactive", job
        parameters = job["inactive_reason"]["detail"]["authorization_parameters"]
        assert parameters["session_message"] == "Missing required data_access consent"
        assert await user.tasks() == []
        scopes: list[str] = parameters["required_scopes"]
        return scopes

    wanted = [f"{TIMER_SCOPE}[{data}]"]
    assert await missing() == wanted
    await log_in(data)  # the application's own use of the data is another matter
    assert (await user.resumes(job_id)).status_code == 200
    assert await missing() == wanted
    await log_in(wanted[0])  # as `globus session consent` does with it
    assert (await user.resumes(job_id)).status_code == 200
    await timing.rounds(runner)
    job = await user.job(job_id)
    assert (job["status"], job["n_runs"], len(await user.tasks())) == ("loaded", 1, 1)
    # what was allowed with one application is allowed to no other
    application = await timing.nexus.client(redirect_uris=[REDIRECT])
    tokens = await timing.log_in(ada.person, application)
    other = await timing.known(user.sub, tokens, user.endpoints)
    other_id = await other.makes(type="recurring", interval_seconds=3600)
    await timing.rounds(runner)
    assert (await other.job(other_id))["status"] == "inactive"
    [first] = await user.tasks()
    # nor does a task go on by it
    await timing.nexus.log_in_at(application, ada.person, scope=wanted[0], redirect_uri=REDIRECT)
    assert (await other.resumes(other_id)).status_code == 200
    await timing.rounds(runner)
    assert [one["status"] for one in await user.tasks()] == ["ACTIVE", "ACTIVE"]
    service: TransferService = timing.transfer.state.transfer
    watch = ConsentWatch(
        timing.transfer_database,
        service.guard.ask,
        limits=service.limits,
        engine=service.engine,
    )
    assert await watch.look(older_s=0) == Fitted(0, 0)
    async with timing.nexus.database.connection() as conn:
        await conn.execute(
            "DELETE FROM consent WHERE root_client_id = %s", (ada.application.client_id,)
        )
    assert await watch.look(older_s=0) == Fitted(1, 0)
    told = {one["task_id"]: one for one in await user.tasks()}
    waits = told.pop(first["task_id"])
    assert waits["status"] == "INACTIVE"
    assert "below that service's own scope" in waits["nice_status_details"]
    assert [one["status"] for one in told.values()] == ["ACTIVE"]
    await log_in(f"openid {wanted[0]}")
    assert await watch.look(older_s=0) == Fitted(0, 1)
