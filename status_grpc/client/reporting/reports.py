"""Reports: events in the form in which they travel, small enough and without what the service refuses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1 import trace_pb2

from status_grpc.domain.errors import InvalidArgument
from status_grpc.domain.events import EventDraft, TraceStatus
from status_grpc.wire.events import draft_message
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


@dataclass(frozen=True, slots=True)
class Report:
    """One event on its way: the encoded CreateRequest (`creates`) or UpdateRequest."""

    creates: bool
    data: bytes

    def request(self) -> pb.CreateRequest | pb.UpdateRequest:
        """Return the request."""
        return pb.CreateRequest.FromString(self.data) if self.creates else pb.UpdateRequest.FromString(self.data)


def make_report(draft: EventDraft, *, creates: bool = False, expire_time: datetime | None = None) -> Report:
    """Return the event as a report. What makes it too large is left out, and `meta.left_out` says so."""
    message = draft_message(draft)
    if message.ByteSize() > _LARGEST_EVENT:
        _shrink(message)
    # An UpdateRequest and a CreateRequest have the event in the same place.
    data = embedded(1, message.SerializeToString())
    if creates and expire_time is not None:
        data += embedded(_EXPIRE_TIME, encode_time(expire_time).SerializeToString())
    return Report(creates, data)


def finishes(draft: EventDraft) -> bool:
    """Return whether the event ends its trace."""
    return draft.trace_status is TraceStatus.FINISHED


def without_refused(report: Report, error: InvalidArgument) -> Report | None:
    """Return the report without the fields that the service has refused; None when nothing can be left out."""
    request = report.request()
    refused = {name for field in error.fields for name in _EVENT_FIELD.findall(field)}
    leave_out = [name for name in refused - set(_INDISPENSABLE) if name in request.event.DESCRIPTOR.fields_by_name]
    if not leave_out:
        return None
    _leave_out(request.event, leave_out, "refused")
    return Report(report.creates, request.SerializeToString())


def _shrink(message: trace_pb2.TraceEvent) -> None:
    left_out = []
    for name in _DISPENSABLE:
        message.ClearField(name)
        left_out.append(name)
        if message.ByteSize() <= _LARGEST_EVENT:
            break
    _leave_out(message, left_out, "too large")


def _leave_out(message: trace_pb2.TraceEvent, names: Iterable[str], reason: str) -> None:
    for name in names:
        message.ClearField(name)
    fill_struct(message.meta.fields["left_out"].struct_value, dict.fromkeys(names, reason))
