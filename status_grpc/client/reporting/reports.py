"""Reports: events in the form in which they travel, small enough and without what the service refuses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1 import trace_pb2

from status_grpc.client.encodings import encode_draft
from status_grpc.client.reporting.once import warn_once
from status_grpc.domain.errors import InvalidArgument
from status_grpc.domain.events import EventDraft, TraceStatus
from status_grpc.wire.framing import embedded
from status_grpc.wire.structs import fill_struct
from status_grpc.wire.times import encode_time

#: The service takes events of 1 MiB, to which it adds a little itself.
_LARGEST_EVENT = 1024 * 1024 - 4096
#: What is left out of an event that is too large, the most dispensable first, until it fits.
_DISPENSABLE = ("status_body", "meta", "inputs", "outputs", "errors", "exception")
#: Without these an event is not what it was.
_INDISPENSABLE = ("trace_id", "trace_event_id", "component", "trace_status", "trace_event_status")
_EXPIRE_TIME = pb.CreateRequest.EXPIRE_TIME_FIELD_NUMBER
_EVENT_FIELD = re.compile(r"\bevent\.(\w+)")
#: The field of an error about the size of the whole event.
_WHOLE_EVENT = re.compile(r"\bevent$")


@dataclass(frozen=True, slots=True)
class Report:
    """One event on its way: the encoded CreateRequest (`creates`) or UpdateRequest."""

    creates: bool
    data: bytes

    def request(self) -> pb.CreateRequest | pb.UpdateRequest:
        """Return the request."""
        return pb.CreateRequest.FromString(self.data) if self.creates else pb.UpdateRequest.FromString(self.data)


def make_report(draft: EventDraft, *, creates: bool = False, expire_time: datetime | None = None) -> Report:
    """Return the event as a report.

    What makes it too large or cannot be encoded is left out, and `meta.left_out` says so. Raises InvalidArgument only
    for an event whose ids, component or statuses cannot be encoded.
    """
    message = _encode(draft)
    if message.ByteSize() > _LARGEST_EVENT:
        _shrink(message, _LARGEST_EVENT)
    # An UpdateRequest and a CreateRequest have the event in the same place.
    data = embedded(1, message.SerializeToString())
    if creates and expire_time is not None:
        try:
            data += embedded(_EXPIRE_TIME, encode_time(expire_time).SerializeToString())
        except (TypeError, ValueError, OverflowError) as error:
            warn_once("expire_time", "status-grpc: expire_time=%.100s is left out: %s", expire_time, error)
    return Report(creates, data)


def _encode(draft: EventDraft) -> trace_pb2.TraceEvent:
    try:
        return encode_draft(draft)
    except InvalidArgument as error:
        unfit = _fields_of(error) - set(_INDISPENSABLE)
        warn_once(f"unfit {sorted(unfit)}", "status-grpc: part of an event is left out: %s", error)
        given = {name: getattr(draft, name) for name in draft.__slots__ if name not in unfit}
        message = encode_draft(EventDraft(**given))
        _leave_out(message, unfit, "cannot be encoded")
        return message


def _fields_of(error: InvalidArgument) -> set[str]:
    """Return the fields of an event that the error is about."""
    return {name for field in error.fields for name in _EVENT_FIELD.findall(field)}


def finishes(draft: EventDraft) -> bool:
    """Return whether the event ends its trace."""
    return draft.trace_status is TraceStatus.FINISHED


def without_refused(report: Report, error: InvalidArgument) -> Report | None:
    """Return the report without the fields that the service has refused; None when nothing can be left out."""
    if any(_WHOLE_EVENT.search(field) for field in error.fields):
        return made_smaller(report)
    request = report.request()
    event, fields = request.event, request.event.DESCRIPTOR.fields_by_name
    leave_out = [name for name in _fields_of(error) - set(_INDISPENSABLE) if name in fields]
    refuses_expiry = request.HasField("expire_time") and any("expire_time" in field for field in error.fields)
    if not leave_out and not refuses_expiry:
        return None
    if refuses_expiry:
        request.ClearField("expire_time")
    if leave_out:
        _leave_out(event, leave_out, "refused")
    return Report(report.creates, request.SerializeToString())


def made_smaller(report: Report) -> Report | None:
    """Return the report at half its size or less.

    For a service with lower limits. None: there is little left to leave out.
    """
    request = report.request()
    if not _shrink(request.event, request.event.ByteSize() // 2):
        return None
    return Report(report.creates, request.SerializeToString())


def _shrink(message: trace_pb2.TraceEvent, most_bytes: int) -> bool:
    """Leave out fields until the message is small enough.

    Returns whether any was left out.
    """
    present = {field.name for field, _ in message.ListFields()}
    left_out = []
    for name in _DISPENSABLE:
        if message.ByteSize() <= most_bytes:
            break
        if name in present:
            message.ClearField(name)
            left_out.append(name)
    if left_out:
        _leave_out(message, left_out, "too large")
    return bool(left_out)


def _leave_out(message: trace_pb2.TraceEvent, names: Iterable[str], reason: str) -> None:
    for name in names:
        message.ClearField(name)
    fill_struct(message.meta.fields["left_out"].struct_value, dict.fromkeys(names, reason))
