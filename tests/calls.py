"""What the tests say to a server, with as little said as a test needs, and how they read a refusal."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1 import status_service_pb2_grpc, trace_pb2

Stub = status_service_pb2_grpc.StatusServiceStub
Code = grpc.StatusCode

STARTED, CONTINUE, FINISHED = (
    trace_pb2.TRACE_STATUS_STARTED,
    trace_pb2.TRACE_STATUS_CONTINUE,
    trace_pb2.TRACE_STATUS_FINISHED,
)
OK, FAILED = trace_pb2.TRACE_EVENT_STATUS_OK, trace_pb2.TRACE_EVENT_STATUS_FAILED
ENDED_OK: dict[str, Any] = {"trace_status": FINISHED, "trace_event_status": OK}
ENDED_FAILED: dict[str, Any] = {"trace_status": FINISHED, "trace_event_status": FAILED}

#: What clients that reconnect set, so that a restarted server is found at once; and a connection of their own.
CHANNEL_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    # Also how long one attempt to connect may take: too little on a busy machine means never.
    ("grpc.min_reconnect_backoff_ms", 5000),
]


def unique(name: str) -> str:
    """Return a name that no other test uses: most tests share a server."""
    return f"{name}-{uuid.uuid4().hex[:12]}"


def first_event(**fields: Any) -> trace_pb2.TraceEvent:
    """Return an event that Create takes."""
    return trace_pb2.TraceEvent(
        **{"domain": "dataset", "domain_id": "my-dataset/1", "component": "data-uploader"} | fields
    )


def next_event(trace_id: str, **fields: Any) -> trace_pb2.TraceEvent:
    """Return an event that Update takes."""
    return trace_pb2.TraceEvent(**{"trace_id": trace_id, "component": "validator"} | fields)


async def create(stub: Stub, **fields: Any) -> pb.CreateResponse:
    """Start a trace."""
    return await stub.Create(pb.CreateRequest(event=first_event(**fields)))


async def new_trace(stub: Stub, **fields: Any) -> str:
    """Start a trace; return its id."""
    return (await create(stub, **fields)).trace.trace_id


async def update(stub: Stub, trace_id: str, /, **fields: Any) -> pb.UpdateResponse:
    """Append an event; the conditions of the call go into the request, all other fields into the event."""
    conditions = {name: fields.pop(name) for name in ("new_run", "expected_sequence", "expire_time") if name in fields}
    return await stub.Update(pb.UpdateRequest(event=next_event(trace_id, **fields), **conditions))


async def get(stub: Stub, trace_id: str, **fields: Any) -> pb.GetTraceResponse:
    """Read a trace and its first page."""
    return await stub.GetTrace(pb.GetTraceRequest(trace_id=trace_id, **fields))


async def all_events(stub: Stub, trace_id: str, page_size: int = 1000) -> list[trace_pb2.TraceEvent]:
    """Read all pages of a trace's events."""
    events: list[trace_pb2.TraceEvent] = []
    request = pb.GetTraceRequest(trace_id=trace_id, page_size=page_size)
    while True:
        page = await stub.GetTrace(request)
        events += page.events
        if not page.next_page_token:
            return events
        request.page_token = page.next_page_token


@dataclass
class Refusal:
    """How a call was refused: the code, and what its google.rpc details say."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    domain: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    retry_seconds: float | None = None


async def refusal(call: Awaitable[Any], code: grpc.StatusCode, *fields: str) -> Refusal:
    """Return how the call was refused; it must be with this code, its details complete, naming these fields."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    found = read_refusal(raised.value)
    assert found.code is code, found
    assert_explained(found)
    for name in fields:
        assert name in found.fields, found
    return found


def assert_explained(found: Refusal) -> None:
    """Every error of the service says why in a form for programs; it is not one of those that explain nothing."""
    assert found.code not in (Code.UNKNOWN, Code.INTERNAL), found
    assert found.domain == "status-grpc", found
    assert found.reason, found
    assert found.reason == found.reason.upper(), found
    if found.code is Code.INVALID_ARGUMENT:
        assert found.fields, found
        assert all(found.fields.values()), found
    if found.code is Code.UNAVAILABLE:
        assert found.retry_seconds is not None, found


def read_refusal(error: grpc.RpcError) -> Refusal:
    """Read the error of a call, made by the service or by gRPC itself."""
    found = Refusal(error.code(), error.details() or "")
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)
            assert status.code == error.code().value[0], status
            read_details(status, found)
    return found


def read_details(status: status_pb2.Status, found: Refusal) -> Refusal:
    """Read the details of a google.rpc.Status into the refusal."""
    for detail in status.details:
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            found.reason, found.domain = info.reason, info.domain
        elif detail.Unpack(bad):
            found.fields = {violation.field: violation.description for violation in bad.field_violations}
        elif detail.Unpack(retry):
            found.retry_seconds = retry.retry_delay.ToTimedelta().total_seconds()
    return found
