"""What a grant names, and every way out of it: our real server, raw commands of the real client."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from plugins.granting import Granting, granting
from towpath.demo.authority import Domain
from towpath.dsi.posix import PosixStorage
from towpath.dsi.rules import Rules
from towpath.grants import Prefix
from towpath.gridftp.client.session import Session
from towpath.gridftp.server.commands import dispatch
from towpath.gridftp.wire import requests
from towpath.gridftp.wire.replies import Reply
from towpath.gridftp.wire.request_lines import parse_request

PROJECT = (Prefix("/project", write=True),)
READ_ONLY = (Prefix("/project", write=False),)
SECRET = b"nobody may see this"

WRITING = {
    "STOR {}": requests.Stor,
    "APPE {}": requests.Appe,
    "ESTO A 0 {}": requests.Esto,
    "MKD {}": requests.Mkd,
    "RMD {}": requests.Rmd,
    "DELE {}": requests.Dele,
    "SITE RDEL {}": requests.SiteRdel,
    "RNFR {}|RNTO {}2": requests.Rnto,
    "SITE SYMLINKFROM {}|SITE SYMLINKTO {}2": requests.SiteSymlinkTo,
    "SITE CHMOD 777 {}": requests.SiteChmod,
    "SITE CHGRP 0 {}": requests.SiteChgrp,
    "SITE TRNC 0 {}": requests.SiteTrnc,
    "SITE UTIME 20200101000000 {}": requests.SetTime,
}
"""All that changes a storage, as lines."""

READING = {
    "RETR {}": requests.Retr,
    "ERET P 0 5 {}": requests.Eret,
    "SIZE {}": requests.Size,
    "MDTM {}": requests.Mdtm,
    "CKSM MD5 0 -1 {}": requests.Cksm,
    "MLST {}": requests.Mlst,
    "STAT {}": requests.Stat,
    "MLSC {}": requests.Mlsc,
    "MLSD {}": requests.Mlsd,
    "MLSR {}": requests.Mlsr,
    "NLST {}": requests.Nlst,
    "LIST {}": requests.List,
    "CWD {}": requests.Cwd,
    "RNFR {}": requests.Rnfr,
    "SITE SYMLINKFROM {}": requests.SiteSymlinkFrom,
}
"""All that looks at a storage."""

WITHOUT_PATH = {
    requests.Abor,
    requests.Allo,
    requests.Cdup,
    requests.Dcau,
    requests.Dcsc,
    requests.Epsv,
    requests.EpsvAll,
    requests.Feat,
    requests.Help,
    requests.Lang,
    requests.Login,
    requests.Mode,
    requests.Noop,
    requests.OptsMlst,
    requests.OptsPasv,
    requests.OptsRetr,
    requests.OptsStor,
    requests.OptsUtf8,
    requests.Pasv,
    requests.Pbsz,
    requests.Port,
    requests.Prot,
    requests.Pwd,
    requests.Quit,
    requests.Rest,
    requests.Sbuf,
    requests.Scks,
    requests.SiteDsi,
    requests.SiteGrant,
    requests.SiteNoted,
    requests.SiteRestrict,
    requests.SiteStorattr,
    requests.SiteVersion,
    requests.SiteWhoami,
    requests.Spas,
    requests.Stru,
    requests.Syst,
    requests.Trev,
    requests.Type,
}


def test_no_command_is_forgotten_here() -> None:
    """A new command has to be put into one of these tables, and is attacked as the others are."""
    writing, reading = set(WRITING.values()), set(READING.values())
    assert writing | reading | WITHOUT_PATH == set(dispatch.TABLE)
    assert not writing & reading
    assert not (writing | reading) & WITHOUT_PATH
    for lines in (WRITING, READING):
        for line, request in lines.items():
            last = line.format(*["/x"] * 2).split("|")[-1]
            assert type(parse_request(last.encode())) is request


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection, and what is outside of it."""
    outside = tmp_path_factory.mktemp("world")
    (outside / "etc").mkdir()
    (outside / "etc" / "shadow").write_bytes(SECRET)
    root = outside / "collection"
    for directory in ("project/below", "project-other", "secret/below", "home", "Project"):
        (root / directory).mkdir(parents=True)
    (root / "project" / "file").write_bytes(b"a file")
    for directory in ("project-other", "secret", "secret/below", "Project"):
        (root / directory / "file").write_bytes(SECRET)
    links = {
        "to-file": "../secret/file",
        "to-directory": "../secret",
        "absolute": str(root / "secret"),
        "out": str(outside / "etc"),
        "out-file": "../../etc/shadow",
        "chain": "to-directory/below",
        "proc": "/proc/self/root" + str(root / "secret"),
    }
    for name, target in links.items():
        (root / "project" / name).symlink_to(target)
    return root


@pytest.fixture(scope="module")
def endpoint(domain_a: Domain, root: Path) -> Iterator[Granting]:
    with granting(domain_a, root) as one:
        yield one


