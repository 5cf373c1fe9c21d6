"""Chaining what was recorded, and noting the chain's head outside the database.

Records are appended without a place in the chain, so that transactions do not wait for each other;
one process at a time then chains what is committed.
"""

import asyncio
import json
from pathlib import Path

import structlog

from towpath.nexus import audit_chain
from towpath.nexus.store import audit as store
from towpath.nexus.store.audit import Head
from towpath.platform.database import AWAY, Connection, Database, is_away
from towpath.platform.files import private_directory, write_private

EVERY_S = 0.5
"""A record is in the chain within a second; looking costs one statement."""
SEALED_AT_ONCE = 1000
"""Links of one transaction: some 30 ms of hashing and copying."""

_log = structlog.stdlib.get_logger("towpath.audit")


class CheckpointError(Exception):
    """The file with the chain's head cannot be used; the message says why."""


class Checkpoint:
    """The chain's head in a file of the deployment's directory, 0600.

    Who can change the database alone, and cuts the chain's end off or makes it anew, cannot change
    this.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def read(self) -> Head | None:
        """The head that was noted last; None before the first. Raises `CheckpointError`."""
        try:
            document = json.loads(self.file.read_bytes())
            return Head(int(document["sequence"]), bytes.fromhex(document["hash"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{self.file} cannot be read: {error}") from error

    def write(self, head: Head) -> None:
        """Note ``head``. Raises OSError."""
        private_directory(self.file.parent)
        document = {"sequence": head.sequence, "hash": head.hash.hex()}
        write_private(self.file, json.dumps(document).encode() + b"\n")


class AuditSealer:
    """Chains records as they come, and keeps the checkpoint at the chain's head."""

    def __init__(self, database: Database, checkpoint: Checkpoint) -> None:
        self._database = database
        self._checkpoint = checkpoint
        self._noted: Head | None = None
        self._lost = False

    async def run(self) -> None:
        """Until cancelled; a database that is away is waited for. Raises OSError."""
        self._noted = self._checkpoint.read()
        while True:
            try:
                while await self.seal() == SEALED_AT_ONCE:
                    pass
            except AWAY as error:
                if not is_away(error):
                    raise
            await asyncio.sleep(EVERY_S)

    async def seal(self) -> int:
        """Chain the oldest SEALED_AT_ONCE records; how many there were. Then note the head."""
        async with self._database.transaction() as connection:
            sealed = 0
            if await store.lock_chain(connection):
                records = await store.take_pending(connection, SEALED_AT_ONCE)
                if records:
                    before = await store.head(connection) or audit_chain.START
                    await store.add_sealed(connection, audit_chain.links(records, before))
                    sealed = len(records)
        async with self._database.connection() as connection:
            await self._note(connection)
        return sealed

    async def _note(self, connection: Connection) -> None:
        """The new head, if the chain still has the one noted before: else keep the proof."""
        head = await store.head(connection) or audit_chain.START
        noted = self._noted
        if head == noted or self._lost:
            return
        if noted is not None and noted != audit_chain.START:
            self._lost = await store.hash_of(connection, noted.sequence) != noted.hash
            if self._lost:
                _log.error("audit.checkpoint_lost", sequence=noted.sequence, head=head.sequence)
                return
        await asyncio.to_thread(self._checkpoint.write, head)
        self._noted = head
