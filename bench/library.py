"""The library in a long-lived process: reads jobs, one line of JSON each, and answers likewise.

Python runs and the modules are loaded, as in a service. Apart from that a job shares nothing with
those before it: it reads the credential and the authorities, makes its keys, connects and logs in.
Only jobs that say so take sessions and data channels from a pool, and leave them there.

    {"do": "copy", "source": URL, "destination": URL, "verify": bool, "pooled": bool}
    {"do": "list", "root": URL, "names": FILE}    FILE gets the paths of the files that were found
    {"do": "remove", "root": URL}
    {"do": "forget"}                              close what is in the pool

All may have "profile": FILE, which gets the profile of the event loop's thread. The answer is
{"wall_s": ..., "cpu_s": ...}, or {"error": TEXT}.
"""

import asyncio
import cProfile
import json
import os
import pstats
import sys
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from towpath.gridftp.client.copy.copying import copy
from towpath.gridftp.client.copy.locations import Location
from towpath.gridftp.client.copy.plan import Access, CopyingOptions, End, Progress
from towpath.gridftp.client.data.security import DataSecurity
from towpath.gridftp.client.pool import SessionPool
from towpath.gridftp.client.removal import Remover
from towpath.gridftp.client.session import Session
from towpath.gridftp.client.tree_listing import list_tree
from towpath.gridftp.errors import GridFTPError
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.security.trust import TrustRoots
from towpath.gridftp.wire.listings import EntryType

LISTING_SESSIONS = 2
PROFILE_LINES = 60

Job = dict[str, Any]


class Failed(Exception):  # noqa: N818 - reads as what it says
    """A job did not do all it was asked for."""


class Jobs:
    """Does the jobs, and keeps pool and access between those that use the pool."""

    def __init__(self) -> None:
        self._kept: tuple[SessionPool, Access] | None = None

    async def copy_files(self, job: Job) -> None:
        """A file, or what is in a directory if the URLs end so."""
        if job["pooled"]:
            self._kept = self._kept or (SessionPool(), _access())
            pool, access = self._kept
        else:
            pool, access = None, _access()
        source, destination = (
            End(Location.parse(job[end]), access) for end in ("source", "destination")
        )
        options = CopyingOptions(recursive=job["source"].endswith("/"), verify=job["verify"])
        failures = _Failures()
        complete = await copy(source, destination, options, failures, pool)
        if not complete:
            raise Failed("; ".join(failures.texts) or "not everything was copied")

    async def list_files(self, job: Job) -> Callable[[], None]:
        """A tree; what is returned writes down the names, which is no part of listing."""
        location = Location.parse(job["root"])
        access = _access()
        security = DataSecurity(DataCredential.create(datetime.now(UTC)))
        names: list[str] = []

        async def open_session() -> Session:
            assert location.server is not None
            return await Session.start(
                location.server, credential=access.credential, trust=access.trust
            )

        async for listed in list_tree(
            open_session, location.path, security=security, sessions=LISTING_SESSIONS
        ):
            if listed.failed:
                raise Failed(str(listed.failed[0][1]))
            names += [entry.name for entry in listed.entries if entry.type is EntryType.FILE]
        return lambda: _write_lines(Path(job["names"]), names)

    async def remove_tree(self, job: Job) -> None:
        """A directory with all that is in it."""
        location = Location.parse(job["root"])
        access = _access()

        async def open_session() -> Session:
            assert location.server is not None
            return await Session.start(
                location.server, credential=access.credential, trust=access.trust
            )

        remover = Remover(open_session)
        try:
            failures = await remover.remove(trees=[location.path])
        finally:
            await remover.close()
        if failures:
            raise Failed(str(failures[0].error))

    async def forget(self, _job: Job) -> None:
        """Close the sessions and data channels of the pool."""
        kept, self._kept = self._kept, None
        if kept is not None:
            pool, _ = kept
            await pool.close()


class _Failures(Progress):
    """Remembers what failed."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def failed(self, path: str, error: GridFTPError) -> None:
        self.texts.append(f"{path}: {error}")

    def skipped(self, path: str, reason: str) -> None:
        self.texts.append(f"{path}: {reason}")


def _access() -> Access:
    credential = Credential.from_proxy_file(os.environ["X509_USER_PROXY"])
    return Access(credential, TrustRoots.from_directory(os.environ["X509_CERT_DIR"]))


def _write_lines(file: Path, lines: list[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines), errors="surrogateescape")


def _do(runner: asyncio.Runner, jobs: Jobs, job: Job) -> dict[str, object]:
    work: Callable[[Job], Coroutine[Any, Any, Callable[[], None] | None]]
    work = {
        "copy": jobs.copy_files,
        "list": jobs.list_files,
        "remove": jobs.remove_tree,
        "forget": jobs.forget,
    }[job["do"]]
    profile = cProfile.Profile() if job.get("profile") else None
    before_cpu_s, before_s = time.process_time(), time.perf_counter()
    try:
        if profile is None:
            afterwards = runner.run(work(job))
        else:
            afterwards = profile.runcall(runner.run, work(job))
    except (GridFTPError, Failed, OSError, ValueError) as error:
        return {"error": str(error)}
    took: dict[str, object] = {
        "wall_s": time.perf_counter() - before_s,
        "cpu_s": time.process_time() - before_cpu_s,
    }
    if afterwards is not None:
        afterwards()
    if profile is not None:
        with Path(job["profile"]).open("w") as file:
            pstats.Stats(profile, stream=file).sort_stats("tottime").print_stats(PROFILE_LINES)
    return took


def main() -> None:
    """Do the jobs of standard input until it ends."""
    jobs = Jobs()
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            print(json.dumps(_do(runner, jobs, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
