"""ls, stat, mkdir, rename over HTTP against a real GridFTP server."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest

from plugins.transfer_api import Api, assert_error, server_document
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.gridftp.client.pool import Borrowed, Login
from towpath.platform.database import Database
from towpath.platform.dial import DialPolicy
from towpath.transfer.api import TransferService
from towpath.transfer.browse import browser
from towpath.transfer.rights import Who
from towpath.transfer.store import credentials

LATIN = b"caf\xe9"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with files, a link, odd names."""
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "b.txt").write_text("bb")
    (root / "a.txt").write_text("a")
    (root / ".hidden").write_text("")
    (root / "link").symlink_to("b.txt")
    (root / "中 文").write_text("x")
    Path(os.fsdecode(os.fsencode(root) + b"/" + LATIN)).write_text("latin")
    return root


async def ls(who: Api, endpoint: str, **params: Any) -> dict[str, Any]:
    answer = await who.get(f"operation/endpoint/{endpoint}/ls", **params)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def test_ls(alice: Api, lake: str, tree: Path) -> None:
    document = await ls(alice, lake, path=f"{tree}//./", show_hidden=0)
    assert document["DATA_TYPE"] == "file_list"
    assert document["path"] == document["absolute_path"] == f"{tree}/"
    assert document["length"] == document["total"] == 6
    by_name = {entry["name"]: entry for entry in document["DATA"]}
    assert list(by_name) == sorted(by_name)
    assert by_name["sub"]["type"] == "dir"
    file = by_name["b.txt"]
    assert (file["type"], file["size"]) == ("file", 2)
    assert file["permissions"] == f"{(tree / 'b.txt').stat().st_mode & 0o7777:04o}"
    modified = datetime.fromisoformat(file["last_modified"])
    assert abs(datetime.now(UTC) - modified) < timedelta(minutes=5)
    assert by_name["link"]["link_target"].endswith("b.txt")
    assert "中 文" in by_name
    assert "\ufffdcafé" in by_name


async def test_ls_parameters(alice: Api, lake: str, tree: Path) -> None:
    async def found(**params: Any) -> list[str]:
        return [
            entry["name"] for entry in (await ls(alice, lake, path=str(tree), **params))["DATA"]
        ]

    assert ".hidden" in await found()
    assert await found(filter=["type:dir", "name:~*.txt"]) == ["a.txt", "b.txt", "sub"]
    assert await found(filter="name:~*.txt", orderby="size DESC") == ["b.txt", "a.txt"]
    assert await found(filter="name:~*.txt", limit=1, offset=1) == ["b.txt"]
    where = f"operation/endpoint/{lake}/ls"
    for params in (
        {"limit": 0},
        {"limit": 100_001},
        {"limit": "x"},
        {"offset": -1},
        {"offset": 10**9},
        {"orderby": "colour"},
        {"filter": "colour:red"},
        {"show_hidden": "maybe"},
        {"local_user": "root"},
    ):
        answer = await alice.get(where, path=str(tree), **params)
        assert answer.status_code == 400, params
        assert answer.json()["code"].startswith("ClientError.BadRequest")


async def test_home_is_the_default(alice: Api, lake: str) -> None:
    document = await ls(alice, lake)
    assert document["path"] == "/~/"
    assert document["absolute_path"] == f"{Path.home()}/"
    assert (await alice.put(f"endpoint/{lake}", {"default_directory": "/etc"})).status_code == 200
    assert (await ls(alice, lake))["absolute_path"] == "/etc/"


async def test_stat(alice: Api, lake: str, tree: Path) -> None:
    where = f"operation/endpoint/{lake}/stat"
    document = (await alice.get(where, path=f"{tree}/b.txt")).json()
    assert (document["DATA_TYPE"], document["name"], document["size"]) == ("file", "b.txt", 2)
    latin = (await alice.get(where, path=f"{tree}/\ufffdcafé")).json()
    assert (latin["name"], latin["size"]) == ("\ufffdcafé", 5)
    assert_error(await alice.get(where, path=f"{tree}/none"), 404, "NotFound")
    assert_error(await alice.get(where), 400, "ClientError.BadRequest")


async def test_mkdir_and_rename(alice: Api, lake: str, tree: Path) -> None:
    prefix = f"operation/endpoint/{lake}"
    made = await alice.post(f"{prefix}/mkdir", {"DATA_TYPE": "mkdir", "path": f"{tree}/new"})
    assert (made.status_code, made.json()["code"]) == (202, "DirectoryCreated")
    assert (tree / "new").is_dir()
    again = await alice.post(f"{prefix}/mkdir", {"path": f"{tree}/new"})
    assert_error(again, 502, "ExternalError.MkdirFailed.Exists")
    renamed = await alice.post(
        f"{prefix}/rename",
        {
            "DATA_TYPE": "rename",
            "old_path": f"{tree}/\ufffdcafé",
            "new_path": f"{tree}/new/ blank",
        },
    )
    assert renamed.json()["code"] == "FileRenamed"
    assert (tree / "new" / " blank").read_text() == "latin"
    missing = await alice.post(
        f"{prefix}/rename", {"old_path": f"{tree}/none", "new_path": f"{tree}/x"}
    )
    assert_error(missing, 404, "ClientError.NotFound")


