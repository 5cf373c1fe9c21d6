"""Links lead somewhere, and the commands that pages show exist."""

import re
import shlex
from functools import cache
from pathlib import Path

import click
import pytest
from globus_cli import main as globus  # type: ignore[import-untyped]

from towpath.cli import main as towpath

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"!?\[(?:[^\]]*)\]\(([^)\s]+)\)")
_SUBSTITUTION = re.compile(r"\$\([^)]*\)")
_SUBSTITUTED = re.compile(r"\$\(([^)]*)\)")
_PROGRAMS: dict[str, click.Command] = {"towpath": towpath, "globus": globus}


@pytest.fixture(autouse=True)
def loggers_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading its options, the command sets logging up, which turns off all loggers there are."""
    monkeypatch.setattr("globus_cli.parsing.command_state._setup_logging", lambda **_options: None)


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def anchors(page: Path) -> frozenset[str]:
    """What the headings of a page can be linked by: lower case, words joined by hyphens."""
    text = _BLOCK.sub("", page.read_text())
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return frozenset(
        re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings
    )


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(_BLOCK.sub("", page.read_text())):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert linked.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(linked), target


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached = {ROOT / "README.md"}
    pending = list(reached)
    while pending:
        page = pending.pop()
        for target in _LINK.findall(_BLOCK.sub("", page.read_text())):
            linked = (page.parent / target.partition("#")[0]).resolve()
            if linked.suffix == ".md" and linked.exists() and linked not in reached:
                reached.add(linked)
                pending.append(linked)
    assert {page for page in PAGES if page.is_relative_to(ROOT / "docs")} <= reached


def command_lines(page: Path) -> list[list[str]]:
    """The calls of our command and of globus in the shell blocks of a page."""
    found = []
    for language, block in _BLOCK.findall(page.read_text()):
        if language != "sh":
            continue
        for line in block.replace("\\\n", " ").splitlines():
            found += [
                shlex.split(call, comments=True)
                for call in (*_SUBSTITUTED.findall(line), _SUBSTITUTION.sub("X", line.strip()))
                if call.startswith(("towpath ", "globus "))
            ]
    return found


def check_call(words: list[str]) -> None:
    """Follow the words down to a command, and see that it has the options."""
    command: click.Command = _PROGRAMS[words[0]]
    rest = words[1:]
    # contexts as they are in use: click keeps a command's help option as it was first asked for
    context = command.make_context(words[0], [], resilient_parsing=True)
    while isinstance(command, click.Group):
        below = command.get_command(context, rest[0])
        assert below is not None, words
        command, rest = below, rest[1:]
        context = click.Context(command, parent=context)
    known = {
        option
        for parameter in command.get_params(context)
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    for word in rest:
        if word.startswith("-"):
            assert word.partition("=")[0] in known, (words, word)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_commands_exist(page: Path) -> None:
    for words in command_lines(page):
        check_call(words)


def test_a_command_that_does_not_exist_is_found() -> None:
    for words in (["towpath", "down"], ["towpath", "up", "--fast"], ["globus", "move"]):
        with pytest.raises(AssertionError):
            check_call(words)


def test_there_are_commands_to_look_at() -> None:
    calls = [words for page in PAGES for words in command_lines(page)]
    assert len(calls) > 20
    assert ["towpath", "env", "--data", "DIR"] in calls


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    text = page.read_text()
    named = set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE))
    named |= set(re.findall(r"`make\s([a-z-]+)`", text))
    assert named <= targets


def test_the_readme_has_the_two_commands() -> None:
    first = _BLOCK.search((ROOT / "README.md").read_text())
    assert first is not None
    assert [line.partition("#")[0].strip() for line in first[2].splitlines()] == [
        "make demo",
        "make test",
    ]
