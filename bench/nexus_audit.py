"""What a record in the audit log costs the act that makes it, and how fast the chain is made."""

import time
from functools import partial
from pathlib import Path
from uuid import uuid4

from bench.nexus_setting import Service, Setting, spread, timed
from towpath.nexus.audit import Act, append
from towpath.nexus.audit_chain import check
from towpath.nexus.audit_sealing import AuditSealer, Checkpoint
from towpath.nexus.store import audit as store

RECORDS = 20_000


def measure(setting: Setting) -> dict[str, float]:
    """A transaction with a record and without, records chained a second, and checked a second."""
    return setting.run(partial(_measure, setting.count(RECORDS), setting.directory))


async def _measure(count: int, directory: Path, service: Service) -> dict[str, float]:
    act = Act("login.ok", uuid4(), uuid4(), uuid4(), {"amr": ["pwd"], "provider": str(uuid4())})

    async def plain() -> None:
        async with service.database.transaction() as connection:
            await connection.execute("UPDATE client SET name = name")

    async def recorded() -> None:
        async with service.database.transaction() as connection:
            await connection.execute("UPDATE client SET name = name")
            await append(connection, act)

    without = await timed(plain, count // 10)
    with_record = await timed(recorded, count // 10)
    async with service.database.transaction() as connection:
        for _ in range(count):
            await append(connection, act)
    sealer = AuditSealer(service.database, Checkpoint(directory / "head.json"))
    began, sealed = time.perf_counter(), 0
    while done := await sealer.seal():
        sealed += done
    sealing_s = time.perf_counter() - began
    began = time.perf_counter()
    async with service.database.transaction() as connection:
        checked = (await check(store.chain(connection), None)).head.sequence
    return {
        **spread("transaction", without),
        **spread("transaction_with_record", with_record),
        "records_chained_per_s": round(sealed / sealing_s),
        "records_checked_per_s": round(checked / (time.perf_counter() - began)),
    }