async def test_told_failures_of_ls(alice: Api, lake: str, tree: Path) -> None:
    where = f"operation/endpoint/{lake}/ls"
    message = assert_error(await alice.get(where, path=f"{tree}/none"), 404, "ClientError.NotFound")
    assert f"{tree}/none" in message
    assert_error(
        await alice.get(where, path=f"{tree}/b.txt"),
        502,
        "ExternalError.DirListingFailed.NotDirectory",
    )


REFUSED_PATHS = [
    "/a/../b",
    "..",
    "/a\0b",
    "/a\r\nDELE /b",
    "/" + "x" * 5000,
    "/" + "y" * 300,
    "",
]


async def test_paths_that_are_refused(alice: Api, lake: str) -> None:
    prefix = f"operation/endpoint/{lake}"
    invalid = (400, "ClientError.BadRequest.InvalidPath")
    for path in REFUSED_PATHS:
        if path:
            assert_error(await alice.get(f"{prefix}/ls", path=path), *invalid)
            assert_error(await alice.get(f"{prefix}/stat", path=path), *invalid)
        assert_error(await alice.post(f"{prefix}/mkdir", {"path": path}), *invalid)
        for old, new in ((path, "/x"), ("/x", path)):
            document = {"old_path": old, "new_path": new}
            assert_error(await alice.post(f"{prefix}/rename", document), *invalid)


async def test_a_query_that_is_not_utf8_is_refused(alice: Api, lake: str) -> None:
    answer = await alice.http.get(
        f"/v0.10/operation/endpoint/{lake}/ls?path=" + quote(b"/\xff../etc")
    )
    assert_error(answer, 400, "ClientError.BadRequest.InvalidPath")


async def test_permission_denied(
    alice: Api, unprivileged_server: GctServer, domain_a: Domain, open_tmp_path: Path
) -> None:
    created = await alice.post("endpoint", server_document(unprivileged_server, domain_a))
    endpoint = created.json()["id"]
    await alice.put(f"endpoint/{endpoint}/credential", {"proxy": domain_a.proxy_file.read_text()})
    closed = open_tmp_path / "closed"
    closed.mkdir(mode=0o755)
    answer = await alice.post(f"operation/endpoint/{endpoint}/mkdir", {"path": f"{closed}/new"})
    assert_error(answer, 403, "EndpointPermissionDenied")


async def test_without_a_credential(alice: Api, bob: Api, lake: str) -> None:
    message = assert_error(
        await bob.get(f"operation/endpoint/{lake}/ls", path="/"),
        400,
        "ClientError.ActivationRequired",
    )
    assert f"/endpoints/{lake}" in message, "where everybody can give one"
    assert f"towpath credential add {lake}" in message


async def test_expired_credential_is_told_before_dialling(
    alice: Api, lake: str, domain_a: Domain, database: Database, service: TransferService
) -> None:
    past = datetime.now(UTC) - timedelta(minutes=2)
    expired = domain_a.make_proxy(timedelta(minutes=1), now=past)
    context = credentials.seal_context(UUID(lake), alice.sub)
    async with database.transaction() as conn:
        await credentials.put(
            conn,
            endpoint_id=UUID(lake),
            owner_id=alice.sub,
            sealed=service.sealer.seal(expired.to_pem(), context),
            subject=expired.subject,
            not_after=expired.not_after,
        )
    message = assert_error(
        await alice.get(f"operation/endpoint/{lake}/ls", path="/"),
        502,
        "ExternalError.DirListingFailed.CredentialExpired",
    )
    assert "Renew" in message


async def test_server_of_another_authority(
    alice: Api, server_b: GctServer, domain_a: Domain
) -> None:
    created = await alice.post("endpoint", server_document(server_b, domain_a))
    endpoint = created.json()["id"]
    await alice.put(f"endpoint/{endpoint}/credential", {"proxy": domain_a.proxy_file.read_text()})
    assert_error(
        await alice.get(f"operation/endpoint/{endpoint}/ls", path="/"),
        502,
        "ExternalError.DirListingFailed.UntrustedHost",
    )


@pytest.fixture
async def silent() -> AsyncIterator[int]:
    """The port of a server that accepts connections and never says a word."""
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(
        lambda _reader, writer: writers.append(writer), "127.0.0.1", 0
    )
    yield server.sockets[0].getsockname()[1]
    server.close()
    for writer in writers:
        writer.close()


