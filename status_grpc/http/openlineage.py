"""Takes OpenLineage RunEvents where their senders expect to post them: POST /api/v1/lineage."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from status_grpc.domain.errors import AlreadyExists, FieldViolation, InvalidArgument, TraceExists, TraceNotFound
from status_grpc.domain.events import EventDraft, TraceEvent
from status_grpc.domain.traces import Trace
from status_grpc.domain.validation import DraftRules, raise_if_any
from status_grpc.http.bodies import read_body
from status_grpc.http.compression import CannotUnpack, unpack
from status_grpc.http.edge import Edge, with_size
from status_grpc.service.traces import Creation, Update
from status_grpc.wire.json_values import NotJson, parse_value
from status_grpc.wire.openlineage import draft_of

#: A larger body is read in a thread: the RunEvents of Spark can take megabytes.
_MOST_BYTES_IN_LOOP = 32 * 1024


def lineage_routes(edge: Edge) -> list[BaseRoute]:
    """Return the route of /api/v1/lineage."""
    return [Route("/api/v1/lineage", _Lineage(edge).post, methods=["POST"])]


class _Lineage:
    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._rules = DraftRules(edge.limits)

    async def post(self, request: Request) -> Response:
        """Record a RunEvent; what is about no run (a DatasetEvent, a JobEvent) is accepted and passed over."""
        body = self._unpacked(request, await read_body(request, self._edge))
        if len(body) > _MOST_BYTES_IN_LOOP:
            draft = await asyncio.to_thread(self._read, body)
        else:
            draft = self._read(body)
        if draft is None:
            return JSONResponse({}, HTTPStatus.ACCEPTED)
        return JSONResponse(await self._record(draft), HTTPStatus.CREATED)

    def _unpacked(self, request: Request, body: bytes) -> bytes:
        encoding = request.headers.get("content-encoding", "identity").lower()
        if encoding == "identity":
            return body
        if encoding != "gzip":
            raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body may be compressed by gzip only")
        try:
            return unpack(body, self._edge.max_request_bytes)
        except CannotUnpack as error:
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if error.too_large else HTTPStatus.BAD_REQUEST
            raise HTTPException(status, str(error)) from None

    def _read(self, body: bytes) -> EventDraft | None:
        """Return the event that records the RunEvent in the body. Raises InvalidArgument."""
        try:
            value = parse_value(body)
        except NotJson as error:
            raise InvalidArgument([FieldViolation("body", str(error))]) from None
        draft = draft_of(value)
        if draft is None:
            return None
        violations: list[FieldViolation] = []
        self._rules.check_create(draft, violations)
        raise_if_any(violations)
        return with_size(self._edge, draft)

    async def _record(self, draft: EventDraft) -> dict[str, Any]:
        """Append the event to its trace, or create the trace with it; return where it is."""
        told: dict[str, Any] = {"trace_id": draft.trace_id, "trace_event_id": draft.trace_event_id}
        try:
            _, event = await self._appended_or_created(draft)
        except AlreadyExists:
            # Its id is made from what the RunEvent says: it was recorded before, by a release that reads it otherwise.
            return told
        return told | {"sequence": event.sequence}

    async def _appended_or_created(self, draft: EventDraft) -> tuple[Trace, TraceEvent]:
        traces = self._edge.traces
        try:
            return await traces.update(Update(draft))
        except TraceNotFound:
            pass
        try:
            return await traces.create(Creation(draft))
        except TraceExists:  # somebody else has just created it
            return await traces.update(Update(draft))
