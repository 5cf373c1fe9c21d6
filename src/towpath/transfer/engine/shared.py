"""Within one server: what is at both ends of a transfer under two names.

A destination is emptied before its source is read. So what is one and the same there, because a
link at the destination leads to the source, or they are two names of one file, is left as it is.
"""

from collections.abc import Sequence

from towpath.gridftp.client.session import Session
from towpath.gridftp.wire.listings import Entry
from towpath.transfer.engine.context import at_destination, at_source, lies_in
from towpath.transfer.engine.fidelity import DirectoryFindings
from towpath.transfer.engine.sync import DestinationDirectory, status
from towpath.transfer.fidelity import Kind
from towpath.transfer.places import link_targets, real_places
from towpath.transfer.store.plan import Item


async def not_shared(
    there: DestinationDirectory, entries: Sequence[Entry], findings: DirectoryFindings
) -> list[Entry]:
    """The entries of a source directory without those that the destination shares.

    Raises SidedError.
    """
    looked = await there.look([entry.name for entry in entries])
    apart: list[Entry] = []
    for entry, found in zip(entries, looked, strict=True):
        if found is not None and one_file(entry, found):
            findings.note(Kind.SHARED_WITH_SOURCE, entry.name)
        else:
            apart.append(entry)
    return apart


async def overlaps(source: Session, destination: Session, item: Item, entry: Entry) -> bool:
    """Whether an item's destination is its source, or inside it; `entry` is the source's.

    Raises SidedError.
    """
    assert item.destination_path is not None, "a transfer's items have destinations"
    if lies_in(item.destination_path, item.source_path):
        return True
    there = await status(destination, item.destination_path)
    if there is not None and one_file(entry, there):
        return True
    with at_source():
        here = real_places(item.source_path, await link_targets(source, item.source_path))[-1]
    with at_destination():
        targets = await link_targets(destination, item.destination_path)
    return lies_in(real_places(item.destination_path, targets)[-1], here)


def one_file(source: Entry, destination: Entry) -> bool:
    """Whether two names at one server are of one file or directory, as far as it tells."""
    return source.unique is not None and source.unique == destination.unique
