"""Reads the body of a request in bounded memory and time, and writes JSON."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request

from status_grpc.domain.errors import FieldViolation, InvalidArgument
from status_grpc.http.edge import Edge
from status_grpc.wire.json_values import NotJson, parse_value

#: What JSON is sent as. The older clients create traces without saying, and `curl -d` says that it sends a form.
_JSON_TYPES = ("", "application/json", "text/plain", "application/x-www-form-urlencoded", "application/octet-stream")


async def read_body(request: Request, edge: Edge) -> bytes:
    """Return the body.

    Raises HTTPException 413 for more than `max_request_bytes`, after it has read all of them: a client that is still
    sending would see a broken connection instead of the answer, and send everything again. 408 if it takes too long.
    """
    most_bytes = edge.max_request_bytes
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(edge.request_seconds):
            async for part in request.stream():
                size += len(part)
                if size <= most_bytes:
                    parts.append(part)
                else:
                    parts.clear()
    except TimeoutError:
        message = f"the body did not arrive within {edge.request_seconds:g} s"
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, message, {"Connection": "close"}) from None
    if size > most_bytes:
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body takes {size} bytes, more than {most_bytes}")
    return b"".join(parts)


async def read_object(request: Request, edge: Edge) -> tuple[dict[str, Any], bytes]:
    """Return the JSON object in the body, and the body as it came.

    Raises HTTPException (as `read_body`; 415 for what is said to be something else) and InvalidArgument.
    """
    body = await read_body(request, edge)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in _JSON_TYPES and not media_type.endswith("+json"):
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must be JSON: application/json")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must not be compressed")
    try:
        value = parse_value(body)
    except NotJson as error:
        raise InvalidArgument([FieldViolation("body", str(error))]) from None
    if not isinstance(value, dict):
        raise InvalidArgument([FieldViolation("body", "must be a JSON object")])
    return value, body


def to_json(value: Any) -> bytes:
    """Return the value as JSON; integers of any size stay exact."""
    try:
        return orjson.dumps(value)
    except TypeError:  # orjson stops at 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
