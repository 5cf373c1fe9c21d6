"""Area `gridftp`: our command against globus-url-copy, between two servers, nothing verified.

Both sides authenticate the data channels and send the data itself in clear text, which is the
default of both.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.rig import STREAMS, Scale, Site, Tree, program_path
from bench.rounds import Contest, Mover


@contextmanager
def contests(trees: Path, state: Path, scale: Scale) -> Iterator[list[Contest]]:  # noqa: ARG001
    """The contests of this area, while the servers run. Nothing here keeps state."""
    with Site.open(trees, scale) as site:
        small, big, tiny = site.small_tree(), site.big_file(), site.tiny_file()
        yield [
            site.contest(
                "small_files_vs_guc",
                small,
                ours=_copy(site, small, "", "--recursive"),
                peer=site.guc_tree(small),
            ),
            site.contest(
                "big_vs_guc",
                big,
                ours=_copy(site, big, "/file", "--parallel", str(STREAMS)),
                peer=site.guc_big(big),
            ),
            site.contest(
                "tiny_file_vs_guc",
                tiny,
                ours=_copy(site, tiny, "/file"),
                peer=site.guc_file(tiny),
            ),
        ]


def _copy(site: Site, tree: Tree, end: str, *options: str) -> Mover:
    towpath = program_path("towpath")
    return lambda to: site.command(
        towpath,
        "gridftp",
        "cp",
        "--no-verify",
        *options,
        site.source.url(f"{tree.root}{end}"),
        site.destination.url(f"{to}{end}"),
    )
