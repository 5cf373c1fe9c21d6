"""Seeded trees."""

from pathlib import Path

import pytest

from towpath.demo.trees import TreeFile, digests, expected_digests, make_tree, uniform

FILES = [*uniform(2, 3, 1000), TreeFile("big", 3 * 1024 * 1024 + 1), TreeFile("deep/er/empty", 0)]


def test_a_tree_is_what_its_seed_says(tmp_path: Path) -> None:
    assert make_tree(tmp_path, FILES, seed=1) == sum(file.size for file in FILES)
    assert digests(tmp_path) == expected_digests(FILES, 1)
    assert {file.path: (tmp_path / file.path).stat().st_size for file in FILES} == dict(FILES)


def test_seed_and_name_both_matter() -> None:
    ones, twos = expected_digests(FILES, 1), expected_digests(FILES, 2)
    empty = "deep/er/empty"
    assert [path for path in ones if ones[path] == twos[path]] == [empty]
    assert len(set(ones.values())) == len(FILES)


@pytest.mark.parametrize("damage", ["flip", "remove", "add"])
def test_damage_shows(tmp_path: Path, damage: str) -> None:
    make_tree(tmp_path, FILES, seed=1)
    victim = tmp_path / "d0001/f0002"
    if damage == "flip":
        content = bytearray(victim.read_bytes())
        content[500] ^= 1
        victim.write_bytes(content)
    elif damage == "remove":
        victim.unlink()
    else:
        (tmp_path / "more").touch()
    assert digests(tmp_path) != expected_digests(FILES, 1)
