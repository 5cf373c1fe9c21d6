"""Circuits: which failures open one, and when a server that is away is asked again."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.errors import GridFTPError, Kind, Scope
from towpath.transfer.circuits import PROBE_MAX_S, probe_after_s, unreachable

OPENING = {
    Kind.AWAY,
    Kind.CONNECT,
    Kind.CONNECTION_LOST,
    Kind.DRAINING,
    Kind.PAUSED,
    Kind.PROTOCOL,
    Kind.TIMEOUT,
}


@pytest.mark.parametrize("kind", Kind)
def test_only_failures_that_anybody_would_meet_open_a_circuit(kind: Kind) -> None:
    error = GridFTPError(kind, "", "h:1")
    assert unreachable(error) is (kind in OPENING)
    if unreachable(error):
        assert error.scope in (Scope.ENDPOINT, Scope.SESSION)
        assert not error.permanent


@given(st.floats(min_value=-1e9, max_value=1e9), st.integers())
def test_the_next_probe_is_soon_whatever_the_clock_says(outage_s: float, seed: int) -> None:
    assert 0.75 <= probe_after_s(outage_s, Random(seed)) <= PROBE_MAX_S


@pytest.mark.parametrize(
    ("outage_s", "found_within_s", "probes"),
    [(5, 1, 8), (30, 3.75, 25), (40, 5, 29), (80, 10, 39), (600, 10, 108)],
)
def test_an_outage_is_found_over_soon_and_with_few_probes(
    outage_s: float, found_within_s: float, probes: int
) -> None:
    """Each probe is refused at once, the first in the moment of the outage."""
    for seed in range(100):
        random, sent, at = Random(seed), 0, 0.0
        while at < outage_s:
            sent += 1
            at += probe_after_s(at, random)
        assert at - outage_s <= found_within_s
        assert sent <= probes
