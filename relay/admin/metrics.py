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
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from prometheus_client.metrics_core import Metric

    from relay.admin.health import State
    from relay.inventory import Posture

__all__ = ["CONTENT_TYPE", "render"]

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_PREFIX: Final = "gatepost_"
_NAMES: Final = {"memory": "memory_bytes"}
"""Where Prometheus' habits ask for a unit in the name."""
_MAX_ENDS: Final = 200
"""Of so many certificates or lists the ends are told: a page must not grow without bounds."""


def render(tally: Tally, state: State, posture: Posture | None = None) -> bytes:
    """Return the page that Prometheus reads; `posture` is how certificates and identities are."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Page(tally, state, posture))
    return generate_latest(registry)


class _Page(Collector):
    def __init__(self, tally: Tally, state: State, posture: Posture | None) -> None:
        self._tally = tally
        self._state = state
        self._posture = posture

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
        if self._posture is not None:
            yield from _posture(self._posture)

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


def _posture(posture: Posture) -> Iterator[Metric]:
    flaws = GaugeMetricFamily(
        f"{_PREFIX}flaws",
        "What is wrong or about to end among certificates, identities and lists.",
        labels=("kind",),
    )
    for kind, number in posture.flaws.items():
        flaws.add_metric((kind,), number)
    yield flaws
    identities = GaugeMetricFamily(
        f"{_PREFIX}identities", "Identities of the allowlist.", labels=("state",)
    )
    for state, number in posture.identities.items():
        identities.add_metric((state,), number)
    yield identities
    ends = GaugeMetricFamily(
        f"{_PREFIX}certificate_expire_time_seconds",
        "When a certificate that is shown or trusted here expires, in seconds since 1970.",
        labels=("use", "name"),
    )
    for (use, name), moment in _earliest(
        ((each.use, each.name), each.certificate.not_after) for each in posture.certificates
    ):
        ends.add_metric((use, name), moment)
    yield ends
    lists = GaugeMetricFamily(
        f"{_PREFIX}revocation_list_next_update_time_seconds",
        "When a revocation list that is held should have a successor, in seconds since 1970.",
        labels=("issuer",),
    )
    for (issuer,), moment in _earliest(
        ((each.issuer,), each.next_update) for each in posture.lists
    ):
        lists.add_metric((issuer,), moment)
    yield lists


def _earliest(
    ends: Iterable[tuple[tuple[str, ...], datetime]],
) -> list[tuple[tuple[str, ...], float]]:
    """The first end of all that have the same labels; the nearest ends if there are very many."""
    found: dict[tuple[str, ...], float] = {}
    for labels, moment in ends:
        end = moment.timestamp()
        found[labels] = min(end, found.get(labels, end))
    return sorted(found.items(), key=lambda each: each[1])[:_MAX_ENDS]


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}{name}", meaning, value=value)
