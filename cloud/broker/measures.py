"""The broker client's counters as Prometheus reads them, at the moment it asks."""

from collections.abc import Iterator
from dataclasses import asdict

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from cloud.broker.client import BrokerClient


def measure_broker(registry: CollectorRegistry, client: BrokerClient) -> None:
    """Puts the client's counters and whether its line is up on the registry."""
    registry.register(_Measures(client))


class _Measures(Collector):
    def __init__(self, client: BrokerClient) -> None:
        self._client = client

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """One counter with a sample for each thing counted, and one gauge."""
        messages = CounterMetricFamily("doorstep_broker", "What passed the broker client.", labels=("what",))
        for what, count in asdict(self._client.counters).items():
            messages.add_metric((what,), count)
        yield messages
        yield GaugeMetricFamily("doorstep_broker_up", "1 while the line is up.", value=float(self._client.is_up))
