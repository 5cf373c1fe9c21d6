"""`python launched.py WORKDIR [--rogue | --files] [limit=value...]`: a server of root's whose
sessions say who they are, or, with `--files`, are whole. Prints its port."""

import asyncio
import os
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from towpath.dsi.posix import PosixStorage
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.trust import TrustRoots
from towpath.gridftp.server.acceptor import ControlServer, FreshSecurity, listen
from towpath.gridftp.server.account_process import Host
from towpath.gridftp.server.accounts import Accounts
from towpath.gridftp.server.control import OpenSession, Service
from towpath.gridftp.server.frames import FrameReader, Opening, frame
from towpath.gridftp.server.gridmap import Gridmap
from towpath.gridftp.server.launcher import Launcher
from towpath.gridftp.server.limits import COMMAND_BYTES, Limits
from towpath.gridftp.server.session import SessionHost

ROGUE_ACCOUNTS = ("root", "bin", "no-such", "")


class WhoHost:
    """Sessions that say who they are."""

    async def run(self, connection: socket.socket, opening: Opening) -> None:
        loop = asyncio.get_running_loop()
        reader = FrameReader(COMMAND_BYTES)
        while data := await loop.sock_recv(connection, 65536):
            for command in reader.feed(data):
                text = b"200 OK."
                if command == b"WHO":
                    readable = os.access(Path(sys.argv[1]) / "host.pem", os.R_OK)
                    who = f"{os.getuid()} {os.getgid()} {opening.account} {opening.home} {readable}"
                    if opening.credential is not None:
                        who += f" {Credential.from_pem(opening.credential.encode()).subject}"
                    text = b"200 " + who.encode()
                if command == b"QUIT":
                    text = b"221 Goodbye."
                if command == b"DIE":
                    return
                await loop.sock_sendall(connection, frame(text + b"\r\n"))
                if command == b"QUIT":
                    return


class Program:
    """What the acceptor does."""

    def __init__(self, workdir: Path, limits: Limits, sockets: list[socket.socket]) -> None:
        self.workdir, self.limits, self.sockets = workdir, limits, sockets
        self.security: FreshSecurity | None = None

    def prepare(self) -> None:
        host = Credential.from_pem((self.workdir / "host.pem").read_bytes())
        self.security = FreshSecurity(
            host, self.workdir / "certificates", lambda: datetime.now(UTC)
        )

    def run(self, open_session: OpenSession) -> None:
        asyncio.run(self.serve(open_session))

    async def serve(self, open_session: OpenSession) -> None:
        assert self.security is not None
        with ThreadPoolExecutor(2) as threads:
            service = Service(
                accounts=Accounts(Gridmap(self.workdir / "gridmap"), only=None),
                security=self.security.current,
                open_session=open_session,
                threads=threads,
                limits=self.limits,
            )
            server = ControlServer(service, refresh=self.security.refresh)
            await server.start(self.sockets)
            stop = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
            await stop.wait()
            await server.close()


class RogueProgram(Program):
    """An acceptor that asks for accounts that nobody has."""

    def run(self, open_session: OpenSession) -> None:
        def for_others(opening: Opening, connection: socket.socket) -> None:
            for account in ROGUE_ACCOUNTS:
                other = Opening.from_frame(
                    opening.to_frame().replace(
                        f'"account": "{opening.account}"'.encode(),
                        f'"account": "{account}"'.encode(),
                    )
                )
                open_session(other, connection.dup())
            connection.close()

        super().run(for_others)


def who_host(_account: str) -> Host:
    return WhoHost()


def file_host(_account: str) -> Host:
    trust = TrustRoots.from_directory(Path(sys.argv[1]) / "certificates")
    return SessionHost(PosixStorage(), Limits(), trust=lambda: trust)


def main() -> int:
    workdir = Path(sys.argv[1])
    options = dict(word.split("=") for word in sys.argv[2:] if "=" in word)
    kinds = {"account_processes": int}
    limits = Limits(**{name: kinds.get(name, float)(value) for name, value in options.items()})
    sockets = listen(0, ["127.0.0.1"])
    print(sockets[0].getsockname()[1], flush=True)
    make_host = file_host if "--files" in sys.argv else who_host
    program = RogueProgram if "--rogue" in sys.argv else Program
    return Launcher(
        acceptor=program(workdir, limits, sockets),
        user="nobody",
        make_host=make_host,
        may_open=Gridmap(workdir / "gridmap").names_account,
        limits=limits,
        listening=sockets,
    ).run()


if __name__ == "__main__":
    sys.exit(main())
