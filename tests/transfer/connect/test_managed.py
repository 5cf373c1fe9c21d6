"""What managers set, beside what agents report: pure."""

from typing import Any
from uuid import uuid4

import pytest

from towpath.transfer.connect.managed import Root, changed, overlaid, root_of
from towpath.transfer.store.endpoints import Endpoint, EntityType


def collection(reported: dict[str, Any] | None = None, **managed: Any) -> Endpoint:
    return Endpoint(
        id=uuid4(),
        owner_id=uuid4(),
        owner_string="ana@lab.example",
        display_name="Data",
        host="x.connect.invalid",
        port=2811,
        subject=None,
        data_hosts=(),
        public=True,
        details={"description": "theirs"},
        entity_type=EntityType.COLLECTION,
        base_path="/srv",
        access="rw",
        managed=managed,
        reported=reported,
    )


@pytest.mark.parametrize("site", ["r", "rw"])
@pytest.mark.parametrize("managers", [None, "r", "rw"])
def test_managers_allow_less_and_never_more(site: str, managers: str | None) -> None:
    reported = {"name": "Data", "access": site, "public": True, "details": {}}
    now = overlaid(collection(reported, access=managers))
    assert now.access == ("rw" if site == "rw" and managers != "r" else "r")


@pytest.mark.parametrize(
    ("site", "managers", "shareable"),
    [
        ({}, None, True),
        ({}, False, False),
        ({}, True, True),
        ({"shareable": False}, True, False),
        ({"shareable": False}, None, False),
    ],
)
def test_sharing_needs_both(site: dict[str, Any], managers: bool | None, shareable: bool) -> None:
    reported = {"name": "Data", "access": "rw", "public": True, "details": site}
    managed = {} if managers is None else {"allow_guest_collections": managers}
    assert overlaid(collection(reported, **managed)).shareable is shareable


def test_one_from_before_this_was_kept() -> None:
    """It had no report of its own: what it was then is taken for one."""
    now = changed(collection(), {"display_name": "Tides", "description": None})
    assert (now.display_name, now.details) == ("Tides", {})
    assert now.reported is not None
    assert now.reported["name"] == "Data"
    back = changed(now, {"display_name": None, "description": "ours"})
    assert (back.display_name, back.details) == ("Data", {"description": "ours"})


def test_the_innermost_root_decides() -> None:
    roots = [Root("/srv", "rw"), Root("/srv/archive", "r"), Root("/other/", "rw")]
    assert root_of(roots, "/srv") == roots[0]
    assert root_of(roots, "/srv/archive/1999") == roots[1]
    assert root_of(roots, "/srv/archived") == roots[0]
    assert root_of(roots, "/srvx") is None
    assert root_of([Root("/", "r")], "/anything") == Root("/", "r")
