"""Reads the body of a request in bounded memory and time, and writes JSON."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request

from status_grpc.domain.errors import Overloaded
from status_grpc.http.edge import Edge

#: What each body may take without asking for room: small ones are always taken.
_SMALL_BYTES = 64 * 1024
_RETRY_AFTER = timedelta(seconds=2)
#: What JSON is sent as. The older clients create traces without saying, and `curl -d` says that it sends a form.
_JSON_TYPES = ("", "application/json", "text/plain", "application/x-www-form-urlencoded", "application/octet-stream")


async def read_body(request: Request, edge: Edge) -> bytes:
    """Return the body.

    Raises HTTPException 413 for more than `max_request_bytes`, after it has read all of them: a client that is still
    sending would see a broken connection instead of the answer, and send everything again. 408 if it takes too long.
    Raises Overloaded when too many bytes of other bodies are being held.
    """
    most_bytes = edge.max_request_bytes
    parts: list[bytes] = []
    size = held = 0
    has_room = True
    try:
        async with asyncio.timeout(edge.request_seconds):
            async for part in request.stream():
                size += len(part)
                if _SMALL_BYTES < size <= most_bytes and has_room:
                    has_room = edge.body_room.take(len(part))
                    held += len(part) if has_room else 0
                if size <= most_bytes and has_room:
                    parts.append(part)
                else:
                    parts.clear()
                    edge.body_room.give(held)
                    held = 0
    except TimeoutError:
        message = f"the body did not arrive within {edge.request_seconds:g} s"
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, message, {"Connection": "close"}) from None
    finally:
        edge.body_room.give(held)
    if size > most_bytes:
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body takes {size} bytes, more than {most_bytes}")
    if not has_room:
        raise Overloaded("too many large requests are being sent; try again later", retry_after=_RETRY_AFTER)
    return b"".join(parts)


async def read_json_body(request: Request, edge: Edge) -> bytes:
    """Return the body of a request that says that it is JSON, or nothing about its type.

    Raises HTTPException as `read_body`, and 415 for another media type.
    """
    body = await read_body(request, edge)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in _JSON_TYPES and not media_type.endswith("+json"):
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must be JSON: application/json")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must not be compressed")
    return body


def to_json(value: Any) -> bytes:
    """Return the value as JSON; integers of any size stay exact."""
    try:
        return orjson.dumps(value)
    except TypeError:  # orjson stops at 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
