"""Settings: file, variables, command line, and the directory's layout."""

import stat
from pathlib import Path

import pytest

from towpath.platform.settings import DataDirectory, Settings, SettingsError


def test_command_line_over_variable_over_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "towpath.toml").write_text(
        '[http]\nport = 1\nhost = "::1"\n[engine]\nlanes = 7\n'
        '[dial]\nallow_networks = ["10.0.0.0/8"]\n'
    )
    monkeypatch.setenv("TOWPATH_HTTP__PORT", "2")
    monkeypatch.setenv("TOWPATH_LIMITS__ITEMS_PER_TASK", "5")
    assert Settings.load(tmp_path).http.port == 2
    settings = Settings.load(tmp_path, http={"port": 3})
    assert (settings.http.port, settings.http.host) == (3, "::1")
    assert settings.engine.lanes == 7
    assert settings.limits.items_per_task == 5
    assert str(settings.dial.allow_networks[0]) == "10.0.0.0/8"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[http]\nprot = 1\n", "http.prot"),
        ("[http]\nport = 70000\n", "http.port"),
        ("[engine]\nrenew_s = 10\n", "engine"),
        ("[http\n", "towpath.toml"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "towpath.toml").write_text(text)
    with pytest.raises(SettingsError, match=said):
        Settings.load(tmp_path)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("a.b", False)],
)
def test_loopback_is_dialled_only_by_a_loopback_deployment(
    tmp_path: Path, host: str, allowed: bool
) -> None:
    assert Settings.load(tmp_path, http={"host": host}).allow_loopback is allowed
    forced = Settings.load(tmp_path, http={"host": host}, dial={"allow_loopback": False})
    assert not forced.allow_loopback


def test_directories_and_files_are_private(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "data")
    directory.root.mkdir(mode=0o755)
    directory.prepare()
    directory.write_state({"a": 1})
    assert directory.read_state() == {"a": 1}
    for path in (directory.root, *directory.root.rglob("*")):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path