@pytest.fixture
async def session(endpoint: Granting) -> AsyncIterator[Session]:
    """May write in the project."""
    session = await endpoint.open(endpoint.token(PROJECT))
    yield session
    await session.give_up()


def snapshot(root: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """All that a command could change."""
    found = {}
    for path in (root, *root.rglob("*")):
        status = path.lstat()
        is_file = path.is_file() and not path.is_symlink()
        content = path.read_bytes() if is_file else b""
        found[str(path)] = (status.st_mode, status.st_gid, status.st_mtime_ns, content)
    return found


async def say_all(session: Session, lines: str) -> list[Reply]:
    """The replies to lines. There is an address for data, as files are not opened without."""
    receives = lines.startswith(("STOR", "APPE", "ESTO"))
    address = "PASV" if receives else "PORT 127,0,0,1,255,255"
    replies = await session.answers(session.submit([address, *lines.split("|")]))
    for reply in replies:
        assert SECRET not in b"".join(reply.raw)
    return replies[1:]


async def say(session: Session, lines: str) -> Reply:
    """The last of them."""
    return (await say_all(session, lines))[-1]


def of_grant(reply: Reply, reason: str) -> bool:
    return reply.code == 550 and reply.text.startswith(f"GRANT {reason}: ")


# A grant for reading


async def test_every_command_that_writes_with_a_grant_for_reading(
    endpoint: Granting, root: Path
) -> None:
    before = snapshot(root)
    session = await endpoint.open(endpoint.token(READ_ONLY))
    for path in ("/project/file", "/project/below"):
        for lines in WRITING:
            reply = await say(session, lines.format(path, path))
            assert of_grant(reply, "read-only"), (lines, reply)
    for lines in READING:  # all that it is for
        reply = await say(session, lines.format("/project/file"))
        assert "GRANT" not in reply.text, (lines, reply)
    await session.give_up()
    assert snapshot(root) == before


async def test_the_inner_prefix_of_a_grant_is_read_only(endpoint: Granting, root: Path) -> None:
    prefixes = (Prefix("/", write=True), Prefix("/secret", write=False))
    session = await endpoint.open(endpoint.token(prefixes))
    before = snapshot(root)
    for lines in WRITING:
        reply = await say(session, lines.format("/secret/file", "/secret/file"))
        assert of_grant(reply, "read-only"), (lines, reply)
    # nor is the directory above moved away from under its rule
    for lines in ("RNFR /secret|RNTO /elsewhere", "SITE RDEL /secret"):
        assert of_grant(await say(session, lines), "read-only"), lines
    await session.give_up()
    assert snapshot(root) == before


# Out of the prefix

OUTSIDE = [
    "/secret/file",
    "//secret///file",
    "/./secret/file",
    "/project/../secret/file",
    "/project/below/../../secret/file",
    "/project/../../../../../../secret/file",
    "/project-other/file",
    "/Project/file",
    "/secret/file/",
    "/~/../secret/file",
    "~/../secret/file",
    "../secret/file",
    "secret/../../secret/file",
    "/project/to-file",
    "/project/to-directory/file",
    "/project/absolute/file",
    "/project/chain/file",
]


@pytest.mark.parametrize("path", OUTSIDE)
async def test_every_command_outside_of_the_prefix(session: Session, root: Path, path: str) -> None:
    before = snapshot(root)
    for lines in (*READING, *WRITING):
        if "to-file" in path and lines.startswith(("MKD", "DELE", "SITE RDEL", "RMD")):
            continue  # what acts on the link itself, which is the project's
        replies = await say_all(session, lines.format(path, path))
        assert of_grant(replies[0], "prefix"), (lines, replies)
        assert replies[-1].code >= 500, (lines, replies)
    assert snapshot(root) == before


@pytest.mark.parametrize("path", ["/project/out/shadow", "/project/out-file", "/../etc/shadow"])
async def test_a_link_out_of_the_collection_is_never_followed(
    endpoint: Granting, root: Path, path: str
) -> None:
    """Whoever may write all of the collection can make links that lead anywhere."""
    session = await endpoint.open(endpoint.token())
    for lines in READING:
        reply = await say(session, lines.format(path))
        assert reply.code >= 500, (lines, reply)
    for verb in ("STOR", "APPE", "SITE TRNC 0", "SITE CHMOD 777", "SITE UTIME 20200101000000"):
        reply = await say(session, f"{verb} {path}")
        assert reply.code >= 500, (verb, reply)
    await session.give_up()
    assert (root.parent / "etc" / "shadow").read_bytes() == SECRET


async def test_a_magic_link_of_the_kernel_is_never_followed(session: Session) -> None:
    for lines in READING:
        assert (await say(session, lines.format("/project/proc/file"))).code >= 500, lines


@pytest.mark.parametrize(
    "lines",
    [
        "RNFR /secret/file|RNTO /project/stolen",
        "RNFR /project/file|RNTO /secret/file",
        "RNFR /project/file|RNTO /project/to-directory/file",
        "RNFR /project/to-directory/file|RNTO /project/stolen",
        "RNFR /project|RNTO /project-moved",
        "RNFR /secret|RNTO /project/below/secret",
        "RNFR /|RNTO /project/all",
        "SITE SYMLINKFROM /secret|SITE SYMLINKTO /project/mine",
        "SITE SYMLINKFROM /project/to-directory|SITE SYMLINKTO /project/mine",
        "SITE SYMLINKFROM /project/file|SITE SYMLINKTO /secret/link",
        "SITE SYMLINKFROM ../etc/shadow|SITE SYMLINKTO /project/mine",
        "SITE RDEL /",
        "SITE RDEL /secret",
        "SITE RESTRICT RW/|DELE /secret/file",
        "SITE RESTRICT RW/secret|DELE /secret/file",
        "CWD /project|CWD ..|DELE secret/file",
        "CWD /project/to-directory|DELE file",
        "CDUP|DELE secret/file",
    ],
)
async def test_two_steps_out_of_the_prefix(session: Session, root: Path, lines: str) -> None:
    before = snapshot(root)
    reply = await say(session, lines)
    assert reply.code >= 500, reply
    assert snapshot(root) == before


async def test_what_is_outside_is_not_even_told(session: Session) -> None:
    """The way to the prefix may be looked at; what lies beside it may not."""
    (listed,) = await session.answers(session.submit(["MLSC /"]))
    names = {line.rpartition(b" ")[2] for line in listed.raw[1:-1]}
    assert names == {b".", b"..", b"project"}
    (listed,) = await session.answers(session.submit(["MLSC /project"]))
    names = {line.rpartition(b" ")[2] for line in listed.raw[1:-1]}
    assert names == {b".", b"..", b"below", b"file"}
    there, missing = await session.answers(session.submit(["SIZE /secret/file", "SIZE /no/file"]))
    assert there.raw == missing.raw


async def test_a_prefix_that_looks_like_a_rule(endpoint: Granting) -> None:
    """Rules are written with commas between them; what a grant names is not."""
    session = await endpoint.open(endpoint.token((Prefix("/project,RW/secret", write=False),)))
    assert of_grant(await say(session, "DELE /secret/file"), "prefix")
    await session.give_up()


async def test_a_renewal_that_is_narrower_holds_for_what_is_queued(
    endpoint: Granting,
) -> None:
    session = await endpoint.open(endpoint.token())
    queued = session.submit(["SITE SYMLINKFROM /project/file"])
    session.renew(endpoint.token(READ_ONLY))
    queued += session.submit(["SITE SYMLINKTO /secret/link", "SIZE /secret/file"])
    _, link, size = await session.answers(queued)
    assert of_grant(link, "prefix")
    assert of_grant(size, "prefix")
    # and one that is wider again gives back what there was, but for a restriction of the client's
    session.submit(["SITE RESTRICT R/"])
    await session.renew(endpoint.token())
    assert await session.size("/secret/file") == len(SECRET)
    assert (await say(session, "DELE /secret/file")).text.startswith("Command failed : Path not")
    await session.give_up()


# Shared folders: all of a machine, of which some is shared


@pytest.fixture(scope="module")
def shared(domain_a: Domain, root: Path) -> Iterator[Granting]:
    """The whole machine, with the project shared for writing and one file's directory to read."""
    rules = Rules.of([("RW", str(root / "project")), ("R", str(root / "home"))])
    with granting(domain_a, PosixStorage(Path("/"), rules=rules)) as one:
        yield one


@pytest.mark.parametrize(
    "name", ["to-file", "to-directory/file", "absolute/file", "out/shadow", "chain/file"]
)
async def test_a_link_out_of_the_shared_folders(shared: Granting, root: Path, name: str) -> None:
    session = await shared.open(shared.token())
    for path in (f"{root}/project/{name}", f"{root}/project/../secret/file", "/etc/passwd"):
        for lines in READING:
            reply = await say(session, lines.format(path))
            assert reply.code == 550, (lines, reply)
            assert "not allowed" in reply.text
    assert (await say(session, f"STOR {root}/home/file")).code == 550
    assert (await say(session, f"SIZE {root}/project/file")).code == 213
    await session.give_up()


async def test_a_link_that_is_exchanged_while_it_is_read(shared: Granting, root: Path) -> None:
    """Somebody on the machine exchanges a file for a link, again and again."""
    target = root / "project" / "swapped"
    real, link = root / "project" / "real", root / "project" / "link"
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            real.write_bytes(b"a file")
            real.replace(target)
            link.symlink_to("../secret/file")
            link.replace(target)

    swapper = threading.Thread(target=swap)
    swapper.start()
    session = await shared.open(shared.token())
    told: dict[int, set[str]] = {}
    try:
        async with asyncio.timeout(30):
            while len(told) < 2:
                line = f"CKSM ADLER32 0 -1 {target}"
                for reply in await session.answers(session.submit([line] * 100)):
                    told.setdefault(reply.code, set()).add(reply.text)
    finally:
        stop.set()
        await asyncio.to_thread(swapper.join)
        await session.give_up()
        target.unlink()
    assert told.keys() == {213, 550}
    assert len(told[213]) == 1
