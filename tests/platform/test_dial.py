"""I7: no dialling of addresses that the operator has not allowed."""

import asyncio
import ipaddress
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from towpath.platform.dial import DialPolicy, DialRefused, dial_policy
from towpath.platform.serving import bind
from towpath.platform.settings import Settings


@pytest.mark.parametrize(
    "ip",
    [
        "127.0.0.1",
        "127.8.8.8",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "::",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "fe80::1",
        "fc00::1",
        "224.0.0.1",
        "ff02::1",
        "240.0.0.1",
        "255.255.255.255",
        "64:ff9b::a00:1",
        "2002:7f00:1::",
    ],
)
def test_default_deny(ip: str) -> None:
    with pytest.raises(DialRefused):
        DialPolicy().check(ip)


@pytest.mark.parametrize("ip", ["8.8.8.8", "2001:4860:4860::8888", "64:ff9b::808:808"])
def test_public_addresses_pass(ip: str) -> None:
    DialPolicy().check(ip)


def test_the_operator_allows_networks() -> None:
    policy = DialPolicy(allow_networks=[ipaddress.ip_network("10.0.0.0/8")])
    policy.check("10.1.2.3")
    policy.check("::ffff:10.1.2.3")
    with pytest.raises(DialRefused, match=r"dial\.allow_networks"):
        policy.check("192.168.0.1")


def test_own_listeners_are_never_dialled() -> None:
    policy = DialPolicy(allow_loopback=True, own_listeners=[("0.0.0.0", 8443)])
    policy.check("127.0.0.1", 2811)
    with pytest.raises(DialRefused, match="own address"):
        policy.check("127.0.0.1", 8443)


async def test_connects_to_the_address_that_was_checked(tmp_path: Path) -> None:
    listener = bind("127.0.0.1", 0)
    listener.listen()
    port = listener.getsockname()[1]
    policy = dial_policy(Settings.load(tmp_path))
    connected = await policy.connect("localhost", port)
    try:
        assert connected.getpeername()[:2] == ("127.0.0.1", port)
        assert not connected.getblocking()
    finally:
        connected.close()
    with pytest.raises(DialRefused, match=r"localhost: .*loopback"):
        await DialPolicy().connect("localhost", port)
    listener.close()
    with pytest.raises(OSError, match="Connect call failed"):
        await policy.connect("127.0.0.1", port)


async def test_a_name_with_one_forbidden_address_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def resolve(*_args: Any, **_named: Any) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80))
            for ip in ("8.8.8.8", "169.254.169.254")
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(DialRefused, match="link-local"):
        await DialPolicy().connect("rebinding.example", 80)


async def test_a_name_that_nobody_answers_for_holds_up_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = threading.Event()

    def resolve(*_args: Any, **_named: Any) -> list[Any]:
        answers.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    try:
        with pytest.raises(TimeoutError):
            await DialPolicy().connect("silent.example", 80, timeout_s=0.05)
        async with asyncio.timeout(2):
            await asyncio.to_thread(answers.is_set)
    finally:
        answers.set()
