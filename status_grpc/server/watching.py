"""What is watched of a server, as its settings say: metrics, and spans of calls. What is off costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog
from grpc_interceptor.server import AsyncServerInterceptor

from status_grpc.domain.addresses import split_host_port
from status_grpc.domain.decisions import Decision
from status_grpc.rpc.health import Health
from status_grpc.server.ports import refused
from status_grpc.server.settings import Settings, SettingsError
from status_grpc.service.feeds import Feeds
from status_grpc.service.following import Following
from status_grpc.storage.dialects import Database
from status_grpc.storage.group_commit import GroupCommit

if TYPE_CHECKING:
    from starlette.middleware import Middleware

    from status_grpc.server.metrics import Metrics
    from status_grpc.server.telemetry import Telemetry

log = structlog.get_logger(__name__)


class Watching:
    """The metrics and the spans of one server process."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError when what the settings ask for is not installed."""
        self._settings = settings
        #: Observes calls, requests and transactions; None when nobody wants to know.
        self.metrics = None if settings.metrics is None else _new_metrics()
        self._telemetry = _new_telemetry() if settings.otel else None

    def look_at(
        self, *, writer: GroupCommit, following: Following, feeds: Feeds, database: Database, health: Health
    ) -> None:
        """Read these from now on, whenever somebody asks."""
        if self.metrics is not None:
            self.metrics.look_at(writer=writer, following=following, feeds=feeds, database=database, health=health)

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

    def start(self) -> None:
        """Serve the metrics. Raises SettingsError when their address is taken."""
        settings = self._settings
        if self.metrics is None or settings.metrics is None:
            return
        host, port = split_host_port(settings.metrics)
        try:
            bound = self.metrics.serve(
                host,
                port,
                cert=settings.tls_cert,
                key=settings.tls_key,
                client_ca=settings.tls_client_ca,
            )
        except OSError as error:
            raise SettingsError(refused("--metrics", settings.metrics, error)) from error
        log.info("serving metrics", address=f"{settings.metrics.rpartition(':')[0]}:{bound}")

    async def close(self) -> None:
        """Serve metrics no more, and send the spans that are left."""
        for part in (self.metrics, self._telemetry):
            if part is not None:
                await asyncio.to_thread(part.close)


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
