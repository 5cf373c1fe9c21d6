"""Our server as a site runs it: as root, with a process for each account, and the tools that its
users have."""

import filecmp
import os
import pwd
from pathlib import Path

import pytest

from plugins.as_root import launched
from plugins.own_server import guc
from towpath.demo.authority import Domain

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")

ACCOUNT = "daemon"
"""The one that the gridmap names first."""


@pytest.mark.parametrize("options", [(), ("-fast", "-p", "4"), ("-fast", "-dcpriv"), ("-nodcau",)])
def test_files_are_the_accounts(
    domain_a: Domain, open_tmp_path: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    source, down = tmp_path / "source", tmp_path / "down"
    source.write_bytes(os.urandom(3_000_000))
    workdir, files = open_tmp_path / "server", open_tmp_path / "files"
    workdir.mkdir()
    files.mkdir()
    files.chmod(0o777)
    entry = pwd.getpwnam(ACCOUNT)
    with launched(domain_a, workdir, "--files") as running:
        url = f"gsiftp://localhost:{running.port}"
        guc(domain_a, *options, source.as_uri(), f"{url}{files}/up")
        assert filecmp.cmp(source, files / "up", shallow=False)
        status = (files / "up").stat()
        assert (status.st_uid, status.st_gid) == (entry.pw_uid, entry.pw_gid)
        guc(domain_a, *options, f"{url}{files}/up", down.as_uri())
        assert filecmp.cmp(source, down, shallow=False)
        secret = files / "secret"
        secret.write_text("of root's")
        secret.chmod(0o600)
        with pytest.raises(AssertionError, match="PERMISSION_DENIED"):
            guc(domain_a, *options, f"{url}{secret}", f"file://{tmp_path}/stolen")
        with pytest.raises(AssertionError, match="PERMISSION_DENIED"):
            guc(domain_a, *options, source.as_uri(), f"{url}{workdir}/not-here")
        assert not (workdir / "not-here").exists()
