"""Following a trace by Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

    GET /v1/traces/{trace_id}/events     a trace
    GET /v1/events?s3_path=...           the newest trace created with a path

The query holds the other fields of StreamTraceRequest. What is sent:

- for each event of the trace a message: its JSON as data, where it stands as id, without a type;
- `checkpoint`: where the stream stands, a Checkpoint as JSON; one every 15 s says that the stream is alive;
- `done`, the last: the final checkpoint. Its id makes the next request end with 204: a browser then stops asking;
- `failed`: the stream cannot be resumed; its empty id makes a browser begin anew. It also answers a
  Last-Event-ID that does not fit the trace, because after an error status a browser gives up.

A browser connects again by itself, with the last id it saw as Last-Event-ID, and gets what follows after it.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, aclosing
from http import HTTPStatus
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send
from tracestatus.v1 import status_service_pb2 as pb

from status_grpc.domain.errors import (
    CursorAhead,
    FieldViolation,
    HistoryChanged,
    InvalidArgument,
    PassingError,
    SlowReader,
    StatusError,
)
from status_grpc.domain.validation import raise_if_any
from status_grpc.edge.calls import checkpoint_message
from status_grpc.edge.incidents import log_failed, unforeseen
from status_grpc.http.edge import Edge, caller
from status_grpc.http.streaming import STREAM_HEADERS, bounded, cut
from status_grpc.service.following import Checkpoint, FollowItem
from status_grpc.wire.errors import CODES
from status_grpc.wire.json_messages import event_json, message_json, parse_json
from status_grpc.wire.parsing import Malformed

_TYPE = "text/event-stream"
#: How long a browser waits before it connects again, in milliseconds, unless it is told otherwise.
_RETRY_MILLISECONDS = 1000
_RETRY = b"retry: %d\n\n" % _RETRY_MILLISECONDS
#: The id of `done`.
_DONE = "done"
#: The other ids. Of an event: its sequence and its own id; if the request names a path, also its trace's id. Both ids
#: are base64url, since a header is ASCII. While there is no trace yet: the time from which on one counts as new.
_ID = re.compile(
    r"(?P<after_sequence>\d{1,19})(?:\.(?P<after_event_id>[\w-]+)(?:\.(?P<trace_id>[\w-]+))?|@(?P<plain_trace_id>.+))?"
    r"|@(?P<created_after>.+)",
    re.ASCII,
)
_ENCODED = ("after_event_id", "trace_id")
_FLAGS = {"true": True, "1": True, "": True, "false": False, "0": False}

log = structlog.get_logger(__name__)


def event_routes(edge: Edge) -> list[BaseRoute]:
    """Return the routes of events."""
    events = _Events(edge)
    return [
        Route("/v1/traces/{trace_id:path}/events", events, methods=["GET"]),
        Route("/v1/events", events, methods=["GET"]),
    ]


class _Events:
    """The ASGI application behind the routes."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises what is wrong with it."""
        request = Request(scope, receive)
        if request.method != "GET":
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET"})
        if request.headers.get("last-event-id") == _DONE:
            await Response(status_code=HTTPStatus.NO_CONTENT)(scope, receive, send)
            return
        async with AsyncExitStack() as stack:
            response = await self._response(request, stack)
            try:
                await response(scope, receive, bounded(send, self._edge.write_timeout_seconds))
            except SlowReader as error:
                log_failed(error, "events", None, peer=caller.get())
                await cut(scope, receive)

    async def _response(self, request: Request, stack: AsyncExitStack) -> Response:
        """Return the response.

        Raises what is wrong with the request. What is wrong with its Last-Event-ID becomes a stream with `failed`.
        """
        fields, last_id = _fields(request), _last_id(request)
        try:
            wanted = _wanted(_resumed(fields, last_id) if last_id else fields)
            items = self._edge.calls.follow(wanted, caller=caller.get() or "")
            await stack.enter_async_context(aclosing(items))
            # What is wrong shows before the answer begins, so that its status can say so.
            first = await anext(items)
        except PassingError as error:
            if not wants_events(request):
                raise
            return come_back(error)
        except (InvalidArgument, CursorAhead, HistoryChanged) as error:
            if not last_id:
                raise
            return _stream(_RETRY, _failed(error))
        blocks = _blocks(first, items, by_path="trace_id" not in request.path_params)
        return StreamingResponse(blocks, headers=STREAM_HEADERS, media_type=_TYPE)


