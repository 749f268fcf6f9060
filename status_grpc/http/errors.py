"""Errors as HTTP answers: a status code, and {"message": ...} as the older status service answered."""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from status_grpc.domain import errors
from status_grpc.domain.errors import InvalidArgument, PassingError, StatusError
from status_grpc.edge.incidents import forget_frames, log_failed
from status_grpc.http.edge import caller
from status_grpc.http.grpc_web import grpc_web_error, grpc_web_refusal, speaks_grpc_web

#: The status code of every error of the domain. 429 and 5xx are tried again by the older clients, so they are only for
#: what passes.
STATUS_CODES: dict[type[StatusError], HTTPStatus] = {
    errors.InvalidArgument: HTTPStatus.BAD_REQUEST,
    errors.TraceNotFound: HTTPStatus.NOT_FOUND,
    errors.PathNotFound: HTTPStatus.NOT_FOUND,
    errors.AlreadyExists: HTTPStatus.CONFLICT,
    errors.TraceExists: HTTPStatus.CONFLICT,
    errors.SequenceMismatch: HTTPStatus.CONFLICT,
    errors.TraceNotDone: HTTPStatus.CONFLICT,
    errors.CursorAhead: HTTPStatus.BAD_REQUEST,
    errors.HistoryChanged: HTTPStatus.GONE,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.PermissionDenied: HTTPStatus.FORBIDDEN,
    errors.ResourceExhausted: HTTPStatus.CONFLICT,
    errors.TraceFull: HTTPStatus.CONFLICT,
    errors.Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Draining: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StreamTooOld: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.SlowReader: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
    errors.Internal: HTTPStatus.INTERNAL_SERVER_ERROR,
}


def error_response(error: StatusError) -> JSONResponse:
    """Return the answer that says what went wrong."""
    headers = {}
    if isinstance(error, PassingError):
        headers["Retry-After"] = str(math.ceil(error.retry_after.total_seconds()))
    if isinstance(error, errors.Draining):
        headers["Connection"] = "close"
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"message": _message(error)}, STATUS_CODES[type(error)], headers)


def refusal(scope: MutableMapping[str, Any], error: StatusError) -> Response:
    """Return the error response of the request's protocol."""
    return grpc_web_error(scope, error) if speaks_grpc_web(scope) else error_response(error)


def _message(error: StatusError) -> str:
    if isinstance(error, InvalidArgument):
        # Here the event is the body itself.
        fields = ((v.field.removeprefix("event."), v.description) for v in error.violations[:12])
        return "; ".join(f"{field}: {description}" for field, description in fields)
    return error.message


async def on_status_error(request: Request, error: Exception) -> Response:
    """Answer an error of the domain."""
    assert isinstance(error, StatusError)
    route = getattr(request.scope.get("route"), "path", "")
    log_failed(error, f"{request.method} {route}", request.path_params.get("trace_id"), peer=caller.get())
    forget_frames(error)
    return refusal(request.scope, error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer an error of HTTP itself: no such route, the wrong method, a body that cannot be read."""
    assert isinstance(error, HTTPException)
    return http_refusal(request.scope, error)


def http_refusal(scope: MutableMapping[str, Any], error: HTTPException) -> Response:
    """Return the response to an error of HTTP in the request's protocol."""
    if speaks_grpc_web(scope):
        return grpc_web_refusal(scope, error)
    return JSONResponse({"message": error.detail}, error.status_code, error.headers)
