"""What is watched of a server, as its settings say: metrics, and spans of calls. What is off costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog
from grpc_interceptor.server import AsyncServerInterceptor

from status_grpc.domain.addresses import split_host_port
from status_grpc.domain.decisions import Decision
from status_grpc.http.hosting.server import HostingSettings, HttpServer
from status_grpc.http.hosting.sites import site_policy
from status_grpc.server.descriptors import METRICS_CONNECTIONS
from status_grpc.server.metrics_app import MetricsApp
from status_grpc.server.parts import ServerParts
from status_grpc.server.ports import refused
from status_grpc.server.settings import Settings, SettingsError

if TYPE_CHECKING:
    from starlette.middleware import Middleware

    from status_grpc.server.metrics import Metrics
    from status_grpc.server.telemetry import Telemetry

log = structlog.get_logger(__name__)


#: How long the head of a request for metrics may take to arrive, and a request under way at the end, in seconds.
_REQUEST_SECONDS = 5.0
_CLOSE_SECONDS = 1.0


class Watching:
    """The metrics and the spans of one server process."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError when what the settings ask for is not installed."""
        self._settings = settings
        #: Observes calls, requests and transactions; None when nobody wants to know.
        self.metrics = None if settings.metrics is None else _new_metrics()
        self._telemetry = _new_telemetry() if settings.otel else None
        self._server: HttpServer | None = None

    def look_at(self, parts: ServerParts) -> None:
        """Let metrics read these parts."""
        if self.metrics is not None:
            self.metrics.look_at(parts)

    def interceptors(self) -> list[AsyncServerInterceptor]:
        """Return what goes around all other interceptors of calls."""
        if self._telemetry is None:
            return []
        from status_grpc.rpc.spans import SpanInterceptor

        return [SpanInterceptor(self._telemetry.spans)]

    def around_requests(self) -> list[Middleware]:
        """Return what goes around HTTP requests."""
        from starlette.middleware import Middleware

        from status_grpc.http.watching import CountedRequests, SpannedRequests

        around = []
        if self.metrics is not None:
            around.append(Middleware(CountedRequests, observer=self.metrics))
        if self._telemetry is not None:
            around.append(Middleware(SpannedRequests, spans=self._telemetry.spans))
        return around

    def decided(self, decisions: Sequence[Decision]) -> None:
        """Note what has become of the writes of a transaction."""
        if self.metrics is not None:
            self.metrics.decided(decisions)

    async def start(self, is_ready: Callable[[], bool]) -> None:
        """Serve the metrics. Raises SettingsError when their address is taken."""
        settings = self._settings
        if self.metrics is None or settings.metrics is None:
            return
        host, port = split_host_port(settings.metrics)
        hosting = HostingSettings(
            request_seconds=_REQUEST_SECONDS,
            most_connections=METRICS_CONNECTIONS,
            most_connections_per_address=METRICS_CONNECTIONS // 2,
            tls_cert=settings.tls_cert,
            tls_key=settings.tls_key,
            client_ca=settings.tls_client_ca,
        )
        self._server = HttpServer(
            MetricsApp(self.metrics.registry, site_policy(host, settings.http_hosts or "", ""), is_ready), hosting
        )
        try:
            bound = self._server.bind(host, port)
        except OSError as error:
            raise SettingsError(refused("--metrics", settings.metrics, error)) from error
        await self._server.start()
        log.info("serving metrics", address=f"{settings.metrics.rpartition(':')[0]}:{bound}")

    async def close(self) -> None:
        """Serve metrics no more, and send the spans that are left."""
        if self._server is not None:
            await self._server.stop(_CLOSE_SECONDS)
        if self._telemetry is not None:
            await asyncio.to_thread(self._telemetry.close)


def _new_metrics() -> Metrics:
    from status_grpc.server.metrics import Metrics

    return Metrics()


def _new_telemetry() -> Telemetry:
    try:
        from status_grpc.server.telemetry import Telemetry
    except ImportError as error:
        sentence = f"--otel: {error.name} is missing: install it with pip install 'status-grpc[otel]'"
        raise SettingsError(sentence) from None
    return Telemetry()
