"""Sends spans to an OpenTelemetry collector (OTLP over HTTP), from a thread of its own.

It must never hold up a migration: whoever hands spans in does not wait, and what the collector does not take is lost.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from segue.model.trace import Span, Trace

log = structlog.get_logger()
Batch = tuple[Trace, Sequence[Span]]
Booked = Callable[[str, int], None]
"""(result, number of spans)."""

RESULTS: Final = ("sent", "failed", "dropped")
WAITING_MOST: Final = 256
TRY_S: Final = 10.0
"""With the exporter's own repetitions."""


def wrong(url: str) -> str:
    """Why nothing could be sent there; empty where it could, or where nothing is wanted."""
    parts = urlsplit(url)
    well = not url or (parts.scheme in {"http", "https"} and parts.hostname and parts.path not in {"", "/"})
    return "" if well else f"'{url}' is no whole URL, such as http://192.0.2.9:4318/v1/traces"


class Sender:
    """For one service. `instance`: the host, or the controller's name."""

    def __init__(self, url: str, service: str, instance: str, booked: Booked) -> None:
        self._waiting: queue.Queue[Batch] = queue.Queue(WAITING_MOST)
        self._booked = booked
        # All that is needed is imported here, at the start: it takes a while, and holds up everything meanwhile.
        self._otlp = _Otlp(url, service, instance)
        threading.Thread(target=self._work, name="spans", daemon=True).start()

    def send(self, trace: Trace, spans: Sequence[Span]) -> None:
        """Returns at once. Nothing is sent of a trace that its caller did not want to be recorded."""
        if not trace.id or not trace.sampled or not spans:
            return
        try:
            self._waiting.put_nowait((trace, spans))
        except queue.Full:
            self._booked("dropped", len(spans))

    def _work(self) -> None:
        while True:
            trace, spans = self._waiting.get()
            result = "failed"
            try:
                result = "sent" if self._otlp.export(trace, spans) else "failed"
            except Exception as error:  # noqa: BLE001 - whatever it was, it is not a migration's concern
                log.error("spans not sent", trace=trace.id, error=repr(error))
            if result == "failed":
                log.warning("the collector did not take spans", trace=trace.id, spans=len(spans))
            self._booked(result, len(spans))


class _Otlp:
    """The only place that knows OpenTelemetry's SDK."""

    def __init__(self, url: str, service: str, instance: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        from segue import __version__

        logging.getLogger("opentelemetry").setLevel(
            logging.CRITICAL
        )  # We say ourselves what became of spans.
        self._exporter = OTLPSpanExporter(endpoint=url, timeout=TRY_S)
        self._resource = Resource.create(
            {
                "service.name": service,
                "service.namespace": "segue",
                "service.instance.id": instance,
                "service.version": __version__,
                "host.name": instance,
            }
        )
        self._scope = InstrumentationScope("segue", __version__)

    def export(self, trace: Trace, spans: Sequence[Span]) -> bool:
        from opentelemetry.sdk.trace.export import SpanExportResult

        done = self._exporter.export([self._span(trace, span) for span in spans])
        return done is SpanExportResult.SUCCESS

    def _span(self, trace: Trace, span: Span) -> Any:
        from opentelemetry.sdk.trace import Event, ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
        from opentelemetry.trace.status import Status, StatusCode

        def context(number: str, *, remote: bool = False) -> SpanContext:
            flags = TraceFlags(TraceFlags.SAMPLED)
            return SpanContext(int(trace.id, 16), int(number, 16), remote, flags)

        is_entry = span.id == trace.span
        status = Status(StatusCode.ERROR, span.fault) if span.fault else Status(StatusCode.OK)
        return ReadableSpan(
            name=span.name,
            context=context(span.id),
            parent=context(span.parent, remote=is_entry) if span.parent else None,
            resource=self._resource,
            attributes=dict(span.attributes),
            events=[Event(what, timestamp=_ns(at_s)) for what, at_s in span.events],
            kind=SpanKind.SERVER if is_entry and span.parent else SpanKind.INTERNAL,
            status=status,
            start_time=_ns(span.began_s),
            end_time=_ns(span.ended_s),
            instrumentation_scope=self._scope,
        )


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
