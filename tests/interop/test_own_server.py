"""What people have, at our server: globus-url-copy, gfal, GCT's server, and our own client.

Each cell moves files of all sizes and names, and compares what has arrived, byte for byte.
"""

import os
import random
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from blake3 import blake3

from plugins.lanes import finish, wrong
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.demo.own import OwnServer
from towpath.demo.servers import Server as AnyServer
from towpath.gridftp.client.copy.plan import checksum_of
from towpath.gridftp.client.data.security import DataSecurity
from towpath.gridftp.client.data.setup import DataOptions
from towpath.gridftp.client.data.transfers import Copy, download, upload
from towpath.gridftp.client.lane import Lane, Piece, Protection
from towpath.gridftp.client.ranges import Checks, RangeTransfer
from towpath.gridftp.client.session import Server, Session, close_all
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.wire import commands
from towpath.gridftp.wire.ranges import ByteRange

RUN_S = 60.0
"""Each of these programs needs a second or two; more is a hang."""

SIZES = [0, 1, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 3 * 1024 * 1024 + 17]
BIG_BYTES = 24 * 1024 * 1024 + 3
NAMES = [  # guc takes no quotes in the names of a tree
    b" lead",
    b"trail ",
    b"a  b",
    b"it's \\ back",
    b"Type=file;Size=1; ; x",
    b"100%25%2e%2e%00",
    b"-rf *?[a]{b}$HOME`id`|&>",
    b"226 Transfer Complete.",
    "žluťoučký 🐎 日本".encode(),
    b"caf\xe9",
    b"\xff\xf4\xff\xf2",
    b"n" * 255,
]
GFAL_CRASHES = "free(): invalid pointer\n"
PROTECTIONS = {"clear": ("-nodcau",), "GSI": (), "private": ("-dcpriv",)}
"""What guc is told for each way to protect data."""
FILE_MODES = {"mode S": (), "mode E": ("-fast",), "8 streams": ("-fast", "-p", "8")}
TREE_MODES = {
    "mode S": (),
    "mode E": ("-fast",),
    "pipelined": ("-fast", "-pp"),
    "pipelined by 3": ("-fast", "-pp", "-cc", "3"),
    "8 streams": ("-fast", "-p", "8"),
}
BETWEEN_MODES = {"S": (), "8": ("-fast", "-p", "8"), "pipelined": ("-fast", "-pp", "-cc", "2")}


def halved(*choices: Iterable[str]) -> list[Any]:
    """All combinations. Every second one is long: the others have all pairs of any two choices."""
    return [
        pytest.param(
            *(name for _, name in cell),
            id="-".join(name for _, name in cell),
            marks=pytest.mark.long if sum(number for number, _ in cell) % 2 else (),
        )
        for cell in product(*(enumerate(names) for names in choices))
    ]


