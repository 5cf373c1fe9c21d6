"""``towpath relay``, started as its operator does, for a service elsewhere."""

import asyncio
import contextlib
import re
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from starlette.requests import Request
from starlette.responses import Response

from plugins.relay_rig import RELAY_ID, WAIT_S, Double
from towpath.cli import main, relay
from towpath.platform.certificates import server_certificate
from towpath.platform.serving import HttpsServer, bind

SECRET = "the-relays-own-secret-of-this-test"


@contextlib.asynccontextmanager
async def served(double: Double, directory: Path) -> AsyncIterator[str]:
    """The double over HTTPS, with a certificate that nobody trusts who was not told of it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        asked = httpx.Request(
            request.method,
            str(request.url),
            headers=request.headers.raw,
            content=await request.body(),
        )
        answer = await double.handle_async_request(asked)
        await Response(answer.content, answer.status_code)(scope, receive, send)

    files = server_certificate(directory, ["127.0.0.1"])
    server = HttpsServer(app, bind("127.0.0.1", 0), cert=files.cert, key=files.key)
    await server.start()
    try:
        yield f"https://127.0.0.1:{server.port}"
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def command(*words: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "towpath.cli", "relay", *words, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), WAIT_S)
        yield process, line.decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_it_registers_keeps_its_port_and_key_and_ends_in_order(tmp_path: Path) -> None:
    double = Double()
    (tmp_path / "secret").write_text(SECRET + "\n")
    with bind("127.0.0.1", 0) as free:
        metrics = free.getsockname()[1]
    async with served(double, tmp_path / "tls") as url:
        words = [
            *("--service", url, "--client-id", RELAY_ID, "--ca", str(tmp_path / "tls" / "ca.pem")),
            *("--client-secret-file", str(tmp_path / "secret"), "--dir", str(tmp_path / "relay")),
            *("--host", "127.0.0.1", "--bind", "127.0.0.1", "--port", "0"),
            *("--data-ports", "50000-50010", "--metrics", str(metrics)),
        ]
        seen = []
        for _ in range(2):
            async with command(*words) as (process, ready):
                while double.count("/relay") == 0:
                    await asyncio.sleep(0.02)
                _, told = double.asked[0]
                assert ready == f"ready 127.0.0.1:{told['port']}"
                assert told["data_addresses"] == ["127.0.0.1"]
                seen.append((told["port"], told["host_key"]))
                figures = await asyncio.to_thread(
                    lambda: urllib.request.urlopen(f"http://127.0.0.1:{metrics}").read().decode()
                )
                assert re.search(r"^towpath_relay_agents 0\.0$", figures, re.MULTILINE)
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), WAIT_S) == 0
            assert [told for path, told in double.asked if path == "/relay"][-1]["draining"] is True
            double.asked.clear()
        assert seen[0] == seen[1], "the same port and key, though any port would do"
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "relay").glob("*")} <= {
        0o600,
        0o700,
    }
    log = (tmp_path / "relay" / "log" / "relay.log").read_text()
    assert "relay.registered" in log
    assert SECRET not in log
    assert "token-1" not in log


def test_nobody_else_is_told_a_loopback_address() -> None:
    assert relay._addresses("localhost", "127.0.0.1")[0] == "127.0.0.1"
    told = relay._addresses("localhost", "0.0.0.0")
    assert set(told) == (relay._outward() or {"127.0.0.1", "::1"} & set(told))
    assert relay._addresses("192.0.2.7", "0.0.0.0") == ("192.0.2.7",)


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["--service", "https://localhost"], "--client-id"),
        (["--data-ports", "7-3"], "50000-51000"),
        (["--data", "nothing-here"], "towpath up"),
    ],
)
def test_what_is_missing_is_said(words: list[str], advice: str) -> None:
    with CliRunner().isolated_filesystem():
        done = CliRunner().invoke(main, ["relay", *words])
    assert done.exit_code != 0
    assert advice in done.output
