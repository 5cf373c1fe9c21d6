"""The host name of agents."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.tunnel.names import connect_host, endpoint_of_host
from towpath.tunnel.tickets import is_ticket, new_ticket


@given(st.uuids())
def test_the_endpoint_is_found_in_its_hosts_name(endpoint_id: UUID) -> None:
    host = connect_host(endpoint_id)
    assert host == f"{endpoint_id}.connect.invalid"
    assert endpoint_of_host(host) == endpoint_of_host(host.upper() + ".") == endpoint_id


@pytest.mark.parametrize(
    "host",
    [
        "",
        "connect.invalid",
        "localhost",
        "go.example.org",
        "x.connect.invalid",
        "{00000000-0000-4000-8000-000000000001}.connect.invalid",
        "00000000000040008000000000000001.connect.invalid",
        "00000000-0000-4000-8000-000000000001.connect.invalid.example.org",
        "a.00000000-0000-4000-8000-000000000001.connect.invalid",
    ],
)
def test_other_hosts_are_ordinary(host: str) -> None:
    assert endpoint_of_host(host) is None


def test_tickets_differ_and_are_known_by_their_form() -> None:
    tickets = {new_ticket() for _ in range(100)}
    assert len(tickets) == 100
    assert all(map(is_ticket, tickets))
    assert not any(map(is_ticket, ["", "a" * 42, "a" * 44, "a" * 42 + "\n", "ä" * 43]))
