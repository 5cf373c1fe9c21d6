"""A listener misses no event and holds few, whatever comes when."""

from unittest.mock import patch
from uuid import uuid4

from hypothesis import given, settings
from hypothesis import strategies as st

from towpath.transfer.live import listener
from towpath.transfer.live.listener import Listener

PAGE = 5
"""Events that are read at once, by the hub and by the stream."""
KEPT = 5

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["happen", "hub looks", "hub looks", "stream", "stream", "vanish"]),
        st.integers(1, 9),
    ),
    min_size=5,
    max_size=40,
)


class World:
    """A task's events in the database, the hub, and one stream that began with event `after`."""

    def __init__(self, before: int, after: int) -> None:
        self.log = list(range(1, before + 1))
        self.happened = before
        self.hub = before
        """The last event that the hub has seen."""
        self.listener = Listener(uuid4(), 1, after)
        self.sent: list[int] = []
        self.gone: set[int] = set()
        self.asked: tuple[int, list[int]] | None = None
        """The newest event then, and what the database answers."""
        self.listener.put_events(before, [], after=before)
        self.listener.put_state(1, b"", None)

    def page(self, after: int) -> list[int]:
        return [number for number in self.log if number > after][:PAGE]

    def step(self, what: str, count: int) -> None:
        if what == "happen":
            self.log += range(self.happened + 1, self.happened + count + 1)
            self.happened += count
        elif what == "hub looks" and self.log and self.log[-1] > self.hub:
            found = [(number, b"%d " % number) for number in self.page(self.hub)]
            self.listener.put_events(self.log[-1], found, after=self.hub)
            self.hub = self.log[-1]
        elif what == "stream":
            self.stream()
        elif what == "vanish":  # as when progress of long ago is put together
            self.gone |= set(self.log[:-1:3])
            self.log = [number for number in self.log if number not in self.gone]

    def take(self) -> None:
        self.sent += map(int, self.listener.take().split())

    def stream(self) -> None:
        """Half a turn: what it asks the database is answered in the other half."""
        one = self.listener
        if self.asked is None:
            self.take()
            if one.behind:
                self.asked = one.newest, self.page(one.cursor)
            return
        (newest, found), self.asked = self.asked, None
        more, read = len(found) == PAGE, max([one.cursor, *found])
        one.caught_up(read if more else max(read, newest), more=more)
        self.sent += found


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), STEPS)
def test_every_event_once_in_order(before: int, after: int, steps: list[tuple[str, int]]) -> None:
    with patch.object(listener, "EVENTS_KEPT", KEPT):
        world = World(before, min(after, before))
        for step in steps:
            world.step(*step)
            assert len(world.listener._events) <= KEPT
        world.step("hub looks", 0)
        while world.listener.behind or world.asked is not None:
            world.stream()
        world.take()
    assert world.sent == sorted(set(world.sent))
    wanted = set(range(min(after, before) + 1, world.happened + 1))
    assert wanted - world.gone <= set(world.sent) <= wanted


def test_the_end_waits_for_the_events() -> None:
    one = Listener(uuid4(), 1)
    one.put_events(2, [], after=2)
    one.put_state(1, b"state ", b"end")
    assert one.behind
    assert (one.take(), one.over) == (b"state ", False)
    one.caught_up(2, more=False)
    assert (one.take(), one.over) == (b"end", True)


def test_what_it_was_not_told_is_read() -> None:
    one = Listener(uuid4(), 1)
    one.caught_up(3, more=False)
    one.put_events(7, [(6, b"6"), (7, b"7")], after=5)
    assert one.behind
    assert (one.cursor, one.take()) == (3, b"")
