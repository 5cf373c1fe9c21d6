"""Fixtures: real MyProxy servers (myproxy-server of the Grid Community Toolkit)."""

import shutil
import socketserver
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from towpath.demo.authority import Domain, write_secret

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

PASSWORDS = {"alice": "correct horse", "mallory": "battery staple"}
"""Of the online authority's users."""

MAPPED = {"alice": "Alice"}
"""Common name of the certificate that the online authority gives to a user."""

STORE = """
accepted_credentials "*"
authorized_retrievers "*"
default_retrievers "*"
authorized_renewers "*"
default_renewers "none"
cert_dir "{domain}/certificates"
max_cred_lifetime 240
"""

AUTHORITY = """
authorized_retrievers "*"
certificate_issuer_cert "{domain}/ca.pem"
certificate_issuer_key "{domain}/ca.key"
certificate_serialfile "{workdir}/serial"
certificate_out_dir "{workdir}/issued"
certificate_mapfile "{workdir}/map"
max_cert_lifetime 24
pam "required"
pam_id "myproxy"
"""


@dataclass(frozen=True)
class MyProxyServer:
    """One on 127.0.0.1, of one domain."""

    port: int
    domain: Domain
    workdir: Path

    @property
    def address(self) -> str:
        """`localhost:port`."""
        return f"localhost:{self.port}"

    @property
    def log(self) -> str:
        """What the server wrote so far."""
        return (self.workdir / "log").read_text(errors="replace")

    @property
    def store(self) -> Path:
        """Where stored credentials are."""
        return self.workdir / "store"


@contextmanager
def serving(
    domain: Domain, workdir: Path, config: str, env: Mapping[str, str] | None = None
) -> Iterator[MyProxyServer]:
    """Run the server as inetd would: one process for each connection, which dies with us."""
    workdir.mkdir(parents=True, exist_ok=True)
    environment = _equip(domain, workdir, config) | dict(env or {})
    program = shutil.which("myproxy-server", path=_PATH)
    assert program is not None, "myproxy-server is not installed: run `make deps` as root"
    command = ["setpriv", "--pdeathsig", "KILL", program, "-d"]
    command += ["-c", str(workdir / "config"), "-s", str(workdir / "store")]
    running: set[subprocess.Popen[bytes]] = set()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with (workdir / "log").open("ab") as log:
                process = subprocess.Popen(
                    command, stdin=self.request, stderr=log, env=environment, cwd=workdir
                )
            self.request.close()  # or the client would not see the end of the process
            running.add(process)
            process.wait()
            running.discard(process)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield MyProxyServer(server.server_address[1], domain, workdir)
        finally:
            server.shutdown()
            thread.join()
            for process in list(running):
                process.kill()
                process.wait()


def _equip(domain: Domain, workdir: Path, config: str) -> dict[str, str]:
    """Write the server's files; its environment."""
    for name in ("store", "issued", "pam"):
        (workdir / name).mkdir(mode=0o700)
    filled = config.format(domain=domain.directory, workdir=workdir)
    write_secret(workdir / "config", filled.encode())
    certificate, key = workdir / "host.pem", workdir / "host.key"
    certificate.write_bytes(domain.host.certificate_file.read_bytes())
    write_secret(key, domain.host.key_file.read_bytes())
    (workdir / "log").touch()
    (workdir / "map").write_text(
        "".join(f'"/O={domain.organization}/CN={name}" {user}\n' for user, name in MAPPED.items())
    )
    passwords = workdir / "passwords"
    passwords.write_text("".join(f"{user}:{word}:myproxy\n" for user, word in PASSWORDS.items()))
    (library,) = Path("/usr/lib").glob("*/libpam_wrapper.so")
    module = library.parent / "pam_wrapper" / "pam_matrix.so"
    (workdir / "pam" / "myproxy").write_text(
        f"auth required {module} passdb={passwords}\naccount required {module} passdb={passwords}\n"
    )
    return {
        "PATH": _PATH,
        "HOME": str(workdir),
        "X509_CERT_DIR": str(domain.trust_dir),
        "X509_USER_CERT": str(certificate),
        "X509_USER_KEY": str(key),
        # PAM of its own, without a file in /etc/pam.d
        "LD_PRELOAD": str(library),
        "PAM_WRAPPER": "1",
        "PAM_WRAPPER_SERVICE_DIR": str(workdir / "pam"),
    }


@pytest.fixture
def myproxy_store(domain_a: Domain, tmp_path: Path) -> Iterator[MyProxyServer]:
    """Keeps credentials for users, and has trust roots to give."""
    with serving(domain_a, tmp_path / "myproxy-store", STORE) as server:
        yield server


@pytest.fixture
def myproxy_authority(domain_a: Domain, tmp_path: Path) -> Iterator[MyProxyServer]:
    """Makes a certificate of domain A for who knows a password (`PASSWORDS`)."""
    with serving(domain_a, tmp_path / "myproxy-authority", AUTHORITY) as server:
        yield server
