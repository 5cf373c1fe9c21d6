"""The how-to page on MyProxy, done as a reader does it: in a terminal, typing the pass phrase."""

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from plugins.myproxy import MyProxyServer
from towpath.demo.gct import GctServer
from towpath.gridftp.client.dial import Server
from towpath.gridftp.client.myproxy import MyProxy
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.trust import TrustRoots

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "myproxy.md"
PASSPHRASE = "correct horse"
_RUN = re.compile(r"^<!-- run -->\n```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PROMPT = re.compile(r"(pass phrase|Repeat for confirmation): $")
_REMOTE = "gsiftp://dtn7.example.org:2811/home/alice"


async def test_the_page_works(
    myproxy_store: MyProxyServer, server_a: GctServer, tmp_path: Path
) -> None:
    domain = myproxy_store.domain
    kept = MyProxy(Server("localhost", myproxy_store.port), domain.trust)
    await kept.store(
        "alice", PASSPHRASE, credential=domain.user.credential(), lifetime=timedelta(days=2)
    )
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    (home / "passphrase.txt").write_text(PASSPHRASE + "\n")
    script = "set -euo pipefail\n" + "".join(_RUN.findall(PAGE.read_text()))
    assert _REMOTE in script
    status, said = in_a_terminal(
        script.replace(_REMOTE, server_a.url(home)),
        home,
        {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "MYPROXY_SERVER": myproxy_store.address,
            "X509_USER_PROXY": str(home / "x509up"),
            "X509_CERT_DIR": str(domain.trust_dir),
        },
    )
    assert status == 0, said
    assert said.count("/O=DomA/CN=Alice, valid until") == 4
    assert "data/" in said
    assert PASSPHRASE not in said
    for file in ("x509up", "proxy.pem"):
        assert Credential.from_proxy_file(home / file).subject == "/O=DomA/CN=Alice"
        assert (home / file).stat().st_mode & 0o777 == 0o600
    assert TrustRoots.from_directory(home / "certificates").files == domain.trust.files


def in_a_terminal(script: str, directory: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Run it, answering each prompt for a pass phrase; exit status and all that was shown."""
    master, slave = os.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "bash", "-c", script],
        cwd=directory,
        env=environment,
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    said = ""
    while shown := _read(master):
        said += shown
        if _PROMPT.search(said):
            os.write(master, PASSPHRASE.encode() + b"\n")
    os.close(master)
    return process.wait(60), said


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 4096).decode()
    except OSError:  # the last one on the other side has gone
        return ""