def _wanted(fields: dict[str, Any]) -> pb.StreamTraceRequest:
    """Return what to follow. Raises InvalidArgument."""
    wanted = parse_json(pb.StreamTraceRequest, json.dumps(fields).encode())
    if isinstance(wanted, Malformed):
        raise InvalidArgument([wanted.violation])
    return wanted


def wants_events(request: Request) -> bool:
    """Return whether the request comes from a browser's EventSource, or from what says that it is like one."""
    return _TYPE in request.headers.get("accept", "")


def come_back(error: PassingError) -> Response:
    """Return an empty stream that says when to come back: after any status but 200 an EventSource never does."""
    return _stream(*_come_back(error))


def _stream(*blocks: bytes) -> Response:
    """Return a stream of these blocks, which then ends."""
    return Response(b"".join(blocks), headers=STREAM_HEADERS, media_type=_TYPE)


def _come_back(error: PassingError) -> Iterator[bytes]:
    milliseconds = max(_RETRY_MILLISECONDS, math.ceil(error.retry_after.total_seconds() * 1000))
    yield b"retry: %d\n: %b\n\n" % (milliseconds, error.message.encode())


def _failed(error: StatusError) -> bytes:
    """Return the message `failed`, whose empty id makes a browser begin anew."""
    content = {"code": CODES[type(error)].name.lower(), "message": error.message}
    return b"event: failed\nid:\ndata: %b\n\n" % json.dumps(content).encode()


def _fields(request: Request) -> dict[str, Any]:
    """Return the fields that the URL gives to a StreamTraceRequest. Raises InvalidArgument."""
    violations: list[FieldViolation] = []
    fields: dict[str, Any] = {}
    for name, text in [*request.path_params.items(), *request.query_params.multi_items()]:
        if name in fields:
            violations.append(FieldViolation(name, "is given twice"))
        is_flag = name in ("wait_for_trace", "waitForTrace", "new_only", "newOnly")
        fields[name] = _FLAGS.get(text.lower(), text) if is_flag else text
    raise_if_any(violations)
    return fields


def _last_id(request: Request) -> str:
    # Browsers send it as UTF-8; Starlette takes headers for Latin-1.
    return request.headers.get("last-event-id", "").encode("latin-1").decode(errors="replace")


def _resumed(fields: dict[str, Any], last_id: str) -> dict[str, Any]:
    """Return the fields of a resumed request. Raises InvalidArgument."""
    match = _ID.fullmatch(last_id)
    try:
        place = {} if match is None else _place(match)
    except ValueError:
        place = {}
    if not place:
        raise InvalidArgument([FieldViolation("Last-Event-ID", "is not the id of an event of this stream")])
    if "trace_id" in place:
        # The path may mean another trace by now: go on with the one that was followed.
        return place
    return {name: value for name, value in fields.items() if not name.startswith("after")} | place


def _place(last_id: re.Match[str]) -> dict[str, str]:
    """Return the fields that an id carries. Raises ValueError."""
    place = {
        name: _decoded(value) if name in _ENCODED else value
        for name, value in last_id.groupdict().items()
        if value is not None
    }
    if "plain_trace_id" in place:  # ids of an earlier release
        place["trace_id"] = place.pop("plain_trace_id")
    return place


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decoded(text: str) -> str:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()


async def _blocks(
    first: FollowItem, items: AsyncGenerator[FollowItem, None], *, by_path: bool
) -> AsyncGenerator[bytes, None]:
    """Yield the stream, to its end."""
    yield _RETRY
    try:
        for block in _tell(first, by_path=by_path):
            yield block
        async for item in items:
            for block in _tell(item, by_path=by_path):
                yield block
    except PassingError as error:
        for block in _come_back(error):
            yield block
    except StatusError as error:
        yield _failed(error)
    except Exception as failure:
        yield b": %b\n\n" % unforeseen(failure, "events", peer=caller.get()).message.encode()


def _tell(item: FollowItem, *, by_path: bool) -> Iterator[bytes]:
    """Yield the blocks that tell it."""
    if isinstance(item, Checkpoint):
        kind, last_id = b"checkpoint", b""
        if item.done:
            kind, last_id = b"done", b"id: %b\n" % _DONE.encode()
        elif by_path and not item.trace_id:
            last_id = b"id: @%b\n" % item.server_time.isoformat().encode()
        yield b"event: %b\n%bdata: %b\n\n" % (kind, last_id, message_json(checkpoint_message(item)))
        return
    for event in item:
        place = f"{event.sequence}.{_encoded(event.trace_event_id)}"
        if by_path:
            place += f".{_encoded(event.trace_id)}"
        yield b"id: %b\ndata: %b\n\n" % (place.encode(), event_json(event))
