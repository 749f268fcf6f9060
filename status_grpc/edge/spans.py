"""Spans of calls, for OpenTelemetry. Imported only when they are asked for: the package is an extra."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import structlog
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from status_grpc.service.callers import called_with

#: The codes for which a server's span is an error; others are answers that a caller may well expect.
_ERRORS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}


class CallSpans:
    """Makes the span of each call: a child of the caller's, whose trace context what is reported is kept with."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def around(self, name: str, headers: Mapping[str, str], attributes: Mapping[str, str]) -> Iterator[Span]:
        """Run a call within a span. Logs written meanwhile carry its ids, as `otel_trace_id` and `otel_span_id`.

        The text of an exception is not recorded: it may hold what people report.
        """
        with self._tracer.start_as_current_span(
            name,
            context=self._propagator.extract(dict(headers)),
            kind=SpanKind.SERVER,
            attributes=dict(attributes),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            ids = span.get_span_context()
            with (
                called_with(headers),
                structlog.contextvars.bound_contextvars(
                    otel_trace_id=f"{ids.trace_id:032x}", otel_span_id=f"{ids.span_id:016x}"
                ),
            ):
                yield span

    @staticmethod
    def failed(span: Span, error_type: str) -> None:
        """Note that a call failed through no fault of its caller."""
        span.set_attribute("error.type", error_type)
        span.set_status(Status(StatusCode.ERROR))


def set_code(span: Span, code: str) -> None:
    """Note how a call ended, by its gRPC code."""
    span.set_attribute("rpc.response.status_code", code)
    if code in _ERRORS:
        CallSpans.failed(span, code)
