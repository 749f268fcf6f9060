"""TraceEvent: from a message to a draft, from a recorded event to a message, and back again in the client."""

from __future__ import annotations

from dataclasses import fields, replace

from tracestatus.v1 import trace_pb2

from status_grpc.domain.errors import FieldViolation, InvalidArgument
from status_grpc.domain.events import (
    Dataset,
    ErrorDetail,
    EventDraft,
    ExceptionDetail,
    TraceEvent,
    TraceEventStatus,
    TraceStatus,
)
from status_grpc.domain.limits import Limits
from status_grpc.domain.values import quickly_made
from status_grpc.wire.structs import decode_struct, fill_struct, to_object
from status_grpc.wire.times import (
    decode_duration,
    decode_time,
    encode_duration,
    encode_time,
    fill_time,
    to_duration,
    to_time,
)

#: Keys of TraceEvent.encodings: the encoded message, and the request's message until that is made from it.
_ENCODED = "tracestatus.v1"
_REQUESTED = "tracestatus.v1 request"

TRACE_STATUSES: dict[int, TraceStatus | None] = {0: None, 1: TraceStatus.STARTED, 2: TraceStatus.CONTINUE}
TRACE_STATUSES[3] = TraceStatus.FINISHED
TRACE_EVENT_STATUSES: dict[int, TraceEventStatus | None] = {0: None, 1: TraceEventStatus.OK}
TRACE_EVENT_STATUSES[2] = TraceEventStatus.FAILED
TRACE_STATUS_NUMBERS = {status: number for number, status in TRACE_STATUSES.items()}
TRACE_EVENT_STATUS_NUMBERS = {status: number for number, status in TRACE_EVENT_STATUSES.items()}

# Every write makes one.
_new_draft = quickly_made(EventDraft)


def decode_draft(
    message: trace_pb2.TraceEvent, limits: Limits, violations: list[FieldViolation], *, encoded_bytes: int = 0
) -> EventDraft:
    """Return what the caller sent, and add a violation for everything a draft cannot express.

    `encoded_bytes` is its size, if the caller has measured it. The message becomes the draft's: `encode_event`
    completes it into the answer rather than build another.
    """
    has, depth = message.HasField, limits.json_depth
    return _new_draft(
        trace_id=message.trace_id,
        trace_event_id=message.trace_event_id,
        domain=message.domain,
        domain_id=message.domain_id,
        start_time=decode_time("event.start_time", message.start_time, violations) if has("start_time") else None,
        end_time=decode_time("event.end_time", message.end_time, violations) if has("end_time") else None,
        trace_status=decode_trace_status("event.trace_status", message.trace_status, violations),
        trace_event_status=decode_trace_event_status(
            "event.trace_event_status", message.trace_event_status, violations
        ),
        user=message.user,
        component=message.component,
        operation=message.operation,
        status_body=decode_struct("event.status_body", message.status_body, depth, violations)
        if has("status_body")
        else None,
        meta=decode_struct("event.meta", message.meta, depth, violations) if has("meta") else None,
        s3_path=message.s3_path,
        duration=decode_duration("event.duration", message.duration, violations) if has("duration") else None,
        exception=_exception(message.exception) if has("exception") else None,
        errors=_errors(message, limits, violations) if message.errors else (),
        inputs=tuple(Dataset(d.uri, d.version) for d in message.inputs) if message.inputs else (),
        outputs=tuple(Dataset(d.uri, d.version) for d in message.outputs) if message.outputs else (),
        step_id=message.step_id,
        attempt=message.attempt,
        encoded_bytes=encoded_bytes,
        encodings={_REQUESTED: message},
    )


def decode_trace_status(path: str, number: int, violations: list[FieldViolation]) -> TraceStatus | None:
    """Return the status, None for unspecified; an unknown number is a violation."""
    try:
        return TRACE_STATUSES[number]
    except KeyError:
        violations.append(FieldViolation(path, f"{number} is not a TraceStatus"))
        return None


def decode_trace_event_status(path: str, number: int, violations: list[FieldViolation]) -> TraceEventStatus | None:
    """Return the status, None for unspecified; an unknown number is a violation."""
    try:
        return TRACE_EVENT_STATUSES[number]
    except KeyError:
        violations.append(FieldViolation(path, f"{number} is not a TraceEventStatus"))
        return None


