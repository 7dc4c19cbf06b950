"""Figures in Prometheus' text format: what the workers have counted together.

Reads the tally when it is asked and keeps nothing itself. Names are a promise, as audit fields are: one
may be added, never renamed.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from relay import __version__
from relay.net.label_table import LABELLED
from relay.net.tally import COUNTERS, GAUGES, SECONDS, Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from relay.admin.health import State

__all__ = ["CONTENT_TYPE", "render"]

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_PREFIX: Final = "gatepost_"
_NAMES: Final = {"memory": "memory_bytes"}
"""Where Prometheus' habits ask for a unit in the name."""


def render(tally: Tally, state: State) -> bytes:
    """Return the page that Prometheus reads."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Page(tally, state))
    return generate_latest(registry)


class _Page(Collector):
    def __init__(self, tally: Tally, state: State) -> None:
        self._tally = tally
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """All figures; called by `generate_latest`."""
        yield InfoMetricFamily(
            f"{_PREFIX}build", "The version that runs.", value={"version": __version__}
        )
        yield _gauge("up", "Whether this relay takes mail.", not self._state.problem)
        yield _gauge("workers_ready", "Workers that take mail.", self._state.ready_workers)
        yield _gauge("workers_wanted", "Workers there should be.", self._state.wanted_workers)
        yield _gauge("generation", "Reloads since the start.", self._state.generation)
        for name, meaning in COUNTERS.items():
            value = self._tally.total(name)
            if name in GAUGES:
                yield _gauge(_NAMES.get(name, name), meaning, value)
            else:
                yield CounterMetricFamily(f"{_PREFIX}{name}", meaning, value=value)
        for name in LABELLED:
            yield self._labelled(name)
        yield self._delivery_seconds()

    def _labelled(self, name: str) -> Metric:
        meaning, labels, _, is_gauge = LABELLED[name]
        kind = GaugeMetricFamily if is_gauge else CounterMetricFamily
        family = kind(f"{_PREFIX}{name}", meaning, labels=labels)
        for values, value in sorted(self._tally.labelled(name).items()):
            family.add_metric(values, value)
        return family

    def _delivery_seconds(self) -> Metric:
        counts, total = self._tally.times()
        bounds = (*map(str, SECONDS), "+Inf")
        buckets = list(zip(bounds, accumulate(counts), strict=True))
        meaning = "How long next hops took for messages."
        return HistogramMetricFamily(f"{_PREFIX}delivery_seconds", meaning, buckets, total)


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}{name}", meaning, value=value)
