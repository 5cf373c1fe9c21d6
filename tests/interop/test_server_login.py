"""Programs that log in at our acceptor: globus-url-copy, and our own client."""

import asyncio
import getpass
import os
import socket
from pathlib import Path

import pytest

from plugins.front import EchoHost, front
from plugins.peers import ANSWERS
from towpath.demo.authority import Domain
from towpath.gridftp.client.session import Server, Session
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.server import control
from towpath.gridftp.server.frames import Opening
from towpath.gridftp.server.limits import WRAPPED_BYTES
from towpath.gridftp.wire import answers


class PoliteHost(EchoHost):
    """Sessions that have no files, and say so."""

    @staticmethod
    def answer(command: bytes) -> list[bytes]:
        verb = command.split(b" ")[0].decode().upper()
        if verb == "FEAT":
            return [answers.features(answers.PREFERRED_CHECKSUMS, answers.FactLines())]
        if verb == "QUIT":
            return [b"221 Goodbye.\r\n"]
        if verb in ("SIZE", "RETR", "MLST", "MLSC"):
            return [b"550 No such file or directory.\r\n"]
        return [ANSWERS.get(verb, "200 OK.").encode() + b"\r\n"]


class GoneHost(EchoHost):
    """Sessions that end at once."""

    async def run(self, connection: socket.socket, opening: Opening) -> None:
        del connection
        self.openings.append(opening)


async def url_copy(domain: Domain, *arguments: str) -> tuple[int | None, str]:
    environment = {
        **os.environ,
        "X509_USER_PROXY": str(domain.proxy_file),
        "X509_CERT_DIR": str(domain.trust_dir),
    }
    process = await asyncio.create_subprocess_exec(
        "globus-url-copy",
        "-dbg",
        *arguments,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        output, _nothing = await process.communicate()
    return process.returncode, output.decode(errors="replace")


@pytest.mark.parametrize("version", ["TLS1_2_VERSION", "TLS1_3_VERSION"])
@pytest.mark.parametrize("portion", [WRAPPED_BYTES, 200])
async def test_globus_url_copy(
    domain_a: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, portion: int, version: str
) -> None:
    """Also when FEAT's answer comes in wrapped lines of its own."""
    monkeypatch.setattr(control, "WRAPPED_BYTES", portion)
    monkeypatch.setenv("GLOBUS_GSSAPI_MAX_TLS_PROTOCOL", version)
    async with front(domain_a, host=PoliteHost()) as running:
        status, output = await url_copy(
            domain_a,
            f"gsiftp://localhost:{running.port}/none",
            f"file://{tmp_path}/none",
        )
        assert status == 1
        assert "No such file or directory" in output, output
        (opening,) = running.host.openings
        assert opening.subject == "/O=DomA/CN=Alice"
        assert opening.credential is not None  # it always delegates
        assert Credential.from_pem(opening.credential.encode()).subject == opening.subject
        verbs = [command.split(b" ")[0] for command in running.host.heard]
        assert {b"SITE", b"FEAT", b"TYPE"} <= set(verbs)
        assert " PASV AllowDelayed;" in output  # the last of our features


async def test_globus_url_copy_in_clear_text(domain_a: Domain, tmp_path: Path) -> None:
    async with front(domain_a, host=PoliteHost(), anonymous=getpass.getuser()) as running:
        status, output = await url_copy(
            domain_a,
            f"ftp://localhost:{running.port}/none",
            f"file://{tmp_path}/none",
        )
        assert status == 1
        assert "No such file or directory" in output, output
        assert not running.host.openings[0].secured


@pytest.mark.parametrize("delegate", [False, True])
async def test_our_own_client(domain_a: Domain, delegate: bool) -> None:
    async with front(domain_a, host=PoliteHost()) as running:
        session = await Session.open(
            Server("localhost", running.port),
            credential=domain_a.credential,
            trust=domain_a.trust,
            delegate=delegate,
        )
        try:
            with pytest.raises(GridFTPError) as caught:
                await session.stat("/none")
            assert caught.value.kind is Kind.NOT_FOUND
        finally:
            await session.close()
        (opening,) = running.host.openings
        assert (opening.credential is not None) is delegate


async def failure(domain: Domain, port: int, **options: object) -> GridFTPError:
    given: dict = {"credential": domain.credential, "trust": domain.trust, **options}
    try:
        session = await Session.open(Server("localhost", port), **given)
        await session.stat("/")
    except GridFTPError as error:
        return error
    raise AssertionError("it was let in")


async def test_our_client_understands_why_it_is_not_let_in(
    domain_a: Domain, domain_b: Domain, tmp_path: Path
) -> None:
    gridmap = tmp_path / "gridmap"
    gridmap.write_text("# nobody\n")
    async with front(domain_a, gridmap=gridmap) as running:
        error = await failure(domain_a, running.port)
        assert error.kind is Kind.MAPPING
        error = await failure(domain_a, running.port, credential=domain_b.credential)
        assert error.kind is Kind.AUTHENTICATION
    async with front(domain_a, host=GoneHost()) as running:
        error = await failure(domain_a, running.port)
        assert not error.permanent
