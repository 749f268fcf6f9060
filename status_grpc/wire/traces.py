"""Trace: from the domain's state to a message, and back again in the client."""

from __future__ import annotations

from tracestatus.v1 import trace_pb2

from status_grpc.domain.events import TraceEventStatus, TraceStatus
from status_grpc.domain.traces import Failure, ReportedError, Trace
from status_grpc.wire.events import (
    TRACE_EVENT_STATUS_NUMBERS,
    TRACE_EVENT_STATUSES,
    TRACE_STATUS_NUMBERS,
    TRACE_STATUSES,
    fill_error,
    to_error,
)
from status_grpc.wire.times import fill_time, to_time


def trace_message(trace: Trace) -> trace_pb2.Trace:
    """Return the trace's state as a message."""
    message = trace_pb2.Trace(
        trace_id=trace.trace_id,
        domain=trace.domain,
        domain_id=trace.domain_id,
        user=trace.user,
        s3_path=trace.s3_path,
        trace_status=TRACE_STATUS_NUMBERS[trace.trace_status],  # type: ignore[arg-type]
        trace_event_status=TRACE_EVENT_STATUS_NUMBERS[trace.trace_event_status],  # type: ignore[arg-type]
        done=trace.done,
        run=trace.run,
        event_count=trace.event_count,
        failed_event_count=trace.failed_event_count,
        last_sequence=trace.last_sequence,
        component=trace.component,
        operation=trace.operation,
        error_count=trace.error_count,
    )
    fill_time(message.create_time, trace.create_time)
    fill_time(message.update_time, trace.update_time)
    fill_time(message.last_heard_time, trace.last_heard_time)
    if trace.finish_time is not None:
        fill_time(message.finish_time, trace.finish_time)
    if trace.expire_time is not None:
        fill_time(message.expire_time, trace.expire_time)
    for reported in trace.errors:
        entry = message.errors.add(
            component=reported.component,
            operation=reported.operation,
            sequence=reported.sequence,
            step_id=reported.step_id,
        )
        fill_error(entry.error, reported.error)
    if trace.first_failure is not None:
        failure = trace.first_failure
        message.first_failure.CopyFrom(
            trace_pb2.Failure(
                component=failure.component,
                operation=failure.operation,
                sequence=failure.sequence,
                step_id=failure.step_id,
                exception_type=failure.exception_type,
                exception_message=failure.exception_message,
            )
        )
    return message


def encode_trace(trace: Trace) -> bytes:
    """Return the encoding of the trace's state."""
    return trace_message(trace).SerializeToString()


def to_trace(message: trace_pb2.Trace) -> Trace:
    """Return the state of a message that the server made."""
    return Trace(
        trace_id=message.trace_id,
        domain=message.domain,
        domain_id=message.domain_id,
        user=message.user,
        s3_path=message.s3_path,
        trace_status=TRACE_STATUSES.get(message.trace_status) or TraceStatus.CONTINUE,
        trace_event_status=TRACE_EVENT_STATUSES.get(message.trace_event_status) or TraceEventStatus.OK,
        done=message.done,
        run=message.run,
        create_time=to_time(message.create_time),
        update_time=to_time(message.update_time),
        finish_time=to_time(message.finish_time) if message.HasField("finish_time") else None,
        event_count=message.event_count,
        failed_event_count=message.failed_event_count,
        last_sequence=message.last_sequence,
        last_heard_time=to_time(message.last_heard_time),
        expire_time=to_time(message.expire_time) if message.HasField("expire_time") else None,
        component=message.component,
        operation=message.operation,
        errors=tuple(_to_reported(entry) for entry in message.errors),
        error_count=message.error_count,
        first_failure=_to_failure(message.first_failure) if message.HasField("first_failure") else None,
    )


def _to_reported(entry: trace_pb2.ReportedError) -> ReportedError:
    return ReportedError(entry.component, entry.operation, entry.sequence, entry.step_id, to_error(entry.error))


def _to_failure(message: trace_pb2.Failure) -> Failure:
    return Failure(
        message.component,
        message.operation,
        message.sequence,
        message.step_id,
        message.exception_type,
        message.exception_message,
    )
