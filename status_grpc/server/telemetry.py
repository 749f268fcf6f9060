"""Sends the spans of calls to where the OTEL_* variables say."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from status_grpc._version import __version__
from status_grpc.edge.spans import CallSpans


class Telemetry:
    """Spans of this process, and their way out, which is a thread of its own."""

    def __init__(self) -> None:
        self._provider = TracerProvider(resource=_resource())
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self.spans = CallSpans(self._provider.get_tracer("status_grpc", __version__))

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def _resource() -> Resource:
    """Return what is said of this process: the name is ours unless a variable gives another one."""
    found = Resource.create({SERVICE_VERSION: __version__})
    if str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        found = found.merge(Resource({SERVICE_NAME: "status-grpc"}))
    return found
