"""The real command against real servers, compared with what globus-url-copy does."""

import hashlib
import os
import pty
import socketserver
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from towpath.demo.authority import Domain, write_secret
from towpath.demo.gct import GctServer
from towpath.demo.trees import TreeFile, digests, expected_digests, make_tree, uniform

SEED = 11
ODD = ["a b", "日本", "quo\"te'", "semi;colon; x=y", " lead", "trail ", "100%", "q?x#y", "-dash"]
TREE = [
    *uniform(3, 40, 700),
    *(TreeFile(f"odd/{name}", 50) for name in ODD),
    TreeFile(os.fsdecode(b"odd/\xff\xfe"), 50),
    TreeFile("large", 40 * 1024 * 1024 + 1),
    TreeFile("empty", 0),
]

Run = Callable[..., subprocess.CompletedProcess[str]]


def environment(proxy: Path, trust: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "X509_USER_PROXY": str(proxy),
        "X509_CERT_DIR": str(trust),
    }


@pytest.fixture
def towpath(domain_a: Domain, both_trust: Path) -> Run:
    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "towpath.cli", "gridftp", *arguments],
            env=environment(domain_a.proxy_file, both_trust) | variables,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
            timeout=120,
        )

    return run


def url_copy(domain: Domain, *arguments: str) -> None:
    subprocess.run(
        ["globus-url-copy", *arguments],
        env=environment(domain.proxy_file, domain.trust_dir),
        check=True,
        capture_output=True,
        timeout=120,
    )


def succeeded(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("flags", [[], ["-p", "4", "--encrypt"], ["--no-verify", "-p", "2"]])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_tree(
    towpath: Run, server_a: GctServer, tmp_path: Path, flags: list[str], direction: str
) -> None:
    source, target = tmp_path / "source", tmp_path / "new" / "target"
    make_tree(source, TREE, SEED)
    (source / "hollow/inner").mkdir(parents=True)
    ends = [str(source), server_a.url(target)]
    if direction == "down":
        ends = [server_a.url(source), str(target)]
    done = succeeded(towpath("cp", "-r", *flags, *ends))
    assert digests(target) == expected_digests(TREE, SEED)
    assert (target / "hollow/inner").is_dir()
    size = sum(file.size for file in TREE)
    assert done.stderr.startswith(f"{len(TREE)} files, {size / 1e6:.1f} MB in ")


def test_tree_is_what_globus_url_copy_makes(
    towpath: Run, domain_a: Domain, server_a: GctServer, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    make_tree(source, list(uniform(3, 20, 700)), SEED)
    succeeded(towpath("cp", "-r", server_a.url(source), str(tmp_path / "ours")))
    url_copy(domain_a, "-r", "-cd", f"{server_a.url(source)}/", f"file://{tmp_path}/theirs/")
    assert digests(tmp_path / "ours") == digests(tmp_path / "theirs") == digests(source)


@pytest.mark.parametrize("flags", [[], ["-p", "4", "--encrypt"]])
def test_between_servers_of_two_authorities(
    towpath: Run,
    domain_b: Domain,
    server_a: GctServer,
    server_b: GctServer,
    tmp_path: Path,
    flags: list[str],
) -> None:
    source, target = tmp_path / "source", tmp_path / "new" / "target"
    make_tree(source, TREE, SEED)
    proxy = ("--destination-credential", str(domain_b.proxy_file))
    done = succeeded(
        towpath("cp", "-r", *flags, *proxy, server_a.url(source), server_b.url(target))
    )
    assert digests(target) == expected_digests(TREE, SEED)
    size = sum(file.size for file in TREE)
    assert done.stderr.startswith(f"{len(TREE)} files, {size / 1e6:.1f} MB in ")
    assert f"FILE={target}/large".encode() in server_b.transfer_log.read_bytes()


def test_one_file_goes_where_cp_would_put_it(
    towpath: Run, server_a: GctServer, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(b"hello")
    (tmp_path / "into").mkdir()
    succeeded(towpath("cp", str(tmp_path / "f"), server_a.url(tmp_path / "into")))
    succeeded(towpath("cp", server_a.url(tmp_path / "f"), str(tmp_path / "g")))
    succeeded(towpath("cp", server_a.url(tmp_path / "g"), server_a.url(tmp_path / "h")))
    for path in ("into/f", "g", "h"):
        assert (tmp_path / path).read_bytes() == b"hello"


def test_one_bad_file_does_not_stop_the_others(
    towpath: Run, unprivileged_server: GctServer, open_tmp_path: Path
) -> None:
    source, target = open_tmp_path / "source", open_tmp_path / "target"
    make_tree(source, TREE, SEED)
    (source / "d0001/f0020").chmod(0)
    (source / "closed").mkdir(mode=0)
    os.mkfifo(source / "pipe")
    done = towpath("cp", "-r", unprivileged_server.url(source), str(target))
    assert done.returncode == 1
    assert f"{source}/d0001/f0020: " in done.stderr
    assert "permission denied" in done.stderr
    assert "Ask the owner or the server's administrator" in done.stderr
    assert f"{source}/pipe: skipped: not a regular file" in done.stderr
    assert f"{source}/closed: " in done.stderr
    assert "; 2 failed" in done.stderr
    expected = expected_digests(TREE, SEED)
    del expected["d0001/f0020"]
    assert digests(target) == expected


def test_errors_say_what_and_where_and_what_to_do(
    towpath: Run, domain_a: Domain, server_a: GctServer, server_b: GctServer, tmp_path: Path
) -> None:
    where = f"localhost:{server_a.port}"
    missing = towpath("cp", server_a.url(tmp_path / "missing"), str(tmp_path / "g"))
    assert missing.returncode == 1
    assert f"Error: {where}: no such file or directory ({tmp_path}/missing)" in missing.stderr
    assert "Check the path" in missing.stderr
    directory = towpath("cp", server_a.url(tmp_path), str(tmp_path / "g"))
    assert directory.returncode == 1
    assert "-r copies directories" in directory.stderr
    stranger = towpath("ls", server_a.url("/"), X509_CERT_DIR=str(tmp_path / "none"))
    assert stranger.returncode == 1
    assert "trusted authorities cannot be read" in stranger.stderr
    refused = towpath("ls", server_b.url("/"))
    assert refused.returncode == 1
    assert f"localhost:{server_b.port}: " in refused.stderr
    nobody = towpath("ls", server_a.url("/"), X509_USER_PROXY=str(tmp_path / "none"))
    assert nobody.returncode == 1
    assert "grid-proxy-init" in nobody.stderr
    old = domain_a.make_proxy(timedelta(hours=1), now=datetime.now(UTC) - timedelta(hours=2))
    write_secret(tmp_path / "old", old.to_pem())
    expired = towpath("ls", "gsiftp://localhost:1/", X509_USER_PROXY=str(tmp_path / "old"))
    assert expired.returncode == 1
    assert "/O=DomA/CN=Alice expired at" in expired.stderr
    assert "Traceback" not in missing.stderr + directory.stderr + expired.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["cp", "/a", "/b"],
        ["cp", "http://x/y", "/b"],
        ["ls", "/tmp"],
        ["ls", "gsiftp:///path"],
        ["sum", "-a", "CRC", "gsiftp://x/y"],
        ["cp", "-p", "0", "gsiftp://x/y", "/b"],
    ],
)
def test_usage(towpath: Run, arguments: list[str]) -> None:
    assert towpath(*arguments).returncode == 2


def test_ls(towpath: Run, server_a: GctServer, tmp_path: Path) -> None:
    make_tree(tmp_path, [*(TreeFile(name, 5) for name in ODD), TreeFile("d/e/f", 7)], SEED)
    os.utime(tmp_path / "100%", (1_000_000_000, 1_000_000_000))
    (tmp_path / "100%").chmod(0o640)
    plain = succeeded(towpath("ls", server_a.url(tmp_path))).stdout
    assert plain == "".join(f"{name}\n" for name in sorted([*ODD, "d/"]))
    deep = succeeded(towpath("ls", "-r", server_a.url(tmp_path))).stdout.splitlines()
    assert {"d/", "d/e/", "d/e/f"} <= set(deep)
    line = succeeded(towpath("ls", "-l", server_a.url(tmp_path / "100%25"))).stdout
    assert line.startswith("-rw-r----- ")
    assert line.endswith("5 2001-09-09 01:46:40Z 100%\n")


@pytest.mark.parametrize("algorithm", ["MD5", "adler32", "SHA1", "SHA256", "SHA512"])
def test_sum(towpath: Run, server_a: GctServer, tmp_path: Path, algorithm: str) -> None:
    (tmp_path / "f").write_bytes(b"hello")
    if algorithm == "adler32":
        expected = f"{zlib.adler32(b'hello'):08x}"
    else:
        expected = hashlib.new(algorithm.lower(), b"hello").hexdigest()
    done = succeeded(towpath("sum", "-a", algorithm, server_a.url(tmp_path / "f")))
    assert done.stdout == f"{expected}  {tmp_path}/f\n"


def test_a_terminal_gets_a_bar(
    domain_a: Domain, both_trust: Path, server_a: GctServer, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(bytes(1_000_000))
    master, slave = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "towpath.cli", "gridftp", "cp"]  # noqa: RUF005
        + [server_a.url(tmp_path / "f"), str(tmp_path / "g")],
        env=environment(domain_a.proxy_file, both_trust) | {"TERM": "xterm"},
        stderr=slave,
        check=False,
        timeout=60,
    )
    os.close(slave)
    shown = os.read(master, 65536).decode()
    os.close(master)
    assert done.returncode == 0
    assert "copying" in shown
    assert "1 files, 1.0 MB" in shown