def _exception(message: trace_pb2.ExceptionDetail) -> ExceptionDetail:
    return ExceptionDetail(message.type, message.message, message.traceback)


def _errors(message: trace_pb2.TraceEvent, limits: Limits, violations: list[FieldViolation]) -> tuple[ErrorDetail, ...]:
    return tuple(
        ErrorDetail(
            dict(error.message),
            decode_struct(f"event.errors[{index}].details", error.details, limits.json_depth, violations)
            if error.HasField("details")
            else None,
        )
        for index, error in enumerate(message.errors)
    )


def with_message(draft: EventDraft) -> EventDraft:
    """Return a draft that did not come as a message with the message that it is, and its size."""
    message = draft_message(draft)
    return replace(draft, encoded_bytes=message.ByteSize(), encodings={_REQUESTED: message})


def encode_event(event: TraceEvent) -> bytes:
    """Return the event's encoding, made once and kept with the event."""
    encoded: bytes | None = event.encodings.get(_ENCODED)
    if encoded is None:
        requested = event.encodings.pop(_REQUESTED, None)
        message = event_message(event) if requested is None else _completed(requested, event)
        encoded = event.encodings[_ENCODED] = message.SerializeToString()
    return encoded


def _completed(message: trace_pb2.TraceEvent, event: TraceEvent) -> trace_pb2.TraceEvent:
    """Make the message of the request into that of the event that was recorded from it."""
    message.DiscardUnknownFields()
    message.trace_id = event.trace_id
    message.trace_event_id = event.trace_event_id
    message.domain = event.domain
    message.domain_id = event.domain_id
    message.trace_status = TRACE_STATUS_NUMBERS[event.trace_status]  # type: ignore[assignment]
    message.trace_event_status = TRACE_EVENT_STATUS_NUMBERS[event.trace_event_status]  # type: ignore[assignment]
    if message.start_time.nanos % 1000 or not message.HasField("start_time"):
        message.start_time.CopyFrom(encode_time(event.start_time))
    if event.end_time is not None and message.end_time.nanos % 1000:
        message.end_time.CopyFrom(encode_time(event.end_time))
    if event.duration is not None and message.duration.nanos % 1000:
        message.duration.CopyFrom(encode_duration(event.duration))
    _set_place(message, event)
    return message


def _set_place(message: trace_pb2.TraceEvent, event: TraceEvent) -> None:
    message.sequence = event.sequence
    message.record_time.CopyFrom(encode_time(event.record_time))
    message.run = event.run


def event_message(event: TraceEvent) -> trace_pb2.TraceEvent:
    """Return the event as a message."""
    message = draft_message(event)
    _set_place(message, event)
    return message


def draft_message(event: EventDraft | TraceEvent) -> trace_pb2.TraceEvent:
    """Return what a caller may say of an event as a message.

    Raises UnicodeEncodeError for a lone surrogate, and InvalidArgument, which names every other field that has no
    encoding, such as a time without an offset or a number that a double cannot hold.
    """
    try:
        return _draft_message(event)
    except UnicodeEncodeError:
        raise
    except (InvalidArgument, *_UNFIT):
        raise InvalidArgument(_unfit_fields(event)) from None


#: What protobuf and the encodings of times raise for values that they cannot take.
_UNFIT = (TypeError, ValueError, OverflowError, AttributeError, KeyError)
_EXPECTED = {
    "start_time": "must be a time with an offset, in the years 1 to 9999",
    "end_time": "must be a time with an offset, in the years 1 to 9999",
    "trace_status": "must be a TraceStatus",
    "trace_event_status": "must be a TraceEventStatus",
    "status_body": "must be a JSON object",
    "meta": "must be a JSON object",
    "duration": "must be a timedelta of 0 to 315,576,000,000 s",
    "exception": "must be an ExceptionDetail of texts",
    "errors": "must be ErrorDetails, each with a message of language to text",
    "inputs": "must be Datasets of texts",
    "outputs": "must be Datasets of texts",
    "attempt": "must be a whole number from 0 to 2,147,483,647",
}


