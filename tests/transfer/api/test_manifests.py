"""Manifests over the API: of a task that goes on, of many files, and of what has none."""

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from plugins.tasks import store_task
from plugins.transfer_api import Api, assert_error
from towpath.grants.keys import KeySet
from towpath.manifest.verify import Manifest
from towpath.transfer.api.app import create_app
from towpath.transfer.api.service import TransferService
from towpath.transfer.store import segments
from towpath.transfer.store.rows import fetch_one
from towpath.transfer.store.segments import SEGMENT_FILES, Finished

MANY = 1_000_000
MOST_BYTES = 100 * 1024 * 1024
"""More memory than before, whatever the number of files."""


async def stored(service: TransferService, owner: UUID, **columns: Any) -> tuple[int, UUID]:
    task_no = await store_task(service.database, owner)
    async with service.database.connection() as conn:
        for name, value in columns.items():
            await conn.execute(
                f"UPDATE task SET {name} = %s WHERE task_no = %s".encode(), (value, task_no)
            )
        row = await fetch_one(conn, "SELECT id FROM task WHERE task_no = %s", (task_no,))
    assert row is not None
    return task_no, row[0]


def finished(number: int) -> Finished:
    name = f"run_{number // 1000:04}/detector_{number % 1000:05}.h5"
    return Finished(0, name, 4096, "SHA256", f"{number:064x}", unix_s=1_793_464_800)


async def trusted(api: Api) -> KeySet:
    return KeySet.from_jwks((await api.get("manifest_keys")).json())


async def test_of_a_task_that_goes_on_what_there_is_so_far(
    alice: Api, bob: Api, service: TransferService, tmp_path: Path
) -> None:
    task_no, task_id = await stored(service, alice.sub)
    async with service.database.transaction() as conn:
        await segments.append(conn, task_no, [finished(1), finished(2)])
        await segments.append(conn, task_no, [finished(3)])
    file = tmp_path / "manifest"
    file.write_bytes((await alice.get(f"task/{task_id}/manifest")).content)
    read = Manifest(file, await trusted(alice))
    assert [one.destination_path for one in read.entries()] == [
        f"/d/{finished(number).path}" for number in (1, 2, 3)
    ]
    assert (read.files, read.size_bytes, read.head["complete"]) == (3, 3 * 4096, False)
    assert read.issuer == service.origin
    assert_error(await bob.get(f"task/{task_id}/manifest"), 404, "TaskNotFound")


async def test_a_delete_has_none(alice: Api, service: TransferService) -> None:
    _, task_id = await stored(service, alice.sub, type="DELETE")
    refused = await alice.get(f"task/{task_id}/manifest")
    assert_error(refused, 400, "ClientError.BadRequest")


async def test_keys_are_the_same_in_each_process_and_for_everybody(
    alice: Api, service: TransferService
) -> None:
    first = (await alice.get("manifest_keys")).json()
    service.connect_keys.forget()
    again = await alice.http.get("/v0.10/manifest_keys", headers={"Authorization": ""})
    assert again.json() == first
    assert first["issuer"] == service.origin
    grants = await service.connect_keys.keys()
    assert grants.signer.key_id not in {key["kid"] for key in first["keys"]}


@pytest.mark.long
async def test_a_million_files_take_no_more_memory_than_a_few(
    alice: Api, service: TransferService, tmp_path: Path
) -> None:
    task_no, task_id = await stored(service, alice.sub, status="SUCCEEDED")
    for first in range(0, MANY, SEGMENT_FILES):
        async with service.database.transaction() as conn:
            some = [finished(number) for number in range(first, first + SEGMENT_FILES)]
            await segments.append(conn, task_no, some)
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps((await alice.get("manifest_keys")).json()))
    file = tmp_path / "manifest"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    with file.open("wb") as out:

        async def send(message: Any) -> None:
            out.write(message.get("body", b""))

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "method": "GET",
            "path": f"/v0.10/task/{task_id}/manifest",
            "query_string": b"",
            "headers": [(b"authorization", alice.http.headers["Authorization"].encode())],
        }
        await create_app(service)(scope, receive, send)  # type: ignore[arg-type]
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert after - before < MOST_BYTES
    assert Manifest(file, None).files == MANY

    empty = tmp_path / "empty"
    empty.mkdir()
    command = ["verify", str(file), str(empty), "--key", str(keys), "--extra", "-F", "json"]
    with (tmp_path / "said").open("wb") as said:
        done = subprocess.run(
            [sys.executable, "-m", "towpath.cli", *command], stdout=said, check=False
        )
    assert done.returncode == 1
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 < 3 * MOST_BYTES
