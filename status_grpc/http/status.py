"""The contract of the older status service: create, update, get, find by path. Its clients work unchanged."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from dataclasses import replace
from http import HTTPStatus
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from status_grpc.domain.errors import FieldViolation, InvalidArgument, PathNotFound, TraceNotFound
from status_grpc.domain.events import TraceEvent
from status_grpc.domain.ids import derived_event_id
from status_grpc.domain.validation import check_id, check_path, raise_if_any
from status_grpc.edge.cleaned import log_cleaned
from status_grpc.http.bodies import read_json_body, to_json
from status_grpc.http.edge import Edge
from status_grpc.http.json_readers import read_creation, read_update
from status_grpc.http.streaming import BoundedStream
from status_grpc.service.fingerprint import fingerprint
from status_grpc.service.traces import Creation, TracePage, Update
from status_grpc.wire.old_events import (
    old_event_parts,
)

#: How many events are read from the store at a time.
_EVENTS_AT_A_TIME = 500
_JSON = "application/json"


def status_routes(edge: Edge) -> list[BaseRoute]:
    """Return the routes of /status and /status-from-path."""
    routes = _Status(edge)
    return [
        Route("/status", routes.create, methods=["POST"]),
        # A path: an id may hold a slash, which arrives as %2F and is decoded by then. So may base64.
        Route("/status/{trace_id:path}", routes.trace, methods=["GET", "POST"]),
        Route("/status-from-path/{path:path}", routes.find, methods=["GET"]),
    ]


class _Status:
    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def create(self, request: Request) -> Response:
        """Start a trace. Its ids are new and it is STARTED and OK, whatever the caller says."""
        body = await read_json_body(request, self._edge)
        event = await self._edge.json.read(read_creation, body, self._edge.limits)
        trace, _event = await self._edge.traces.create(Creation(event.draft, legacy=event.legacy))
        log_cleaned("/status", event.cleaned, trace_id=trace.trace_id)
        return _answer(to_json({"trace_id": trace.trace_id}))

    async def trace(self, request: Request) -> Response:
        """Append an event to a trace, or return its events."""
        trace_id = request.path_params["trace_id"]
        if request.method == "POST":
            return await self._update(request, trace_id)
        return await self._get(request, trace_id)

    async def _update(self, request: Request, trace_id: str) -> Response:
        self._check_id(trace_id)
        body = await read_json_body(request, self._edge)
        upstream = self._edge.upstream
        if upstream is None:
            return await self._append(trace_id, body)
        try:
            return await self._append(trace_id, body)
        except InvalidArgument:
            # What the older service may record of its own traces is not ours to say.
            if await self._is_here(trace_id):
                raise
        except TraceNotFound:
            pass
        return await upstream.pass_on(request, f"/status/{quote(trace_id, safe='')}", body)

    async def _is_here(self, trace_id: str) -> bool:
        try:
            await self._edge.traces.get_trace(trace_id, after=0, count=1)
        except TraceNotFound:
            return False
        return True

    async def _append(self, trace_id: str, body: bytes) -> Response:
        read = await self._edge.json.read(read_update, body, self._edge.limits, trace_id)
        # The older clients send an event again when they have not seen the answer, and give it no id: the same content
        # (times to the microsecond included) is the same event, and recorded once.
        event_id = derived_event_id("http", trace_id, fingerprint(read.draft))
        _, event = await self._edge.traces.update(
            Update(replace(read.draft, trace_event_id=event_id), legacy=read.legacy)
        )
        log_cleaned("/status/{trace_id}", read.cleaned, trace_id=trace_id)
        return _answer(_event_json(event))

    async def _get(self, request: Request, trace_id: str) -> Response:
        self._check_id(trace_id)
        try:
            page = await self._page(trace_id, 0)
        except TraceNotFound:
            if self._edge.upstream is None:
                raise
            return await self._edge.upstream.pass_on(request, f"/status/{quote(trace_id, safe='')}")
        if page.complete:
            return _answer(b"[" + b",".join(map(_event_json, page.events)) + b"]")
        return BoundedStream(self._events(page), self._edge.write_timeout_seconds, media_type=_JSON)

    async def _page(self, trace_id: str, after: int) -> TracePage:
        return await self._edge.traces.get_trace(trace_id, after=after, count=_EVENTS_AT_A_TIME)

    async def _events(self, page: TracePage) -> AsyncIterator[bytes]:
        """Yield the list of all events from this first page on, without ever holding more than a page of them."""
        separator = b"["
        while page.events:
            yield separator + b",".join(map(_event_json, page.events))
            if page.complete:
                break
            separator = b","
            page = await self._page(page.trace.trace_id, page.events[-1].sequence)
        yield b"]"

    async def find(self, request: Request) -> Response:
        """Return the id of the trace of a path: the newest one that was created with it."""
        violations: list[FieldViolation] = []
        encoded = request.path_params["path"]
        s3_path = _decoded(encoded)
        check_path("path", s3_path, self._edge.limits, violations)
        raise_if_any(violations)
        try:
            trace, _ = await self._edge.traces.get_by_path(s3_path, domain="", domain_id="")
        except PathNotFound:
            if self._edge.upstream is None:
                raise
            return await self._edge.upstream.pass_on(request, f"/status-from-path/{quote(encoded, safe='')}")
        return _answer(to_json({"id": trace.trace_id, "trace_id": trace.trace_id}))

    def _check_id(self, trace_id: str) -> None:
        violations: list[FieldViolation] = []
        check_id("trace_id", trace_id, self._edge.limits, violations)
        raise_if_any(violations)


def _decoded(path: str) -> str:
    try:
        return base64.b64decode(path.encode("ascii"), validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidArgument([FieldViolation("path", "is not a path in base64 (of UTF-8)")]) from None


def _event_json(event: TraceEvent) -> bytes:
    """Return the event as the older service answered it, as JSON."""
    fields, as_sent = old_event_parts(event)
    return to_json(fields)[:-1] + b"".join(f',"{name}":{text}'.encode() for name, text in as_sent.items()) + b"}"


def _answer(content: bytes) -> Response:
    return Response(content, HTTPStatus.OK, media_type=_JSON)
