"""Requests of Connect and gRPC-Web as HTTP requests: what is none of them is refused before connectrpc sees it."""

from __future__ import annotations

from contextvars import ContextVar
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from status_grpc.domain.errors import SlowReader
from status_grpc.edge.incidents import forget_frames, log_failed
from status_grpc.http.bodies import read_body
from status_grpc.http.edge import Edge, caller
from status_grpc.http.grpc_web import grpc_web_refusal, speaks_grpc_web
from status_grpc.http.streaming import bounded, cut

#: The errors that the call being answered has raised into connectrpc.
raised_errors: ContextVar[list[BaseException]] = ContextVar("raised_errors")

_GRPC_WEB = ("application/grpc-web", "application/grpc-web+proto", "application/grpc-web+json")
_UNARY_TYPES = ("application/json", "application/proto", *_GRPC_WEB)
_STREAM_TYPES = ("application/connect+json", "application/connect+proto", *_GRPC_WEB)

#: The code of Connect that goes with what HTTP itself objects to.
_CODES = {
    HTTPStatus.BAD_REQUEST: "invalid_argument",
    HTTPStatus.REQUEST_TIMEOUT: "deadline_exceeded",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "resource_exhausted",
}


class CheckedRequests:
    """The requests of one call; `safe`: it may also be made by GET."""

    def __init__(self, app: ASGIApp, edge: Edge, *, streams: bool, safe: bool) -> None:
        self._app = app
        self._edge = edge
        self._types = _STREAM_TYPES if streams else _UNARY_TYPES
        self._methods = ("GET", "POST") if safe and not streams else ("POST",)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            scope = {**scope, "headers": self._headers(scope)}
            body = await read_body(Request(scope, receive), self._edge)
        except HTTPException as error:
            await _refusal(scope, error)(scope, receive, send)
            return
        except ClientDisconnect:
            return
        raised: list[BaseException] = []
        raised_errors.set(raised)
        try:
            sending = bounded(send, self._edge.write_timeout_seconds)
            await self._app(scope, _replayed(body, receive), sending)
        except SlowReader as error:
            log_failed(error, scope["path"], None, peer=caller.get())
            await cut(scope, receive)
        finally:
            # connectrpc keeps the error in a frame that the error keeps.
            for each in raised:
                forget_frames(each)

    def _headers(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """Return the headers, the content type without its parameters. Raises HTTPException."""
        if scope["method"] not in self._methods:
            allowed = ", ".join(self._methods)
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, f"use {' or '.join(self._methods)}", {"Allow": allowed})
        try:
            b"".join(part for header in scope["headers"] for part in header).decode()
            scope["query_string"].decode()
        except UnicodeDecodeError:
            raise HTTPException(HTTPStatus.BAD_REQUEST, "the request's head is not valid UTF-8") from None
        if scope["method"] == "GET":
            return list(scope["headers"])
        kind = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
        if kind not in self._types:
            accepted = ", ".join(self._types)
            raise HTTPException(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                f"Content-Type is {kind[:100]!r}; this call takes: {accepted}",
                {"Accept-Post": accepted},
            )
        others = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
        return [*others, (b"content-type", kind.encode())]


def _refusal(scope: Scope, error: HTTPException) -> Response:
    if speaks_grpc_web(scope):
        return grpc_web_refusal(scope, error)
    content = {"code": _CODES.get(HTTPStatus(error.status_code), "unimplemented"), "message": error.detail}
    return JSONResponse(content, error.status_code, error.headers)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body, which has been read, and then goes on as the other does."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed
