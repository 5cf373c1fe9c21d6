"""``make conformance``: perform every example, and write the table. Exit code 1: something unknown
differs."""

import asyncio
import logging
import sys
import tempfile
from pathlib import Path

import httpx
import structlog

from compat.stage import staged
from conformance import live
from conformance.compare import Compared, compare_all
from conformance.known import KNOWN, KNOWN_LIVE, explained
from conformance.page import PAGE, table, written
from plugins.nexus import ISSUER, Nexus
from towpath.nexus.app import create_app
from towpath.nexus.bootstrap import OPERATOR, TRANSFER, bootstrap
from towpath.nexus.oauth.keys import KeyRing
from towpath.platform.database import Database, EmbeddedPostgres
from towpath.platform.migrations import migrate
from towpath.platform.secrets import Sealer


async def _compared(directory: Path) -> list[Compared]:
    directory.mkdir()
    postgres = EmbeddedPostgres(directory / "postgres", options={"fsync": "off"})
    await postgres.start()
    try:
        await migrate(postgres.url, schema="nexus", package="towpath.nexus.store")
        async with Database(postgres.url, schema="nexus") as database:
            keys = KeyRing(database, Sealer(directory / "seal.key"))
            await keys.ensure()
            made = await bootstrap(database, directory)
            app = create_app(database, issuer=ISSUER, keys=keys)
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as http:
                nexus = Nexus(http, made[OPERATOR], made[TRANSFER], database, app, keys)
                return await compare_all(nexus)
    finally:
        await postgres.stop()


def main() -> int:
    """See above."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="towpath-conformance-", dir="/tmp") as directory:
        root = Path(directory)
        root.chmod(0o755)
        found = asyncio.run(_compared(root / "nexus"))
        with staged(root) as stage:
            of_deployment = live.compare_all(stage)
    parts = (("shapes", found, KNOWN), ("shapes-live", of_deployment, KNOWN_LIVE))
    unknown = [
        (one.example.name, explained(one, known)[1])
        for _, those, known in parts
        for one in those
        if explained(one, known)[1]
    ]
    for name, differences in unknown:
        print(f"{name}: {'; '.join(differences)}", file=sys.stderr)
    if unknown:
        return 1
    for part, those, known in parts:
        PAGE.write_text(written(PAGE.read_text(), table(those, known), part))
    print(f"{len(found) + len(of_deployment)} examples; {PAGE} is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
