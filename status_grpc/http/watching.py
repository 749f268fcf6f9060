"""What is around requests for those who watch the server: counts, and spans when they are asked for."""

from __future__ import annotations

from collections.abc import MutableMapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from status_grpc.edge.spans import CallSpans

_OTHER = "other"
_SERVER_ERRORS = 500
#: What a proxy would say of a client that has gone before its answer had begun.
_CLIENT_CLOSED_REQUEST = 499


class RequestObserver(Protocol):
    """Is told of every request when it has ended."""

    def requested(self, method: str, route: str, status: int, seconds: float) -> None:
        """Note a request: GET, the pattern of its path, the status of its answer, how long it took."""


class _Answer:
    """Listens to what is sent for its status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = _CLIENT_CLOSED_REQUEST

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


class CountedRequests:
    """Tells an observer of every request."""

    def __init__(self, app: ASGIApp, observer: RequestObserver) -> None:
        self._app = app
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, and tell of it."""
        answer, began = _Answer(send), perf_counter()
        try:
            await self._app(scope, receive, answer)
        finally:
            self._observer.requested(scope["method"], _route(scope), answer.status, perf_counter() - began)


class SpannedRequests:
    """Makes a span of every request that has a route."""

    def __init__(self, app: ASGIApp, spans: CallSpans) -> None:
        self._app = app
        self._spans = spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request within a span."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        method, answer = scope["method"], _Answer(send)
        with self._spans.around(method, headers, {"http.request.method": method}) as span:
            try:
                await self._app(scope, receive, answer)
            finally:
                route = _route(scope)
                span.update_name(f"{method} {route}")
                span.set_attribute("http.route", route)
                span.set_attribute("http.response.status_code", answer.status)
                if answer.status >= _SERVER_ERRORS:
                    self._spans.failed(span, str(answer.status))


def _route(scope: MutableMapping[str, Any]) -> str:
    """Return the pattern of the path that was asked for: of those there are few."""
    return str(getattr(scope.get("route"), "path", _OTHER))
