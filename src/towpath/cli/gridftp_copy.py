"""What ``towpath gridftp cp`` does. Its options are in `towpath.cli.gridftp`."""

import sys
from pathlib import Path

from towpath.cli.globus_files import Logins, run_client
from towpath.cli.gridftp_progress import reporter
from towpath.gridftp.client.copy.copying import copy
from towpath.gridftp.client.copy.locations import Location
from towpath.gridftp.client.copy.plan import Access, CopyingOptions, End
from towpath.gridftp.client.dial import Dial
from towpath.gridftp.client.pool import SessionPool
from towpath.start import leave


def copy_files(
    dial: Dial,
    source: tuple[Location, Path | None],
    destination: tuple[Location, Path | None],
    *,
    recursive: bool,
    parallel: int,
    verify: bool,
    encrypt: bool,
) -> None:
    """Copy; each end is a location and the file of the credential for it."""
    options = CopyingOptions(recursive, parallel, verify, encrypt)
    logins = Logins()
    ends = [_end(location, file, logins) for location, file in (source, destination)]

    async def run() -> None:
        pool = SessionPool(dial)
        try:
            with reporter() as progress:
                complete = await copy(ends[0], ends[1], options, progress, pool)
            progress.conclude()
            if complete:
                # All is there and nothing runs: the servers' sessions end by themselves.
                leave()
        finally:
            await pool.close()
        if not complete:
            sys.exit(1)

    run_client(run())


def _end(location: Location, file: Path | None, logins: Logins) -> End:
    """For a path here, and in clear text, no login is needed."""
    if location.server is None or location.clear:
        return End(location, Access(None, None))
    return End(location, Access(*logins.find(file)))
