"""What lane tests share."""

from collections.abc import Sequence
from pathlib import Path

from towpath.gridftp.client.lane import Lane, Outcome, Piece


async def finish(
    lane: Lane, pieces: Sequence[Piece], directories: Sequence[str] = ()
) -> list[Outcome]:
    """Send everything at once and collect every outcome."""
    lane.send(pieces, directories)
    outcomes: list[Outcome] = []
    while lane.in_flight or len(outcomes) < len(pieces):
        outcomes += await lane.outcomes()
    return outcomes


def wrong(pieces: Sequence[Piece]) -> list[str]:
    """Destinations that are not byte for byte their sources."""
    found = []
    for piece in pieces:
        there = Path(piece.destination_path)
        if not there.is_file() or there.read_bytes() != Path(piece.source_path).read_bytes():
            found.append(piece.destination_path)
    return found
