"""Refusals in the form of gRPC-Web.

Its clients read neither the status code of HTTP nor JSON. By
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md the answer is 200, and its body a frame of trailers.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from google.rpc import status_pb2
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response

from status_grpc.domain.errors import (
    DeadlineExceeded,
    FieldViolation,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    StatusError,
)
from status_grpc.wire.codes import Code
from status_grpc.wire.errors import encode_error

_TYPE = "application/grpc-web"
_TEXT_TYPE = "application/grpc-web-text"
#: The flag of a frame that holds trailers.
_TRAILERS = 0x80
#: What of a message goes as it is; the rest is percent-encoded.
_PLAIN = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"


def speaks_grpc_web(scope: MutableMapping[str, Any]) -> bool:
    """Return whether a request is one of gRPC-Web."""
    return _content_type(scope).startswith(_TYPE)


def grpc_web_error(scope: MutableMapping[str, Any], error: StatusError) -> Response:
    """Return the response of gRPC-Web for an error."""
    return _answer(scope, encode_error(error))


def grpc_web_refusal(scope: MutableMapping[str, Any], error: HTTPException) -> Response:
    """Return the response of gRPC-Web for an error of HTTP."""
    message = str(error.detail)
    if error.status_code in (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE):
        return grpc_web_error(scope, ResourceExhausted(message))
    if error.status_code == HTTPStatus.REQUEST_TIMEOUT:
        return grpc_web_error(scope, DeadlineExceeded(message))
    if error.status_code == HTTPStatus.BAD_REQUEST:
        return grpc_web_error(scope, InvalidArgument([FieldViolation("request", message)]))
    if error.status_code == HTTPStatus.FORBIDDEN:
        return grpc_web_error(scope, PermissionDenied(message))
    return _answer(scope, status_pb2.Status(code=Code.UNIMPLEMENTED, message=message))


def _answer(scope: MutableMapping[str, Any], status: status_pb2.Status) -> Response:
    details = base64.b64encode(status.SerializeToString()).decode().rstrip("=")
    trailers = (
        f"grpc-status: {status.code}\r\n"
        f"grpc-message: {quote(status.message, safe=_PLAIN)}\r\n"
        f"grpc-status-details-bin: {details}\r\n"
    ).encode()
    body = struct.pack(">BI", _TRAILERS, len(trailers)) + trailers
    kind = _content_type(scope)
    if kind.startswith(_TEXT_TYPE):
        return Response(base64.b64encode(body), media_type=_TEXT_TYPE)
    return Response(body, media_type=kind if kind in (_TYPE, f"{_TYPE}+json") else f"{_TYPE}+proto")


def _content_type(scope: MutableMapping[str, Any]) -> str:
    return Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
