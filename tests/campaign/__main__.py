"""`python -m campaign --seed N --faults N`: run a fault campaign, tell what it showed."""

import argparse
import asyncio
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

import structlog
from rich.console import Console

from campaign.audit import Audit
from campaign.campaign import Campaign
from campaign.ground import Ground
from campaign.makers import MAKERS
from campaign.report import summary, told, write

_INSIDE = "TOWPATH_CAMPAIGN_INSIDE"
"""Set in the process that runs in the namespaces."""
WRONG = (
    "lost",
    "duplicated",
    "false_success",
    "resent_covered",
    "unexplained",
    "unexplained_time",
    "crashed",
)


def main() -> int:
    """Exit code 0: nothing was wrong."""
    parser = argparse.ArgumentParser(prog="campaign", description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--faults", type=int, required=True, help="how many must hit something")
    parser.add_argument("--kinds", help=f"only these, with commas between: {', '.join(MAKERS)}")
    parser.add_argument("--without", help="all but these")
    parser.add_argument("--keep", action="store_true", help="keep files and logs in any case")
    options = parser.parse_args()
    if os.environ.get(_INSIDE) is None:
        _enter()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    root = Path(tempfile.mkdtemp(prefix="towpath-faults-"))
    campaign = asyncio.run(_run(root, options))
    right = not any(summary(campaign).get(name) for name in WRONG)
    if right and not options.keep:
        shutil.rmtree(root)
    else:
        print(f"files and logs: {root}", file=sys.stderr)
    return 0 if right else 1


def _enter() -> None:
    """Become a process in namespaces of its own; all that it starts ends with it."""
    if os.getuid() != 0:
        raise SystemExit("a campaign makes namespaces: run it as root")
    # bash is the first process there: it waits for those whose parents have died
    words = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    words += ["bash", "-c", '"$@" & wait $!', "bash", sys.executable, "-m", "campaign"]
    os.environ[_INSIDE] = "1"
    os.execvp(words[0], words + sys.argv[1:])


def _names(text: str | None, default: frozenset[str]) -> frozenset[str]:
    """Of kinds of faults. Raises SystemExit for one that is none."""
    names = default if text is None else frozenset(text.split(","))
    if unknown := names - MAKERS.keys():
        raise SystemExit(f"no kinds of faults: {', '.join(sorted(unknown))}")
    return names


async def _run(root: Path, options: argparse.Namespace) -> Campaign:
    kinds = _names(options.kinds, frozenset(MAKERS)) - _names(options.without, frozenset())
    async with Ground.open(root) as ground:
        audit = Audit(ground.postgres.url)
        await audit.install()
        campaign = Campaign(ground, audit, options.seed, options.faults, kinds)
        async with told(campaign):
            await campaign.run()
        await audit.close()
        # before everything is ended: that may fail, too
        write(campaign, Console(width=120))
        return campaign


if __name__ == "__main__":
    sys.exit(main())
