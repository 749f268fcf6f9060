"""The OpenLineage routes, for one RunEvent and for a batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from status_grpc.domain.errors import (
    AlreadyExists,
    PassingError,
    StatusError,
    TraceExists,
    TraceNotFound,
)
from status_grpc.domain.events import EventDraft, TraceEvent
from status_grpc.domain.limits import Limits
from status_grpc.domain.traces import Trace
from status_grpc.http.bodies import read_body
from status_grpc.http.compression import CannotUnpack, unpack
from status_grpc.http.edge import Edge
from status_grpc.http.json_readers import read_run_event, read_run_events
from status_grpc.service.traces import Creation, Receipt, Update
from status_grpc.wire.openlineage import Accepted, LeftOut

#: The log names each reason to leave a part out at most once in this time, in seconds.
_LOG_SECONDS = 600.0
#: How many events of a batch are named of which parts were left out.
_MOST_NAMED = 100

T = TypeVar("T")

log = structlog.get_logger(__name__)


def lineage_routes(edge: Edge) -> list[BaseRoute]:
    """Return the routes of OpenLineage."""
    lineage = _Lineage(edge)
    return [
        Route("/api/v1/lineage", lineage.post, methods=["POST"]),
        Route("/api/v1/lineage/batch", lineage.post_batch, methods=["POST"]),
    ]


class _Lineage:
    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._log = _LeftOutLog()

    async def post(self, request: Request) -> Response:
        """Record a RunEvent; what is about no run (a DatasetEvent, a JobEvent) is accepted and passed over."""
        accepted = await self._read(request, read_run_event)
        if accepted is None:
            return JSONResponse({}, HTTPStatus.ACCEPTED)
        answer = await self._record(accepted.draft)
        self._log.add(accepted)
        if accepted.left_out:
            answer["left_out"] = _texts(accepted.left_out)
        return JSONResponse(answer, HTTPStatus.CREATED)

    async def post_batch(self, request: Request) -> Response:
        """Record a list of events.

        The answer is that of OpenLineage 2.0.2, a summary and the events that were not recorded.
        """
        items = await self._read(request, read_run_events)
        drafts = [item.draft for item in items if isinstance(item, Accepted)]
        recorded: list[StatusError | None] = []
        most = self._edge.limits.batch_items
        for first in range(0, len(drafts), most):
            recorded += await self._record_all(drafts[first : first + most])
        results = iter(recorded)
        errors = [next(results) if isinstance(item, Accepted) else item for item in items]
        left_out: list[dict[str, Any]] = []
        for index, (item, error) in enumerate(zip(items, errors, strict=True)):
            if isinstance(item, Accepted) and error is None and item.left_out:
                self._log.add(item)
                left_out.append({"index": index, "parts": _texts(item.left_out)})
        answer = _batch_answer(errors)
        return JSONResponse(answer | {"left_out": left_out[:_MOST_NAMED]} if left_out else answer)

    async def _read(self, request: Request, read: Callable[[bytes, Limits], T]) -> T:
        """Return what `read` makes of the body. Raises InvalidArgument and HTTPException."""
        body = self._unpacked(request, await read_body(request, self._edge))
        return await self._edge.json.read(read, body, self._edge.limits)

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

    async def _record_all(self, drafts: Sequence[EventDraft]) -> list[StatusError | None]:
        """Append each event to its trace, or create the trace.

        Return the error of each event in order, None if it was recorded.
        """
        results = await self._edge.traces.batch_update([Update(draft) for draft in drafts])
        missing = [index for index, result in enumerate(results) if isinstance(result, TraceNotFound)]
        firsts = {drafts[index].trace_id: index for index in reversed(missing)}
        creations = [
            Creation(drafts[index]) if firsts[drafts[index].trace_id] == index else Update(drafts[index])
            for index in missing
        ]
        _put(results, missing, await self._edge.traces.batch_update(creations))
        # Another request may have created a trace in between.
        taken = [index for index in missing if isinstance(results[index], TraceExists)]
        _put(results, taken, await self._edge.traces.batch_update([Update(drafts[index]) for index in taken]))
        # An id in use is that of the same RunEvent, as in `_record`.
        return [
            result if isinstance(result, StatusError) and not isinstance(result, AlreadyExists) else None
            for result in results
        ]


def _put(results: list[Receipt | StatusError], indices: Sequence[int], found: Sequence[Receipt | StatusError]) -> None:
    for index, result in zip(indices, found, strict=True):
        results[index] = result


def _batch_answer(errors: Sequence[StatusError | None]) -> dict[str, Any]:
    failed = [
        {"index": index, "reason": error.message, "retriable": isinstance(error, PassingError)}
        for index, error in enumerate(errors)
        if error is not None
    ]
    retriable = sum(event["retriable"] is True for event in failed)
    return {
        "status": "partial_success" if failed else "success",
        "summary": {
            "received": len(errors),
            "successful": len(errors) - len(failed),
            "failed": len(failed),
            "retriable": retriable,
            "non_retriable": len(failed) - retriable,
        },
        "failed_events": failed,
    }


def _texts(parts: Sequence[LeftOut]) -> list[str]:
    return [str(part) for part in parts]


class _LeftOutLog:
    """Log of why parts of RunEvents are left out.

    It has each reason at most once in ten minutes, and no values of the events.
    """

    def __init__(self) -> None:
        self._logged: dict[str, float] = {}

    def add(self, accepted: Accepted) -> None:
        """Log the reasons of one event that was recorded."""
        if not accepted.left_out:
            return
        now = time.monotonic()
        for reason in {part.reason for part in accepted.left_out}:
            logged = self._logged.get(reason)
            if logged is None or now - logged >= _LOG_SECONDS:
                self._logged[reason] = now
                log.warning("part of a RunEvent left out", reason=reason, trace_id=accepted.draft.trace_id)