def _unfit_fields(event: EventDraft | TraceEvent) -> list[FieldViolation]:
    """Return the fields that have no encoding, each tried alone."""
    found: list[FieldViolation] = []
    for name in (field.name for field in fields(EventDraft) if field.name not in ("encoded_bytes", "encodings")):
        try:
            _draft_message(EventDraft(**{name: getattr(event, name)}))
        except UnicodeEncodeError:
            pass
        except InvalidArgument as error:
            found += [FieldViolation(f"event.{name}{bad.field}", bad.description) for bad in error.violations]
        except _UNFIT:
            found.append(FieldViolation(f"event.{name}", _EXPECTED.get(name, "must be a text")))
    return found


def _draft_message(event: EventDraft | TraceEvent) -> trace_pb2.TraceEvent:
    message = trace_pb2.TraceEvent(
        trace_id=event.trace_id,
        trace_event_id=event.trace_event_id,
        domain=event.domain,
        domain_id=event.domain_id,
        trace_status=TRACE_STATUS_NUMBERS[event.trace_status],  # type: ignore[arg-type]
        trace_event_status=TRACE_EVENT_STATUS_NUMBERS[event.trace_event_status],  # type: ignore[arg-type]
        user=event.user,
        component=event.component,
        operation=event.operation,
        s3_path=event.s3_path,
        step_id=event.step_id,
        attempt=event.attempt,
    )
    if event.start_time is not None:
        fill_time(message.start_time, event.start_time)
    if event.end_time is not None:
        fill_time(message.end_time, event.end_time)
    if event.status_body is not None:
        fill_struct(message.status_body, event.status_body)
    if event.meta is not None:
        fill_struct(message.meta, event.meta)
    if event.duration is not None:
        message.duration.CopyFrom(encode_duration(event.duration))
    if event.exception is not None:
        detail = event.exception
        message.exception.type, message.exception.message = detail.type, detail.message
        message.exception.traceback = detail.traceback
        message.exception.SetInParent()
    for index, error in enumerate(event.errors):
        try:
            fill_error(message.errors.add(), error)
        except InvalidArgument as bad:
            places = [FieldViolation(f"[{index}].details{v.field}", v.description) for v in bad.violations]
            raise InvalidArgument(places) from None
    for dataset in event.inputs:
        message.inputs.add(uri=dataset.uri, version=dataset.version)
    for dataset in event.outputs:
        message.outputs.add(uri=dataset.uri, version=dataset.version)
    return message


def fill_error(message: trace_pb2.ErrorDetail, error: ErrorDetail) -> None:
    """Write the error into an empty message. Raises as `fill_struct`."""
    message.message.update(error.message)
    if error.details is not None:
        fill_struct(message.details, error.details)
    message.SetInParent()


def to_error(message: trace_pb2.ErrorDetail) -> ErrorDetail:
    """Return the error of a message that the server made."""
    return ErrorDetail(dict(message.message), to_object(message.details) if message.HasField("details") else None)


def to_event(message: trace_pb2.TraceEvent) -> TraceEvent:
    """Return the recorded event of a message that the server made."""
    return TraceEvent(
        trace_id=message.trace_id,
        trace_event_id=message.trace_event_id,
        domain=message.domain,
        domain_id=message.domain_id,
        start_time=to_time(message.start_time),
        end_time=to_time(message.end_time) if message.HasField("end_time") else None,
        trace_status=TRACE_STATUSES.get(message.trace_status) or TraceStatus.CONTINUE,
        trace_event_status=TRACE_EVENT_STATUSES.get(message.trace_event_status) or TraceEventStatus.OK,
        user=message.user,
        component=message.component,
        operation=message.operation,
        status_body=to_object(message.status_body) if message.HasField("status_body") else None,
        meta=to_object(message.meta) if message.HasField("meta") else None,
        s3_path=message.s3_path,
        duration=to_duration(message.duration) if message.HasField("duration") else None,
        exception=_exception(message.exception) if message.HasField("exception") else None,
        errors=tuple(to_error(error) for error in message.errors),
        inputs=tuple(Dataset(d.uri, d.version) for d in message.inputs),
        outputs=tuple(Dataset(d.uri, d.version) for d in message.outputs),
        step_id=message.step_id,
        attempt=message.attempt,
        sequence=message.sequence,
        record_time=to_time(message.record_time),
        run=message.run,
    )