@pytest.fixture(scope="module")
def own(domain_a: Domain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    """Our server, of the same domain as GCT's server A."""
    with OwnServer.start(domain_a, tmp_path_factory.mktemp("own")) as server:
        yield server


@pytest.fixture(scope="module")
def other(domain_b: Domain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    """Our server of another domain."""
    with OwnServer.start(domain_b, tmp_path_factory.mktemp("other")) as server:
        yield server


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of all sizes and names."""
    root = tmp_path_factory.mktemp("tree")
    dice = random.Random(1)
    for number, size in enumerate(SIZES):
        directory = root / f"sizes/d{number % 2}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"s{size}").write_bytes(dice.randbytes(size))
    (root / "names").mkdir()
    for name in NAMES:
        (root / "names" / os.fsdecode(name)).write_bytes(b"of " + name)
    return root


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of several blocks for each stream."""
    path = tmp_path_factory.mktemp("big") / "file"
    path.write_bytes(random.Random(2).randbytes(BIG_BYTES))
    return path


@dataclass(frozen=True)
class User:
    """Runs the programs that people have."""

    domain: Domain
    trust_dir: Path
    work: Path

    def run(self, *words: str | Path) -> str:
        """What it says; it must end well."""
        environment = {
            "PATH": f"{os.environ['PATH']}:/usr/sbin",
            "HOME": str(self.work),
            "LANG": "C.UTF-8",
            "X509_CERT_DIR": str(self.trust_dir),
            "X509_USER_PROXY": str(self.domain.proxy_file),
            "GFAL_PYTHONBIN": "/usr/bin/python3",  # the one that Debian's module is for
        }
        done = subprocess.run(
            words, env=environment, capture_output=True, timeout=RUN_S, check=False
        )
        said = (done.stdout + done.stderr).decode(errors="replace")
        # gfal's own last steps crash one time in forty, whatever the server; its work is done then
        crashed = done.returncode == -signal.SIGABRT and GFAL_CRASHES in said
        assert done.returncode == 0 or crashed, f"{words}: {said}"
        return said.replace(GFAL_CRASHES, "")


@pytest.fixture
def user(domain_a: Domain, tmp_path: Path) -> User:
    """Of domain A."""
    return User(domain_a, domain_a.trust_dir, tmp_path)


def content(root: Path) -> dict[str, bytes]:
    """All files below, by path."""
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def escaped(path: Path) -> str:
    """As in a URL."""
    return quote_from_bytes(os.fsencode(path))


def file_url(path: Path, end: str = "") -> str:
    """Of a local path."""
    return f"file://{escaped(path)}{end}"


def url(server: AnyServer, path: Path, end: str = "") -> str:
    """Of a path at a server."""
    return server.url(escaped(path)) + end


Ends = Callable[[AnyServer, Path, Path, str], tuple[str, str]]

DIRECTIONS: dict[str, Ends] = {
    "up": lambda server, here, there, end: (file_url(here, end), url(server, there, end)),
    "down": lambda server, here, there, end: (url(server, here, end), file_url(there, end)),
}


# -- globus-url-copy


@pytest.mark.parametrize(
    ("mode", "direction", "protection"), halved(FILE_MODES, DIRECTIONS, PROTECTIONS)
)
def test_guc_file(
    own: OwnServer, user: User, big: Path, direction: str, protection: str, mode: str
) -> None:
    there = user.work / "there"
    ends = DIRECTIONS[direction](own, big, there, "")
    user.run("globus-url-copy", *FILE_MODES[mode], *PROTECTIONS[protection], *ends)
    assert there.read_bytes() == big.read_bytes()


@pytest.mark.parametrize(
    ("mode", "direction", "protection"), halved(TREE_MODES, DIRECTIONS, PROTECTIONS)
)
def test_guc_tree(
    own: OwnServer, user: User, tree: Path, direction: str, protection: str, mode: str
) -> None:
    there = user.work / "there"
    there.mkdir()
    ends = DIRECTIONS[direction](own, tree, there, "/")
    user.run("globus-url-copy", "-r", "-cd", *TREE_MODES[mode], *PROTECTIONS[protection], *ends)
    assert content(there) == content(tree)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_guc_checksum(own: OwnServer, user: User, big: Path, direction: str) -> None:
    there = user.work / "there"
    ends = DIRECTIONS[direction](own, big, there, "")
    user.run("globus-url-copy", "-fast", "-verify-checksum", "-checksum-alg", "SHA256", *ends)
    assert there.read_bytes() == big.read_bytes()


# -- between two servers


@pytest.mark.parametrize(
    ("way", "mode", "protection"),
    [
        *halved(["to GCT", "from GCT"], BETWEEN_MODES, PROTECTIONS),
        *(
            pytest.param("between ours", mode, protection, marks=pytest.mark.long)
            for mode, protection in product(BETWEEN_MODES, PROTECTIONS)
        ),
    ],
)
def test_third_party(
    own: OwnServer,
    server_a: GctServer,
    user: User,
    tree: Path,
    way: str,
    protection: str,
    mode: str,
) -> None:
    source: AnyServer = server_a if way == "from GCT" else own
    destination: AnyServer = server_a if way == "to GCT" else own
    there = user.work / "there"
    there.mkdir()
    user.run(
        *("globus-url-copy", "-r", "-cd", *BETWEEN_MODES[mode], *PROTECTIONS[protection]),
        *(url(source, tree, "/"), url(destination, there, "/")),
    )
    assert content(there) == content(tree)


@pytest.mark.parametrize("private", [False, True], ids=["clear", "private"])
@pytest.mark.parametrize("way", ["to GCT", "from GCT", "between ours"])
def test_two_domains(
    own: OwnServer,
    other: OwnServer,
    server_b: GctServer,
    domain_b: Domain,
    both_trust: Path,
    user: User,
    big: Path,
    way: str,
    private: bool,
) -> None:
    """guc gives both servers a credential for the data channel (DCSC)."""
    there = user.work / "there"
    far: AnyServer = other if way == "between ours" else server_b
    ends = (url(own, big), url(far, there))
    proxies = ("-sc", user.domain.proxy_file, "-dc", domain_b.proxy_file)
    if way == "from GCT":
        ends = (url(far, big), url(own, there))
        proxies = ("-sc", domain_b.proxy_file, "-dc", user.domain.proxy_file)
    words = ("-fast", "-p", "4", "-data-cred", "auto", *(("-dcpriv",) if private else ()))
    replace(user, trust_dir=both_trust).run("globus-url-copy", *words, *proxies, *ends)
    assert there.read_bytes() == big.read_bytes()


# -- gfal


def test_gfal(own: OwnServer, user: User, tree: Path, big: Path) -> None:
    there, back = user.work / "there", user.work / "back"
    user.run("gfal-copy", file_url(big), url(own, there))
    assert there.read_bytes() == big.read_bytes()
    user.run("gfal-copy", url(own, there), file_url(back))
    assert back.read_bytes() == big.read_bytes()
    listed = user.run("gfal-ls", url(own, tree / "sizes/d0")).split()
    assert sorted(listed) == sorted(path.name for path in (tree / "sizes/d0").iterdir())
    for algorithm in ("ADLER32", "MD5"):
        told = user.run("gfal-sum", url(own, big), algorithm).split()[1]
        theirs = user.run("gfal-sum", file_url(big), algorithm).split()[1]
        assert told == theirs
    user.run("gfal-mkdir", url(own, user.work / "made"))
    user.run("gfal-rename", url(own, there), url(own, user.work / "made/moved"))
    user.run("gfal-rm", "-r", url(own, user.work / "made"))
    assert not (user.work / "made").exists()


@pytest.mark.long
def test_gfal_third_party(own: OwnServer, server_a: GctServer, user: User, big: Path) -> None:
    for number, (source, destination) in enumerate([(own, server_a), (server_a, own)]):
        there = user.work / f"there{number}"
        user.run("gfal-copy", url(source, big), url(destination, there))
        assert there.read_bytes() == big.read_bytes()


# -- our client


@pytest.mark.parametrize("protection", ["clear", "GSI", "private"])
@pytest.mark.parametrize("streams", [1, 8])
async def test_our_client_up_and_down(
    own: OwnServer,
    domain_a: Domain,
    tree: Path,
    big: Path,
    tmp_path: Path,
    protection: str,
    streams: int,
) -> None:
    level = Protection.PRIVATE if protection == "private" else Protection.CLEAR
    credential = None if protection == "clear" else DataCredential.create(datetime.now(UTC))
    algorithm = "SHA256" if streams == 1 else "BLAKE3"
    options = DataOptions(DataSecurity(credential, level), streams=streams, checksum=algorithm)
    # several streams carry one file at a time
    files = [path for path in tree.rglob("*") if path.is_file()] if streams == 1 else [big]
    ups = [Copy(path, f"{tmp_path}/up{n}", path.stat().st_size) for n, path in enumerate(files)]
    downs = [Copy(tmp_path / f"down{n}", str(one.local), one.size) for n, one in enumerate(ups)]
    session = await Session.open(
        Server("localhost", own.port), credential=domain_a.credential, trust=domain_a.trust
    )
    try:
        assert {one.status for one in await upload(session, ups, options)} == {"done"}
        assert {one.status for one in await download(session, downs, options)} == {"done"}
    finally:
        await close_all([session])
    for number, path in enumerate(files):
        for copy in ("up", "down"):
            assert (tmp_path / f"{copy}{number}").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("protection", ["clear", "GSI", "private"])
@pytest.mark.parametrize("way", ["to GCT", "from GCT", "between ours"])
async def test_our_lanes(
    own: OwnServer,
    server_a: GctServer,
    domain_a: Domain,
    tree: Path,
    tmp_path: Path,
    way: str,
    protection: str,
) -> None:
    ports = {
        "to GCT": (own.port, server_a.port),
        "from GCT": (server_a.port, own.port),
        "between ours": (own.port, own.port),
    }[way]
    sessions = [
        await Session.open(
            Server("localhost", port), credential=domain_a.credential, trust=domain_a.trust
        )
        for port in ports
    ]
    files = [path for path in tree.rglob("*") if path.is_file()]
    pieces = [
        Piece(str(path), f"{tmp_path}/{number}", path.stat().st_size, checksum="SHA256")
        for number, path in enumerate(files)
    ]
    try:
        lane = await Lane.open(
            *sessions,
            data_credential=None
            if protection == "clear"
            else DataCredential.create(datetime.now(UTC)),
            protection=Protection.PRIVATE if protection == "private" else Protection.CLEAR,
        )
        outcomes = await finish(lane, pieces)
    finally:
        await close_all(sessions)
    assert {outcome.status for outcome in outcomes} == {"done"}
    assert wrong(pieces) == []


async def lane_between(domain: Domain, source: AnyServer, destination: AnyServer) -> Lane:
    """A lane of our client."""
    sessions = [
        await Session.open(
            Server("localhost", server.port), credential=domain.credential, trust=domain.trust
        )
        for server in (source, destination)
    ]
    return await Lane.open(*sessions, data_credential=DataCredential.create(datetime.now(UTC)))


async def test_large_files_between_ours_are_verified_by_blake3_on_the_lane(
    own: OwnServer, domain_a: Domain, big: Path, tmp_path: Path
) -> None:
    lane = await lane_between(domain_a, own, own)
    algorithm = checksum_of([lane.source, lane.destination])
    assert algorithm == "BLAKE3"
    assert lane.digests_on_the_way
    opened = 0

    @asynccontextmanager
    async def no_session() -> AsyncIterator[Session]:
        nonlocal opened
        opened += 1
        yield lane.source

    try:
        ranges = [ByteRange(at, min(at + 2**20, BIG_BYTES)) for at in range(0, BIG_BYTES, 2**20)]
        transfer = RangeTransfer(
            [lane],
            str(big),
            str(tmp_path / "there"),
            ranges,
            checks=Checks(algorithm, no_session, no_session),
        )
        told = []
        async with transfer:
            while outcomes := await transfer.outcomes():
                told += outcomes
    finally:
        await lane.close()
    assert opened == 0
    assert {outcome.status for outcome in told} == {"done"}
    content = big.read_bytes()
    assert {outcome.piece.byte_range: outcome.digest for outcome in told} == {
        part: blake3(content[part.first : part.after]).hexdigest() for part in ranges
    }
    assert (tmp_path / "there").read_bytes() == content


async def test_what_is_damaged_after_it_has_arrived_is_found_out(
    own: OwnServer, domain_a: Domain, big: Path, tmp_path: Path
) -> None:
    lane = await lane_between(domain_a, own, own)
    there = tmp_path / "there"
    try:
        # With the digest computed on the way, but asked for later.
        for session, line in (
            (lane.destination, commands.digest_received("BLAKE3")),
            (lane.source, commands.digest_sent("BLAKE3")),
        ):
            assert [reply.code for reply in await session.answers(session.submit([line]))] == [200]
        (outcome,) = await finish(lane, [Piece(str(big), str(there), BIG_BYTES)])
        assert outcome.status == "done"
        expected = await lane.source.checksum(str(big), "BLAKE3")
        assert await lane.destination.checksum(str(there), "BLAKE3") == expected
        with there.open("r+b") as file:
            file.seek(BIG_BYTES // 2)
            (byte,) = file.read(1)
            file.seek(BIG_BYTES // 2)
            file.write(bytes([byte ^ 1]))
        found = await lane.destination.checksum(str(there), "BLAKE3")
        assert found == blake3(there.read_bytes()).hexdigest() != expected
    finally:
        await lane.close()


async def test_between_gct_and_ours_sha256_is_compared_as_ever(
    own: OwnServer, server_a: GctServer, domain_a: Domain, big: Path, tmp_path: Path
) -> None:
    lane = await lane_between(domain_a, server_a, own)
    try:
        algorithm = checksum_of([lane.source, lane.destination])
        assert (algorithm, lane.digests_on_the_way) == ("SHA256", False)
        piece = Piece(str(big), str(tmp_path / "there"), BIG_BYTES, checksum=algorithm)
        assert [outcome.status for outcome in await finish(lane, [piece])] == ["done"]
    finally:
        await lane.close()
