"""The route that tells where a task's time went: who may ask, and what is told at each moment."""

from uuid import uuid4

from plugins.transfer_api import Api, assert_error
from towpath.platform.database import Database
from towpath.transfer.accounting import MEANING
from towpath.transfer.store import leases, spent
from towpath.transfer.store.tasks import Status


async def test_where_the_time_went(alice: Api, bob: Api, lake: str, database: Database) -> None:
    document = {
        "DATA_TYPE": "transfer",
        "submission_id": str(uuid4()),
        "source_endpoint": lake,
        "destination_endpoint": lake,
        "DATA": [{"DATA_TYPE": "transfer_item", "source_path": "/a", "destination_path": "/b"}],
    }
    task_id = (await alice.post("transfer", document)).json()["task_id"]
    await alice.post(f"task/{task_id}/pause")
    waits = (await alice.get(f"task/{task_id}/explain")).json()
    assert (waits["task_id"], waits["status"]) == (task_id, "ACTIVE")
    assert waits["completion_time"] is None
    shares = {share["category"]: share for share in waits["DATA"]}
    assert {"paused", "queue_workers"} >= shares.keys()
    assert waits["sentence"].startswith("It has taken ")
    assert_error(await bob.get(f"task/{task_id}/explain"), 404, "TaskNotFound")

    await alice.post(f"task/{task_id}/resume")
    [grant] = await leases.admit(database, worker="w", limit=1, lease_s=15, per_owner=3)
    async with leases.fenced(database, grant.task_no, grant.lease_epoch) as conn:
        await leases.finish(conn, grant.task_no, status=Status.SUCCEEDED, fatal_error=None)
        await leases.release(conn, grant.task_no)
        await spent.account(conn, grant.task_no, grant.lease_epoch, {}, owner_full=False)
    told = (await alice.get(f"task/{task_id}/explain")).json()
    assert told["status"] == "SUCCEEDED"
    assert told["sentence"].startswith("It took ")
    assert round(sum(share["seconds"] for share in told["DATA"]) * 1000) == round(
        told["wall_s"] * 1000
    )
    assert told["unexplained"] < 0.05
    assert all(share["meaning"] == MEANING[share["category"]] for share in told["DATA"])
    again = (await alice.get(f"task/{task_id}/explain")).json()
    assert again == told