async def add_silent(alice: Api, port: int, domain: Domain) -> str:
    created = await alice.post(
        "endpoint",
        {
            "display_name": "silent",
            "DATA": [{"uri": f"gsiftp://127.0.0.1:{port}"}],
            "trust_roots": dict(domain.trust.files),
        },
    )
    endpoint: str = created.json()["id"]
    await alice.put(f"endpoint/{endpoint}/credential", {"proxy": domain.proxy_file.read_text()})
    return endpoint


async def test_a_server_that_never_answers(
    alice: Api,
    service: TransferService,
    silent: int,
    domain_a: Domain,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service.browser, "_operation_s", 1.0)
    endpoint = await add_silent(alice, silent, domain_a)
    message = assert_error(
        await alice.get(f"operation/endpoint/{endpoint}/ls", path="/"),
        502,
        "ExternalError.DirListingFailed.Timeout",
    )
    assert "1 s" in message


async def test_a_server_that_is_down(alice: Api, domain_a: Domain) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        endpoint = await add_silent(alice, port, domain_a)
        message = assert_error(
            await alice.get(f"operation/endpoint/{endpoint}/ls", path="/"),
            502,
            "ExternalError.DirListingFailed.ConnectFailed",
        )
    assert f"127.0.0.1:{port}" in message


async def test_a_server_that_speaks_nonsense(alice: Api, domain_a: Domain) -> None:
    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\xff\x00\r\n" * 10)
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    endpoint = await add_silent(alice, server.sockets[0].getsockname()[1], domain_a)
    answer = await alice.get(f"operation/endpoint/{endpoint}/ls", path="/")
    server.close()
    assert answer.status_code == 502
    assert answer.json()["code"].startswith("ExternalError.DirListingFailed.")


async def test_addresses_that_may_not_be_dialled(
    alice: Api, lake: str, service: TransferService
) -> None:
    service.sessions._policy = DialPolicy(allow_loopback=False)
    message = assert_error(
        await alice.get(f"operation/endpoint/{lake}/ls", path="/"),
        502,
        "ExternalError.DirListingFailed.AddressRefused",
    )
    assert "operator" in message


async def test_sessions_are_shared_and_survive_their_server(
    alice: Api, lake: str, server_a: GctServer, tree: Path
) -> None:
    before = set(server_a.session_pids())
    for _ in range(3):
        await ls(alice, lake, path=str(tree))
    mine = set(server_a.session_pids()) - before
    assert len(mine) == 1
    server_a.kill_sessions()
    await ls(alice, lake, path=str(tree))


async def test_many_operations_at_once_are_bounded(
    alice: Api, lake: str, service: TransferService, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    borrow, now, most = service.sessions._pool.borrow, 0, 0

    @asynccontextmanager
    async def counted(login: Login) -> AsyncIterator[Borrowed]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            async with borrow(login) as borrowed:
                yield borrowed
        finally:
            now -= 1

    monkeypatch.setattr(service.sessions._pool, "borrow", counted)
    answers = await asyncio.gather(
        *(alice.get(f"operation/endpoint/{lake}/ls", path=str(tree)) for _ in range(40))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert most == browser.PER_SERVER
    assert len(service.browser._gates) == 0


async def test_a_large_directory_in_pages(alice: Api, lake: str, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.mkdir()
    for number in range(2500):
        (large / f"{number:05}").touch()
    document = await ls(alice, lake, path=str(large), limit=3, offset=2400)
    assert [entry["name"] for entry in document["DATA"]] == ["02400", "02401", "02402"]
    assert (document["length"], document["total"]) == (3, 2500)


async def test_a_cancelled_operation_leaves_nothing_behind(
    alice: Api, service: TransferService, silent: int, domain_a: Domain
) -> None:
    endpoint = await add_silent(alice, silent, domain_a)
    looking = asyncio.create_task(service.browser.stat(UUID(endpoint), Who.alone(alice.sub), "/"))
    async with asyncio.timeout(10):
        while not service.browser._gates:
            await asyncio.sleep(0)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    assert len(service.browser._gates) == 0
    assert len(service.sessions._pool._sessions) == 0


async def test_too_busy(
    alice: Api,
    service: TransferService,
    silent: int,
    domain_a: Domain,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    endpoint = await add_silent(alice, silent, domain_a)
    monkeypatch.setattr(service.browser, "_operation_s", 2.0)
    monkeypatch.setattr(service.browser._gates, "_wait_s", 0.2)
    answers = await asyncio.gather(
        *(alice.get(f"operation/endpoint/{endpoint}/ls", path="/") for _ in range(9))
    )
    codes = sorted(answer.json()["code"] for answer in answers)
    assert codes == ["ExternalError.DirListingFailed.Timeout"] * 8 + [
        "ExternalError.DirListingFailed.TooBusy"
    ]
