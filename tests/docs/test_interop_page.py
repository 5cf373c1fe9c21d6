"""The page on interoperability names tests that exist, and all of the tests that it is about."""

from collections.abc import Callable, Collection

from plugins.pages import REFERENCE, named_tests

PAGE = REFERENCE / "gridftp-interop.md"
SHORT = {
    short: f"interop/test_gridftp_{short}.py" for short in ("control", "data", "files", "errors")
}


def test_the_page_and_the_tests_fit(
    existing_tests: Callable[[Collection[str]], set[str]],
) -> None:
    named = named_tests(PAGE.read_text(), SHORT)
    there = existing_tests(named)
    assert len(named) > 80
    assert named - there == set(), "named, and not there"
    files = tuple(f"tests/{file}::" for file in SHORT.values())
    ours = {name.partition("[")[0] for name in there if name.startswith(files)}
    assert ours - {name.partition("[")[0] for name in named} == set(), "there, and not named"
