"""Which agents are served, and which are warned."""

import pytest

from towpath.transfer.connect.versions import NotAVersion, TooOld, check, oldest_served, warning


@pytest.mark.parametrize(
    ("agent", "served", "warned"),
    [
        ("1.5.9", False, False),
        ("1.6.0", True, True),
        ("1.7.3", True, False),
        ("1.8.0", True, False),
        ("2.0.0-rc1", True, False),
        ("0.9.0", False, False),
    ],
)
def test_the_last_two(agent: str, served: bool, warned: bool) -> None:
    assert (warning(agent, "1.7.0") is not None) is warned
    if served:
        check(agent, "1.7.0")
    else:
        with pytest.raises(TooOld, match=r"1\.6"):
            check(agent, "1.7.0")


def test_the_first_of_a_series() -> None:
    assert oldest_served("0.1.0") == "0.0"
    assert oldest_served("2.0.0") == "2.0"
    assert warning("2.0.0", "2.0.0") is None
    with pytest.raises(NotAVersion):
        check("latest", "1.7.0")
