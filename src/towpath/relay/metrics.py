"""Figures of a relay, for Prometheus."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from towpath.relay.relay import Relay


class _Figures(Collector):
    """What is there at the moment of asking: nothing is counted twice."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay

    def collect(self) -> Iterator[Metric]:
        relay = self._relay
        for name, what, value in (
            ("agents", "Agents that are connected", len(relay.agents)),
            ("handshakes_waiting", "Agents that wait to be let in", relay.front.handshakes_waiting),
            ("strangers", "Connections that have said nothing yet", relay.front.strangers),
            ("controls", "Control connections that are carried", relay.control.count),
            ("listeners", "Ports listened on in agents' places", relay.exchange.listeners),
            ("joins", "Data connections that are joined, or wait to be", relay.exchange.joins),
        ):
            yield GaugeMetricFamily(f"towpath_relay_{name}", what, value)
        yield CounterMetricFamily(
            "towpath_relay_joined_bytes", "Bytes that joins have moved", relay.joiner.moved_bytes
        )


def registry_of(relay: "Relay") -> CollectorRegistry:
    """A registry that asks this relay."""
    registry = CollectorRegistry()
    registry.register(_Figures(relay))
    return registry
