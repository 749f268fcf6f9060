"""Answers Prometheus on the metrics port, and health checks: its descriptors are kept back for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson
from prometheus_client import CollectorRegistry, make_asgi_app

from status_grpc.http.hosting.sites import SitePolicy, SiteRefused

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


class MetricsApp:
    """The ASGI application of the metrics port."""

    def __init__(self, registry: CollectorRegistry, sites: SitePolicy, is_ready: Callable[[], bool]) -> None:
        #: Nothing is refused while the server drains: those who ask want to know about just that.
        self.draining = False
        self._sites = sites
        self._is_ready = is_ready
        self._metrics = make_asgi_app(registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer GET /metrics, /healthz and /readyz."""
        path = scope["path"]
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, {"message": "use GET"})
        elif path == "/metrics":
            await self._answer_metrics(scope, receive, send)
        elif path == "/healthz":
            await _answer(send, 200, {"status": "alive"})
        elif path == "/readyz" and self._is_ready():
            await _answer(send, 200, {"status": "ready"})
        elif path == "/readyz":
            await _answer(send, 503, {"message": "not ready: draining, or the database is away"})
        else:
            await _answer(send, 404, {"message": "there are /metrics, /healthz and /readyz"})

    async def _answer_metrics(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._sites.check_host(scope["headers"])
        except SiteRefused as error:
            await _answer(send, 421, {"message": str(error)})
        else:
            await self._metrics(scope, receive, send)

    async def close(self) -> None:
        """Do nothing; there is nothing to let go of."""


async def _answer(send: Send, status: int, content: dict[str, str]) -> None:
    body = orjson.dumps(content)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
