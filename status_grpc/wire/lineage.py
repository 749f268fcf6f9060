"""Lineage: from domain values to messages, and back again in the client."""

from __future__ import annotations

from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1 import trace_pb2

from status_grpc.domain.errors import FieldViolation
from status_grpc.domain.events import Dataset, TraceEventStatus, TraceStatus
from status_grpc.domain.lineage import LineageDirection, LineageEdge, LineageTrace
from status_grpc.wire.events import (
    TRACE_EVENT_STATUS_NUMBERS,
    TRACE_EVENT_STATUSES,
    TRACE_STATUS_NUMBERS,
    TRACE_STATUSES,
)
from status_grpc.wire.times import encode_time, to_time

LINEAGE_DIRECTION_NUMBERS = {
    LineageDirection.UPSTREAM: pb.LINEAGE_DIRECTION_UPSTREAM,
    LineageDirection.DOWNSTREAM: pb.LINEAGE_DIRECTION_DOWNSTREAM,
}
_DIRECTIONS: dict[int, LineageDirection] = {number: way for way, number in LINEAGE_DIRECTION_NUMBERS.items()}


def decode_direction(field: str, number: int, violations: list[FieldViolation]) -> LineageDirection:
    """Return the direction; one that is not said or not known is added to the violations."""
    direction = _DIRECTIONS.get(number)
    if direction is None:
        violations.append(FieldViolation(field, f"is no direction: {number}" if number else "is required"))
    return direction or LineageDirection.UPSTREAM


def encode_edge(edge: LineageEdge) -> bytes:
    """Return the encoding of an edge."""
    return pb.LineageEdge(
        trace_id=edge.trace_id,
        written=edge.written,
        dataset=trace_pb2.Dataset(uri=edge.dataset.uri, version=edge.dataset.version),
        sequence=edge.sequence,
        record_time=encode_time(edge.record_time),
        depth=edge.depth,
    ).SerializeToString()


def to_edge(message: pb.LineageEdge) -> LineageEdge:
    """Return the edge of a message that the server made."""
    return LineageEdge(
        trace_id=message.trace_id,
        written=message.written,
        dataset=Dataset(message.dataset.uri, message.dataset.version),
        sequence=message.sequence,
        record_time=to_time(message.record_time),
        depth=message.depth,
    )


def encode_lineage_trace(trace: LineageTrace) -> bytes:
    """Return the encoding of what a lineage tells of a trace."""
    return pb.LineageTrace(
        trace_id=trace.trace_id,
        domain=trace.domain,
        domain_id=trace.domain_id,
        trace_status=TRACE_STATUS_NUMBERS[trace.trace_status],  # type: ignore[arg-type]
        trace_event_status=TRACE_EVENT_STATUS_NUMBERS[trace.trace_event_status],  # type: ignore[arg-type]
        done=trace.done,
        create_time=encode_time(trace.create_time),
        finish_time=None if trace.finish_time is None else encode_time(trace.finish_time),
        component=trace.component,
    ).SerializeToString()


def to_lineage_trace(message: pb.LineageTrace) -> LineageTrace:
    """Return the trace of a message that the server made."""
    return LineageTrace(
        trace_id=message.trace_id,
        domain=message.domain,
        domain_id=message.domain_id,
        trace_status=TRACE_STATUSES.get(message.trace_status) or TraceStatus.CONTINUE,
        trace_event_status=TRACE_EVENT_STATUSES.get(message.trace_event_status) or TraceEventStatus.OK,
        done=message.done,
        create_time=to_time(message.create_time),
        finish_time=to_time(message.finish_time) if message.HasField("finish_time") else None,
        component=message.component,
    )
