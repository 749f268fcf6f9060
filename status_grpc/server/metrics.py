"""What a server process tells Prometheus. The only module that knows of it; docs/operations.md explains every metric.

Calls and transactions are counted as they happen. Everything else is read from the parts of the server when somebody
asks: it costs nothing until then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import grpc
from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from tracestatus.v1 import status_service_pb2 as pb

from status_grpc._version import __version__
from status_grpc.domain.decisions import Decision, Recorded, Replayed

if TYPE_CHECKING:
    from status_grpc.server.parts import ServerParts

# Else there is for each counter a second one with the time of the start, which the process has already.
disable_created_metrics()  # type: ignore[no-untyped-call]

_SERVICE = pb.DESCRIPTOR.services_by_name["StatusService"]
#: Method -> its type: the names of metrics and labels are those that gRPC servers in other languages use.
_TYPES = {method.name: "server_stream" if method.server_streaming else "unary" for method in _SERVICE.methods}
#: A client may call its method what it likes.
_HTTP_METHODS = {"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"}
_CALL_LABELS = ["grpc_type", "grpc_service", "grpc_method"]
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_COMMANDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of this process; observes calls and transactions."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        began = Counter("grpc_server_started", "Calls that have begun.", _CALL_LABELS, registry=registry)
        ended = Counter("grpc_server_handled", "Calls that ended.", [*_CALL_LABELS, "grpc_code"], registry=registry)
        took = Histogram(
            "grpc_server_handling_seconds", "How long calls took.", _CALL_LABELS, buckets=_SECONDS, registry=registry
        )
        # Looking a child up by its labels costs more than counting.
        labels = {method: (kind, _SERVICE.full_name, method) for method, kind in _TYPES.items()}
        self._began = {method: began.labels(*labels[method]).inc for method in labels}
        self._took = {method: took.labels(*labels[method]).observe for method in labels}
        self._ended = {
            (method, code.name): ended.labels(*labels[method], code.name).inc
            for method in labels
            for code in grpc.StatusCode
        }
        self._requests = Counter(
            "status_grpc_http_requests", "HTTP requests that ended.", ["method", "route", "status"], registry=registry
        )
        self._request_seconds = Histogram(
            "status_grpc_http_request_seconds",
            "How long HTTP requests took.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._commits = Histogram(
            "status_grpc_commit_seconds", "How long transactions took.", buckets=_SECONDS, registry=registry
        )
        self._batches = Histogram(
            "status_grpc_commit_writes", "Writes per transaction.", buckets=_COMMANDS, registry=registry
        )
        self._waits = Histogram(
            "status_grpc_commit_wait_seconds",
            "How long the first write of a transaction had waited for it.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._failures = Counter(
            "status_grpc_commit_failures", "Transactions that were not committed, or not surely.", registry=registry
        )
        self._recorded = Counter("status_grpc_events_recorded", "Events that were stored.", registry=registry)
        self._repeated = Counter(
            "status_grpc_events_repeated", "Writes that had been stored before, and were recognised.", registry=registry
        )

    def began(self, method: str) -> None:
        """Note that a call has begun."""
        self._began[method]()

    def ended(self, method: str, code: str, seconds: float) -> None:
        """Note that a call has ended with this code, after so many seconds."""
        self._ended[method, code]()
        self._took[method](seconds)

    def requested(self, method: str, route: str, status: int, seconds: float) -> None:
        """Note an HTTP request."""
        self._requests.labels(method if method in _HTTP_METHODS else "other", route, status).inc()
        self._request_seconds.labels(route).observe(seconds)

    def committed(self, commands: int, waited: float, took: float, *, failed: bool) -> None:
        """Note a transaction."""
        self._batches.observe(commands)
        self._waits.observe(waited)
        self._commits.observe(took)
        if failed:
            self._failures.inc()

    def decided(self, decisions: Sequence[Decision]) -> None:
        """Note what has become of the writes of a transaction."""
        self._recorded.inc(sum(type(decision) is Recorded for decision in decisions))
        self._repeated.inc(sum(type(decision) is Replayed for decision in decisions))

    def look_at(self, parts: ServerParts) -> None:
        """Read these for each answer from now on."""
        self.registry.register(_Looking(parts))


class _Looking(Collector):
    """Reads the state of the server's parts, for each answer anew."""

    def __init__(self, parts: ServerParts) -> None:
        self._parts = parts

    def collect(self) -> Iterable[Metric]:
        """Yield what there is to see now."""
        build = GaugeMetricFamily("status_grpc_build_info", "The version that runs; always 1.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        yield _gauge(
            "status_grpc_ready", "1 if calls can be served: as the readiness probe says.", self._parts.health.ready
        )
        yield _gauge(
            "status_grpc_loop_lag_seconds",
            "The longest time in the last minute that the event loop was late.",
            self._parts.pulse.worst_lag,
        )
        yield from self._queue()
        yield from self._followers()
        yield from self._feed()
        yield from self._connections()

    def _queue(self) -> Iterator[Metric]:
        commands, size = self._parts.writer.queued
        yield _gauge("status_grpc_queue_writes", "Writes that wait to be committed.", commands)
        yield _gauge("status_grpc_queue_bytes", "Bytes of events that wait to be committed.", size)

    def _followers(self) -> Iterator[Metric]:
        following = self._parts.following
        lags = following.lags()
        yield _gauge("status_grpc_followers", "Streams and waits that are open.", following.followers)
        yield _gauge("status_grpc_followers_behind", "Streams that have yet to be given events.", sum(map(bool, lags)))
        yield _gauge(
            "status_grpc_follower_lag_events", "Events that the last of the streams is behind.", max(lags, default=0)
        )

    def _feed(self) -> Iterator[Metric]:
        counts = self._parts.feeds.counts
        yield _by_cause(
            "status_grpc_feed_reads", "Readings of the change feed.", counts.hinted_reads, counts.polled_reads
        )
        yield _by_cause(
            "status_grpc_feed_changes",
            "Changes that were read from the change feed.",
            counts.hinted_changes,
            counts.polled_changes,
        )
        yield _counter(
            "status_grpc_feed_comparisons", "Comparisons of all that is followed with the database.", counts.comparisons
        )
        yield _counter("status_grpc_feed_failures", "Readings of the change feed that failed.", counts.failures)
        yield _gauge("status_grpc_followed_traces", "Traces that are followed.", self._parts.feeds.traces)

    def _connections(self) -> Iterator[Metric]:
        used = GaugeMetricFamily("status_grpc_database_connections_used", "Connections in use.", labels=["pool"])
        most = GaugeMetricFamily("status_grpc_database_connections_limit", "Connections at most.", labels=["pool"])
        for name, (in_use, limit) in self._parts.database.connections().items():
            used.add_metric([name], in_use)
            most.add_metric([name], limit)
        yield used
        yield most


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _by_cause(name: str, text: str, hint: int, poll: int) -> Metric:
    family = CounterMetricFamily(name, text, labels=["cause"])
    family.add_metric(["hint"], hint)
    family.add_metric(["poll"], poll)
    return family


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)
