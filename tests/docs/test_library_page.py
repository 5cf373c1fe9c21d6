"""The how-to page on the library: its program is run as one, and the pieces behind it in order,
between two real servers of two authorities."""

import hashlib
import os
import re
import subprocess
import sys
import textwrap
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from plugins.myproxy import MyProxyServer
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.gridftp.client import channel, pool, ranges, tree, tree_listing
from towpath.gridftp.client.copy.locations import Location
from towpath.gridftp.client.copy.plan import Access, End
from towpath.gridftp.client.data import transfers
from towpath.gridftp.client.dial import Server, Timeouts
from towpath.gridftp.client.myproxy import MyProxy
from towpath.gridftp.client.pool import SessionPool

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "use-the-gridftp-library.md"
PASSPHRASE = "correct horse"
RUN_7 = {"a": b"first\n", "b": b"second", "c": b"third\n", "deep/er/d": b"fourth"}
MEBIBYTE = 1024 * 1024

_SAVED = re.compile(r"^<!-- save: (\S+) -->\n```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_RUN = re.compile(r"^<!-- run -->\n```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Here:
    """The places that the page names, as they are in this test."""

    def __init__(
        self, root: Path, servers: tuple[GctServer, GctServer], domains: tuple[Domain, Domain]
    ) -> None:
        self.root = root
        self.servers = servers
        self.domains = domains
        self.data, self.archive = root / "data", root / "archive"
        for name, content in RUN_7.items():
            file = self.data / "run-7" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        (self.data / "run-7/old.txt").touch()
        self.image = os.urandom(33 * MEBIBYTE)  # three ranges
        (self.data / "run-7/image.dat").write_bytes(self.image)
        self.archive.mkdir()
        for name, domain in zip(("lab", "archive"), domains, strict=True):
            (root / f"{name}-proxy.pem").symlink_to(domain.proxy_file)
            (root / f"{name}-certificates").symlink_to(domain.trust_dir)

    def put_in(self, text: str) -> str:
        """The page's text with these places in it."""
        for said, meant in {
            "gsiftp://dtn.lab.example/": self.servers[0].url("/"),
            "gsiftp://gridftp.archive.example/": self.servers[1].url("/"),
            "/data/": f"{self.data}/",
            "/archive/": f"{self.archive}/",
            '".example"': '"localhost"',
        }.items():
            text = text.replace(said, meant)
        return text

    def end(self, number: int) -> End:
        """As the page's program makes it."""
        domain = self.domains[number]
        place = (self.data / "run-7", self.archive / "run-7")[number]
        access = Access(domain.credential, domain.trust)
        return End(Location.parse(self.servers[number].url(place)), access)

    def copied(self, name: str) -> dict[str, bytes]:
        """The files below a directory of the archive."""
        top = self.archive / name
        return {
            str(file.relative_to(top)): file.read_bytes()
            for file in top.rglob("*")
            if file.is_file()
        }


@pytest.fixture
def here(
    tmp_path: Path, server_a: GctServer, server_b: GctServer, domain_a: Domain, domain_b: Domain
) -> Here:
    """The page's places."""
    return Here(tmp_path, (server_a, server_b), (domain_a, domain_b))


def test_the_program_works(here: Here) -> None:
    [(name, program)] = _SAVED.findall(PAGE.read_text())
    [call] = _RUN.findall(PAGE.read_text())
    (here.root / name).write_text(program)
    done = run(here.put_in(call), here.root)
    assert done.returncode == 0, done.stderr
    assert f"{33 * MEBIBYTE} image.dat" in done.stdout
    assert "6 deep/er/d" in done.stdout
    assert here.copied("run-7") == RUN_7 | {"image.dat": here.image, "old.txt": b""}

    done = run(here.put_in(call).replace("/run-7", "/run-9"), here.root)
    assert done.returncode == 1
    assert done.stderr.endswith(
        "not_found (file), no use trying again. Check the path; it does not exist on the server.\n"
    )


def run(call: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", call],
        cwd=directory,
        env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def pieces() -> str:
    """All Python of the page behind the program, as the body of one coroutine that gives its
    variables. The program's own imports are known to it."""
    program, *rest = _PYTHON.findall(PAGE.read_text())
    imports = [line for line in program.splitlines(keepends=True) if line.startswith("from ")]
    body = textwrap.indent("".join([*rest, "return locals()\n"]), "    ")
    return "".join([*imports, "async def do(pool, source, destination):\n", body])


async def test_the_pieces_work(
    here: Here,
    myproxy_store: MyProxyServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    domain = myproxy_store.domain
    stored = MyProxy(Server("localhost", myproxy_store.port), domain.trust)
    await stored.store(
        "alice", PASSPHRASE, credential=domain.user.credential(), lifetime=timedelta(days=2)
    )
    monkeypatch.setattr("getpass.getpass", lambda _prompt: PASSPHRASE)
    monkeypatch.chdir(here.root)
    known: dict[str, Any] = {}
    text = here.put_in(pieces()).replace(
        'Server("myproxy.example.org", 7512)', f'Server("localhost", {myproxy_store.port})'
    )
    exec(compile(text, PAGE.name, "exec"), known)

    async with SessionPool() as pool:
        got = await known["do"](pool, here.end(0), here.end(1))

    digest = hashlib.sha256(here.image).hexdigest()
    assert got["digest"] == got["got"].digest == got["put"].digest == digest
    assert (here.data / "spare/2026/old.txt").exists()
    assert len(list((here.data / "spare").iterdir())) == 14
    assert here.copied("run-8") == RUN_7 | {"image.dat": here.image}
    assert here.copied("lane") == {name: RUN_7[name] for name in ("a", "b", "c")}
    assert (got["outcome"].status, got["present"].total) == ("done", len(here.image))
    for copy in (
        here.archive / "image.dat",
        here.root / "image.dat",
        here.data / "spare/copy",
    ):
        assert copy.read_bytes() == here.image
    assert got["fresh"].subject == "/O=DomA/CN=Alice"
    assert not (here.data / "run-7/new").exists()
    assert got["size"] == 6
    shown = capsys.readouterr().out
    assert f"done {here.archive}/lane/a None" in shown
    assert "failed" not in shown


def test_all_python_of_the_page_is_run() -> None:
    assert PAGE.read_text().count("```python") == len(_PYTHON.findall(PAGE.read_text())) > 8


def test_the_bounds_are_those_of_the_program() -> None:
    text = PAGE.read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    told = dict(row for row in rows if len(row) == 2)
    usual = Timeouts()
    for what, bound in {
        "to connect; to log in; an answer; a data channel without progress": (
            f"{usual.connect_s}, {usual.login_s}, {usual.reply_s} and {usual.stall_s} s"
            " (`Timeouts`)"
        ),
        "a checksum, a deleted tree: servers work on them in silence": (
            f"{usual.checksum_s // 3600} hours (`Timeouts.checksum_s`)"
        ),
        "commands sent on a session and not answered; more wait here": (
            f"{channel.MAX_QUEUED_COMMANDS}"
        ),
        "sessions parked for one login; in all; each": (
            f"{pool.PER_LOGIN}; {pool.IN_ALL}; {pool.IDLE_S / 60:.0f} minutes"
        ),
        "lanes parked for one purpose; in all; each": (
            f"{pool.LANES_PER_KEY}; {pool.LANES_IN_ALL}; {pool.LANE_IDLE_S / 60:.0f} minutes"
        ),
        "entries of a listing that nobody has taken, until the servers wait": (
            f"{tree_listing.WAITING_ENTRIES:,}"
        ),
        "files that wait for a lane, until the listing waits": f"{tree.WAITING_FILES:,}",
        "outcomes that nobody has taken, until the lanes wait": f"{tree.WAITING_OUTCOMES:,}",
        "files under way on a lane": (
            f"{tree.IN_FLIGHT_FILES}, and {tree.IN_FLIGHT_BYTES // MEBIBYTE} MiB"
        ),
        "of a large file, sent and not compared, on a lane": (
            f"{ranges.WINDOW_BYTES // MEBIBYTE} MiB, and {ranges.WINDOW_RANGES} ranges"
        ),
    }.items():
        assert told[what] == bound
    assert f"At most {transfers.MAX_FILES} files in one call" in text
