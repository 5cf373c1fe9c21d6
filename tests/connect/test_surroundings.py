"""Sleep, another address, and waits that grow."""

from towpath.connect.retrying import FIRST_S, LONGEST_S, Waits
from towpath.connect.shared_pace import Meter
from towpath.connect.surroundings import (
    LOOK_S,
    MISSED_S,
    Change,
    Hope,
    Lookout,
    is_ours,
    local_address,
)


def test_a_lookout_sees_sleep_and_another_address() -> None:
    now, way, has = [100.0], ["192.168.1.5"], [True]
    lookout = Lookout(
        ours="192.168.1.5",
        theirs=("192.0.2.1", 443),
        clock=lambda: now[0],
        way=lambda _host, _port: way[0],
        has=lambda _host: has[0],
    )

    def after(seconds: float) -> Change:
        now[0] += seconds
        return lookout.look()

    assert after(LOOK_S + 2) is Change.NONE, "a busy machine"
    assert after(LOOK_S + MISSED_S + 1) is Change.SLEPT
    assert after(LOOK_S) is Change.NONE
    way[0] = "10.0.0.7"
    assert after(LOOK_S) is Change.REROUTED, "the old address is there still"
    has[0] = False
    assert after(LOOK_S) is Change.MOVED
    way[0] = None  # type: ignore[call-overload]
    assert after(LOOK_S) is Change.CUT_OFF


def test_who_waits_for_a_network_sees_it_come() -> None:
    now, addresses = [100.0], [("10.0.0.7", None)]
    hope = Hope(clock=lambda: now[0], addresses=lambda: addresses[0])  # type: ignore[arg-type, return-value]

    def after(seconds: float) -> bool:
        now[0] += seconds
        return hope.look()

    assert not after(LOOK_S)
    addresses[0] = (None, None)  # type: ignore[assignment]
    assert not after(LOOK_S), "without a network there is nothing to try"
    addresses[0] = ("192.168.1.5", None)
    assert after(LOOK_S)
    assert not after(LOOK_S)
    assert after(LOOK_S + MISSED_S + 1)


def test_addresses_of_this_machine() -> None:
    assert local_address("127.0.0.1", 9) == "127.0.0.1"
    assert is_ours("127.0.0.1")
    assert not is_ours("192.0.2.1")


def test_waits_grow_and_are_spread() -> None:
    longest = Waits(lambda _low, high: high)
    waits = [longest.next_s() for _ in range(8)]
    assert waits[:3] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S]
    assert waits[-1] == LONGEST_S
    longest.reset()
    assert longest.next_s() == FIRST_S
    shortest = Waits(lambda low, _high: low)
    assert shortest.next_s() == 0.0, "the agents of a relay that went come back spread"
    assert shortest.next_s() > 0, "and who was not answered does not hurry"


def test_a_meter_reads_a_rate() -> None:
    now, moved = [0.0], [0]
    meter = Meter(lambda: moved[0], lambda: now[0])
    assert meter.rate == 0.0
    for _ in range(20):
        now[0] += 1
        moved[0] += 1000
        meter.read()
    assert meter.rate == 1000
    for _ in range(20):
        now[0] += 1
        meter.read()
    assert meter.rate == 0.0
