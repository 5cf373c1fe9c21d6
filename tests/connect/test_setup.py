"""Setup keys, who is believed, and what a setup leaves behind."""

import ssl
import stat
from pathlib import Path

import pytest

from plugins.connect import World
from towpath.connect.directory import AgentDirectory
from towpath.connect.errors import ConnectError, Trouble
from towpath.connect.setting_up import Wishes, set_up
from towpath.connect.setup_key import SetupKey

SECRET = "s" * 43
DIGEST = "ab" * 32


@pytest.mark.parametrize(
    ("text", "host", "port", "pin"),
    [
        (f"move.example.org:443/public/{SECRET}", "move.example.org", 443, None),
        (f" 192.0.2.1:8443/{DIGEST.upper()}/{SECRET}\n", "192.0.2.1", 8443, DIGEST),
        (f"[2001:db8::1]:443/{DIGEST}/{SECRET}", "2001:db8::1", 443, DIGEST),
    ],
)
def test_a_key_says_where_and_whom_to_believe(
    text: str, host: str, port: int, pin: str | None
) -> None:
    key = SetupKey.parse(text)
    assert (key.host, key.port, key.pin, key.secret) == (host, port, pin, SECRET)
    assert SECRET not in repr(key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "move.example.org",
        f"move.example.org/public/{SECRET}",
        f"move.example.org:0/public/{SECRET}",
        f"move.example.org:70000/public/{SECRET}",
        f"move.example.org:443/{DIGEST[:-1]}/{SECRET}",
        f"move.example.org:443/public/{SECRET[:-1]}",
        f"move.example.org:443/public/{SECRET} x",
        f"a@b:443/public/{SECRET}",
        f"move.example.org:443/public/{SECRET}" + "A" * 600,
    ],
)
def test_what_is_no_key_is_said_without_repeating_it(text: str) -> None:
    with pytest.raises(ConnectError, match="no setup key") as caught:
        SetupKey.parse(text)
    assert SECRET not in str(caught.value)


async def test_what_a_setup_leaves_is_the_owners_alone(lonely_world: World) -> None:
    agent = await lonely_world.directory()
    assert stat.S_IMODE(agent.root.stat().st_mode) == 0o700
    files = [one for one in agent.root.iterdir() if one.is_file()]
    assert len(files) == 7
    assert {stat.S_IMODE(one.stat().st_mode) for one in files} == {0o600}
    assert agent.identity().endpoint_id == lonely_world.service.endpoint_id


async def test_a_spent_key_and_a_second_setup(lonely_world: World, tmp_path: Path) -> None:
    service, port = lonely_world.service, lonely_world.port
    key = service.setup_key(port)
    agent = AgentDirectory(tmp_path / "agent")
    await set_up(key, agent, Wishes())
    first = agent.identity().node_id

    with pytest.raises(ConnectError, match=r"set up in .* already") as caught:
        await set_up(service.setup_key(port), agent, Wishes())
    with pytest.raises(ConnectError, match="This setup key was used") as caught:
        await set_up(key, AgentDirectory(tmp_path / "other"), Wishes())
    assert caught.value.trouble is Trouble.KEY
    assert not AgentDirectory(tmp_path / "other").is_set_up
    with pytest.raises(ConnectError, match="run 'towpath connect setup KEY' first"):
        AgentDirectory(tmp_path / "other").identity()

    await set_up(service.setup_key(port), agent, Wishes(replace=True))
    assert agent.identity().node_id != first


async def test_who_is_not_the_keys_service_is_told_nothing(
    lonely_world: World, tmp_path: Path
) -> None:
    host, digest, secret = lonely_world.service.setup_key(lonely_world.port).split("/")
    wrong = f"{host}/{'00' * 32}/{secret}"
    with pytest.raises(ConnectError, match="not the service that made this key") as caught:
        await set_up(wrong, AgentDirectory(tmp_path / "agent"), Wishes())
    assert caught.value.trouble is Trouble.AUTHORITY
    # A service whose certificate a public authority should have signed.
    public = f"{host}/public/{secret}"
    with pytest.raises(ConnectError, match="certificate of https://localhost"):
        await set_up(public, AgentDirectory(tmp_path / "agent"), Wishes())
    assert [path for path, _ in lonely_world.service.asked] == []
    assert lonely_world.service.secrets[secret] == 1
    assert digest != "00" * 32


async def test_nobody_is_believed_who_stands_behind_the_keys_authority(
    lonely_world: World, tmp_path: Path
) -> None:
    service = lonely_world.service
    key = service.setup_key(lonely_world.port)
    service.pem += service.authority.certificate_pem.encode()
    agent = AgentDirectory(tmp_path / "agent")
    await set_up(key, agent, Wishes())
    believed = ssl.create_default_context(cadata=agent.authority())
    assert len(believed.get_ca_certs()) == 1


async def test_a_service_that_is_away(tmp_path: Path) -> None:
    nobody = f"localhost:1/{'00' * 32}/{SECRET}"
    with pytest.raises(ConnectError, match="https://localhost:1 does not answer") as caught:
        await set_up(nobody, AgentDirectory(tmp_path / "agent"), Wishes())
    assert caught.value.trouble is Trouble.AWAY
