"""Ids as text."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from towpath.platform import ids


@given(st.uuids())
def test_an_id_is_shown_as_python_shows_it(one: UUID) -> None:
    assert ids.show(one) == str(one)
