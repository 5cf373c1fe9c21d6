"""`towpath gridftp ls -r`: the real command against real servers."""

import os
import subprocess
import sys
from pathlib import Path

from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer


def ls(domain: Domain, url: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "towpath.cli", "gridftp", "ls", "-r", *flags, url],
        env={
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "X509_USER_PROXY": str(domain.proxy_file),
            "X509_CERT_DIR": str(domain.trust_dir),
        },
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
        timeout=120,
    )


def test_directories_come_before_what_is_in_them(
    domain_a: Domain, server_a: GctServer, tmp_path: Path
) -> None:
    expected = []
    for number in range(300):
        directory = tmp_path / f"d{number % 7}" / f"+{number}"
        directory.mkdir(parents=True)
        (directory / "日本 x").touch()
        expected += [
            f"d{number % 7}/",
            f"d{number % 7}/+{number}/",
            f"d{number % 7}/+{number}/日本 x",
        ]
    (tmp_path / "link").symlink_to("d0")
    done = ls(domain_a, server_a.url(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert sorted(lines) == sorted({*expected, "link/"})
    place = {line: number for number, line in enumerate(lines)}
    for line in lines:
        above, slash, _ = line.rstrip("/").rpartition("/")
        assert not slash or place[f"{above}/"] < place[line]


def test_details(domain_a: Domain, server_a: GctServer, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("12345")
    os.utime(tmp_path / "d/f", (1_000_000_000, 1_000_000_000))
    (tmp_path / "d/f").chmod(0o640)
    done = ls(domain_a, server_a.url(tmp_path), "-l")
    line = done.stdout.splitlines()[-1]
    assert line.startswith("-rw-r----- ")
    assert line.endswith("5 2001-09-09 01:46:40Z d/f")


def test_a_file_and_nothing(domain_a: Domain, server_a: GctServer, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    assert ls(domain_a, server_a.url(tmp_path / "f")).stdout == "f\n"
    (tmp_path / "empty").mkdir()
    done = ls(domain_a, server_a.url(tmp_path / "empty"))
    assert (done.returncode, done.stdout) == (0, "")
    missing = ls(domain_a, server_a.url(tmp_path / "missing"))
    assert missing.returncode == 1
    assert "no such file or directory" in missing.stderr


def test_what_cannot_be_listed_is_told_and_the_rest_is_listed(
    domain_a: Domain, unprivileged_server: GctServer, open_tmp_path: Path
) -> None:
    root = open_tmp_path / "tree"
    for name in ("a", "closed", "z"):
        (root / name).mkdir(parents=True)
        (root / name / "f").touch()
    (root / "closed").chmod(0o000)
    done = ls(domain_a, unprivileged_server.url(root))
    assert done.returncode == 1
    assert sorted(done.stdout.splitlines()) == ["a/", "a/f", "closed/", "z/", "z/f"]
    assert "permission denied" in done.stderr
    assert f"{root}/closed" in done.stderr


def test_from_the_home_directory(domain_a: Domain, server_a: GctServer) -> None:
    done = ls(domain_a, server_a.url("/~/nowhere-to-be-found"))
    assert done.returncode == 1
    home = Path.home()
    assert f"{home}/nowhere-to-be-found" in done.stderr
