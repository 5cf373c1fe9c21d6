"""Routes of manifests: the signed list of what a transfer brought where, and the keys it is signed
with."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi.responses import JSONResponse, StreamingResponse

from towpath.manifest.lines import Sealing
from towpath.platform.errors import ApiError
from towpath.platform.http import new_router
from towpath.transfer import manifests
from towpath.transfer.api.answers.manifests import ManifestKeys
from towpath.transfer.api.service import PREFIX, Caller, Service, TransferService, own_task
from towpath.transfer.connect.keys import Keys
from towpath.transfer.store import items, segments
from towpath.transfer.store.segments import Snapshot
from towpath.transfer.store.tasks import Task

router = new_router(PREFIX)

_ANSWER: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The manifest, a JSON document a line",
        "content": {manifests.MEDIA_TYPE: {"schema": {"type": "string"}}},
    }
}


@router.get("/manifest_keys", response_model=ManifestKeys)
async def manifest_keys(service: Service) -> JSONResponse:
    """The keys that sign manifests, and that have: a JWK set (RFC 8037). For everybody."""
    keys = await service.connect_keys.manifest_keys()
    return JSONResponse({"issuer": service.origin, **keys.published.to_jwks()})


@router.get("/task/{task_id}/manifest", response_class=StreamingResponse, responses=_ANSWER)
async def task_manifest(task_id: str, caller: Caller, service: Service) -> StreamingResponse:
    """What a transfer brought where, signed; of one that goes on, so far."""
    keys = await service.connect_keys.manifest_keys()
    async with service.database.connection() as conn, conn.transaction():
        await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        task = await own_task(conn, task_id, caller.sub)
        if task.type != "TRANSFER":
            raise ApiError.bad_request("Only transfers have a manifest")
        found = await segments.snapshot(conn, task.task_no)
        named, _ = await items.page(conn, task.task_no, limit=None, offset=0)
    now = service.now()
    head = await asyncio.to_thread(
        manifests.head,
        task,
        named,
        files=found.files,
        size_bytes=found.size_bytes,
        issuer=service.origin,
        key=keys.signer,
        now=now,
    )
    sealing = manifests.sealing(task, issuer=service.origin, now=now)
    return StreamingResponse(
        _stream(service, task, found, head, sealing, keys),
        media_type=manifests.MEDIA_TYPE,
        headers={
            "Content-Disposition": f'attachment; filename="manifest-{task.id}.jsonl"',
            "Cache-Control": "no-store",
        },
    )


async def _stream(
    service: TransferService,
    task: Task,
    found: Snapshot,
    head: bytes,
    sealing: Sealing,
    keys: Keys,
) -> AsyncIterator[bytes]:
    """A segment at a time: memory does not grow with the files. If one is gone meanwhile, the
    answer ends without its tail, and nobody takes it for whole."""
    sealing.take(head, files=0, size_bytes=0)
    yield head
    for number in found.sealed:
        async with service.database.connection() as conn:
            data = await segments.sealed(conn, task.task_no, number)
        if data is None:
            raise RuntimeError(f"segment {number} of task {task.id} has been removed")
        yield await _render(service, task, data, sealing)
    for data in found.small:
        yield await _render(service, task, data, sealing)
    yield sealing.tail(keys.signer)


async def _render(service: TransferService, task: Task, data: bytes, sealing: Sealing) -> bytes:
    async with service.rendering:
        files = await asyncio.to_thread(segments.unpack, data, segments.Finished)
        async with service.database.connection() as conn:
            roots = await items.some(conn, task.task_no, {file.item_no for file in files})
        made = await asyncio.to_thread(manifests.chunk, files, roots)
        await asyncio.to_thread(
            sealing.take, made.lines, files=made.files, size_bytes=made.size_bytes
        )
    return made.lines
