"""Keeps the figures of one table and writes them out for Prometheus. What they mean, others decide."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from segue.model.metrics import Metric, Sample, Sort

Look = Callable[[], Iterable[Sample]]


class Meter:
    """One program's figures. Counters and histograms are booked; gauges are looked at when somebody asks."""

    def __init__(self, table: Sequence[Metric]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # Else each counter had a second series.
        self._registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        self._gauges = _Gauges([metric for metric in table if metric.sort is Sort.GAUGE])
        ProcessCollector(registry=self._registry)
        self._registry.register(self._gauges)
        for metric in table:
            if metric.sort is Sort.COUNTER:
                name = metric.name.removesuffix("_total")
                self._counters[metric.name] = Counter(
                    name, metric.help, metric.labels, registry=self._registry
                )
            elif metric.sort is Sort.HISTOGRAM:
                self._histograms[metric.name] = Histogram(
                    metric.name, metric.help, metric.labels, registry=self._registry, buckets=metric.bounds
                )

    def shows(self, look: Look) -> None:
        """From now on the gauges are asked of this, too."""
        self._gauges.looks.append(look)

    def expect(self, name: str, *labels: str) -> None:
        """The series is there from the beginning: one that comes with its first event hides that from `increase`."""
        (self._counters.get(name) or self._histograms[name]).labels(*labels)

    def count(self, name: str, *labels: str, by: float = 1.0) -> None:
        """Adds to a counter of the table."""
        counter = self._counters[name]
        (counter.labels(*labels) if labels else counter).inc(by)

    def observe(self, name: str, value: float, *labels: str) -> None:
        """One more sample of a histogram of the table."""
        histogram = self._histograms[name]
        (histogram.labels(*labels) if labels else histogram).observe(value)

    def text(self, accept: str) -> tuple[bytes, str]:
        """All of it and its media type: OpenMetrics for whoever asks for that, else Prometheus' text."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type


class _Gauges(Collector):
    """One family for each gauge of the table, with whatever samples there are now."""

    def __init__(self, table: Sequence[Metric]) -> None:
        self._table = table
        self.looks: list[Look] = []

    def describe(self) -> Iterable[Family]:
        return [self._family(metric) for metric in self._table]

    def collect(self) -> Iterable[Family]:
        families = {metric.name: self._family(metric) for metric in self._table}
        for look in self.looks:
            for sample in look():
                families[sample.name].add_metric(sample.labels, sample.value)
        return families.values()

    def _family(self, metric: Metric) -> GaugeMetricFamily:
        return GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
