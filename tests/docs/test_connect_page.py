"""The reference of Connect says what agents do."""

import re
from pathlib import Path

from towpath.connect import choices, ways
from towpath.connect.admitting import FIRST_PERSON, NOBODY
from towpath.connect.directory import AgentDirectory
from towpath.connect.retrying import FIRST_S, LONGEST_S
from towpath.connect.running import PERSONAL_LIMITS
from towpath.connect.sharing import SECRETS
from towpath.connect.tunnel import TRIED_S
from towpath.gridftp.server.limits import Limits

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "connect.md").read_text()


def test_what_is_never_shared_is_all_there() -> None:
    [part] = re.findall(r"Of a home directory that is shared: (.*?)\. Each", PAGE, re.DOTALL)
    assert re.findall(r"`([^`]+)`", part) == list(SECRETS)


def test_the_limits_are_those_of_the_program() -> None:
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE))
    limits = Limits()
    assert rows["sessions"].startswith(
        f"{PERSONAL_LIMITS.sessions} personal, {limits.sessions:,} server"
    )
    assert rows["data connections of a session"] == f"{limits.data_connections}"
    assert choices.MAX_FOLDERS == choices.MAX_COLLECTIONS
    assert rows["folders, collections"] == f"{choices.MAX_FOLDERS} of each"
    assert rows["mapping rules"] == f"{choices.MAX_MAPPINGS}"
    assert rows["accounts that a collection names"] == f"{choices.MAX_ACCOUNTS:,}"
    assert rows["processes of accounts"] == f"{limits.account_processes}"
    assert f"from {FIRST_PERSON} to {NOBODY - 1}" in rows["accounts"]


def test_the_times_are_those_of_the_program() -> None:
    assert f"after 0 to {FIRST_S:.0f} s the next relay" in PAGE
    assert LONGEST_S == 60
    assert f"the tunnel is tried ({TRIED_S:.0f} s)" in PAGE
    assert f"directly ({ways.DIRECT_S:.0f} s); the relay" in PAGE
    assert f"({ways.CANDIDATE_S:.0f} s each)" in PAGE
    assert f"for {ways.REMEMBERED_S / 60:.0f} minutes by the relay" in PAGE


def test_the_files_are_those_of_the_directory(tmp_path: Path) -> None:
    [part] = re.findall(r"^## Files$(.*?)^## ", PAGE, re.DOTALL | re.MULTILINE)
    named = set(re.findall(r"^\| `([a-z_./]+)` \|", part, re.MULTILINE))
    directory = AgentDirectory(tmp_path)
    kept = {
        str(path.relative_to(tmp_path))
        for name, path in vars(directory).items()
        if name.endswith(("_file", "_socket")) and name not in ("lock_file", "paths_socket")
    }
    assert kept | {"log/connect.log"} == named
