"""Puts the HTTP edge together: the routes, and what is around every request."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from status_grpc.domain.errors import Draining, StatusError
from status_grpc.edge.incidents import forget_frames, unforeseen
from status_grpc.http.connect import connect_routes
from status_grpc.http.edge import Edge, caller, caller_of
from status_grpc.http.errors import http_refusal, on_http_error, on_status_error, refusal
from status_grpc.http.events import come_back, event_routes, wants_events
from status_grpc.http.health import health_routes
from status_grpc.http.hosting.sites import SitePolicy, SiteRefused
from status_grpc.http.hosting.strict_connection import HEAD_BYTES, HEAD_TOO_LARGE
from status_grpc.http.openlineage import lineage_routes
from status_grpc.http.status import status_routes

#: What browsers may read of an answer beside its body.
_EXPOSED_HEADERS = ["Retry-After", "Grpc-Status", "Grpc-Message", "Grpc-Status-Details-Bin"]
#: How long a browser may remember that it may call, in seconds.
_CORS_SECONDS = 7200
#: What is answered while the server drains: those who ask want to know about just that.
_HEALTH_PATHS = ("/healthz", "/readyz")


class HttpApp:
    """The ASGI application."""

    def __init__(self, edge: Edge, sites: SitePolicy, *, prefix: str = "", around: Sequence[Middleware] = ()) -> None:
        """`around` goes around every request, outside of what refuses it."""
        self.sites = sites
        #: Whether new requests are refused, health checks aside.
        self.draining = False
        self._prefix = prefix
        self._json = edge.json
        self._upstream = edge.upstream
        self.proxies = edge.proxies
        self._app = Starlette(
            routes=[
                *health_routes(edge),
                *status_routes(edge),
                *connect_routes(edge),
                *event_routes(edge),
                *lineage_routes(edge),
            ],
            middleware=[
                *_shared_with(sites.origins),
                *around,
                Middleware(_Guard, app_of=self),
            ],
            exception_handlers={StatusError: on_status_error, HTTPException: on_http_error},
        )
        self._app.router.redirect_slashes = False

    async def close(self) -> None:
        """Let go of what requests have needed; no more may come."""
        await self._json.close()
        if self._upstream is not None:
            await self._upstream.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; its path may begin with the prefix."""
        if self._prefix and scope["path"].startswith(self._prefix + "/"):
            scope = {**scope, "path": scope["path"][len(self._prefix) :]}
        await self._app(scope, receive, send)


def _shared_with(origins: Collection[str]) -> list[Middleware]:
    """Return what lets pages of these origins read answers (https://fetch.spec.whatwg.org/#http-cors-protocol)."""
    if not origins:
        return []
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=_EXPOSED_HEADERS,
        max_age=_CORS_SECONDS,
    )
    return [cors]


class _Guard:
    """Refuses requests of strange pages, and all while the server drains.

    An unforeseen failure is answered with the id of its log line.
    """

    def __init__(self, app: ASGIApp, app_of: HttpApp) -> None:
        self._app = app
        self._of = app_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        caller.set(caller_of(HTTPConnection(scope), self._of.proxies))
        answer = self._refusal(scope)
        if answer is not None:
            await answer(scope, receive, send)
            return
        try:
            await self._app(scope, receive, sending)
        except (asyncio.CancelledError, StatusError, HTTPException):
            raise
        except ClientDisconnect:
            pass  # nobody is there to be told
        except Exception as failure:
            trace_id = scope.get("path_params", {}).get("trace_id")
            error = unforeseen(failure, f"{scope['method']} of HTTP", trace_id=trace_id, peer=caller.get())
            forget_frames(failure)
            if started:
                raise  # the connection is closed, so that nobody takes what was sent for the whole
            await refusal(scope, error)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is not even looked at."""
        if _head_bytes(scope) > HEAD_BYTES:
            # Uvicorn refuses a head that is too large only while it waits for more of it.
            error = HTTPException(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, HEAD_TOO_LARGE)
            return http_refusal(scope, error)
        if scope["path"] in _HEALTH_PATHS:
            return None
        try:
            self._of.sites.check_host(scope["headers"])
            self._of.sites.check_origin(scope["method"], scope["headers"])
        except SiteRefused as error:
            status = HTTPStatus.MISDIRECTED_REQUEST if error.wrong_host else HTTPStatus.FORBIDDEN
            return http_refusal(scope, HTTPException(status, str(error)))
        if self._of.draining:
            return come_back(Draining()) if wants_events(Request(scope)) else refusal(scope, Draining())
        return None


def _head_bytes(scope: Scope) -> int:
    fields = sum(len(name) + len(value) for name, value in scope["headers"])
    return fields + len(scope.get("raw_path", b"")) + len(scope["query_string"])