class HostileServer(socketserver.StreamRequestHandler):
    """Speaks clear text, and lists a directory with one name of its choice."""

    listed_name = b""

    def handle(self) -> None:
        self.wfile.write(b"220 hello\r\n")
        fact = b"Type=dir;Size=0; /tree\r\n"
        answers = {
            b"USER": b"331 go on\r\n",
            b"PASS": b"230 in\r\n",
            b"FEAT": b"211-Extensions\r\n CKSM SHA256:1;\r\n MLSC\r\n211 End\r\n",
            b"PWD": b'257 "/"\r\n',
            b"MLST": b"250-status\r\n " + fact + b"250 End.\r\n",
            b"MLSC": b"250-Contents\r\n Type=dir;Size=1; " + self.listed_name + b"\r\n250 End.\r\n",
        }
        for line in self.rfile:
            verb = line.split()[0]
            self.wfile.write(answers.get(verb, b"200 fine\r\n"))


@pytest.mark.parametrize("name", [b"../evil", b"/tmp/evil", b"..", b"a/../../evil", b"a\0b", b""])
def test_no_server_chooses_where_its_files_go(towpath: Run, tmp_path: Path, name: bytes) -> None:
    handler = type("Handler", (HostileServer,), {"listed_name": name})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"ftp://127.0.0.1:{server.server_address[1]}/tree"
            done = towpath("cp", "-r", url, str(tmp_path / "target"))
        finally:
            server.shutdown()
            thread.join()
    assert done.returncode == 1
    assert "the server listed a name that is no name" in done.stderr
    assert list(tmp_path.rglob("*")) in ([], [tmp_path / "target"])
