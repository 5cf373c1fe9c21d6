"""A little of each campaign, always the same; and one that takes minutes."""

from pathlib import Path

import pytest

from fuzz.campaign import EscapeError, run
from fuzz.ground import SECRET, Ground, check_told
from fuzz.targets import TARGETS

SEED = "1"

INPUTS = {
    "parser": 60,
    "session": 60,
    "acceptor": 60,
    "control": 20,
    "mode_e": 20,
    "mode_s": 20,
    "handshake": 30,
    "paths": 30,
    "statements": 25,
}
"""About a second each."""

LONG_S = 60.0

GROWTH_BYTES = 24 * 1024 * 1024


@pytest.mark.parametrize("name", TARGETS)
def test_a_little(name: str, tmp_path: Path) -> None:
    outcome = run(name, TARGETS[name], tmp_path, seed=SEED, inputs=INPUTS[name])
    assert outcome.is_clean, "\n".join(outcome.findings)
    assert outcome.inputs == INPUTS[name]


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_for_long(name: str, tmp_path: Path) -> None:
    outcome = run(name, TARGETS[name], tmp_path, seed=SEED, seconds=LONG_S)
    assert outcome.is_clean, "\n".join(outcome.findings)
    assert outcome.growth_bytes < GROWTH_BYTES


def test_what_happens_outside_is_seen(tmp_path: Path) -> None:
    """The judge of the other tests."""
    ground = Ground(tmp_path)
    ground.compare()
    for change in (
        (ground.outside / "new").touch,
        lambda: (ground.outside / "secret").write_bytes(SECRET * 10),
        lambda: (ground.outside / "dir").chmod(0o700),
        (tmp_path / "beside").touch,
        (ground.outside / "new").unlink,
    ):
        change()
        with pytest.raises(EscapeError):
            ground.compare()
        ground.compare()
    with pytest.raises(EscapeError):
        check_told(b"150 x " + SECRET)
