"""What each call of the client does, without doing it: generators that say what to send and how long to pause.

A driver (`sync`, `aio`) runs an operation: it sends each `Send` and throws in the StatusError that came back or sends
in the answer, and sleeps each `Pause`. Nothing here knows about channels, threads or event loops.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sized
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from google.protobuf.message import Message
from tracestatus.v1 import status_service_pb2 as pb

from status_grpc.client.encodings import encode_draft, set_time
from status_grpc.client.options import ClientOptions
from status_grpc.client.retrying import Attempts
from status_grpc.client.values import EventFields, PathMatch, TraceHistory, Update, Written
from status_grpc.domain.errors import FieldViolation, Internal, InvalidArgument, StatusError
from status_grpc.domain.events import EventDraft, TraceEvent, TraceEventStatus, TraceStatus
from status_grpc.domain.ids import mint_event_id
from status_grpc.domain.text import escape_surrogates
from status_grpc.domain.traces import Trace
from status_grpc.wire.events import TRACE_EVENT_STATUS_NUMBERS, TRACE_STATUS_NUMBERS, to_event
from status_grpc.wire.traces import to_trace


@dataclass(frozen=True, slots=True)
class Send:
    """Call this method of the stub with this request; give up after `timeout` seconds."""

    method: str
    request: Message
    timeout: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for so many seconds."""

    seconds: float


T = TypeVar("T")
Operation: TypeAlias = Generator[Send | Pause, Any, T]


def attempts(options: ClientOptions, timeout: float | None) -> Attempts:
    """Return the attempts of one call, which begins now; without a timeout the default ones hold."""
    if timeout is not None:
        return Attempts(timeout, options.attempt_timeout, clock=time.monotonic)
    return Attempts(
        options.timeout, options.attempt_timeout, connect_timeout=options.connect_timeout, clock=time.monotonic
    )


def call(tries: Attempts, method: str, request: Message) -> Operation[Any]:
    """Make one call, as often as it takes; returns the answer's message."""
    while True:
        try:
            answer = yield Send(method, request, tries.next_timeout())
        except StatusError as error:
            yield Pause(tries.failed(error))
        else:
            tries.succeeded()
            return answer


#: Most entries that the service puts into a page, whatever is asked for: lineage adds the trace it begins with.
_LARGEST_PAGE = 1001


def checked_page(entries: Sized, request: Message, token: str) -> None:
    """Raise Internal for a page too large or leading to itself."""
    if len(entries) > _LARGEST_PAGE:
        raise Internal(f"the page has {len(entries)} entries, more than {_LARGEST_PAGE}", incident="page")
    if token and token == request.page_token:  # type: ignore[attr-defined]
        raise Internal("the page's token leads to the same page again", incident="page")


def complete_draft(draft: EventDraft | None, fields: EventFields) -> EventDraft:
    """Return the draft with these fields set, and with an id: what has an id can be sent again without a duplicate."""
    given: dict[str, Any] = dict(fields)
    for name in ("errors", "inputs", "outputs"):
        if name in given:
            given[name] = tuple(given[name])
    draft = replace(draft, **given) if draft is not None else EventDraft(**given)
    return draft if draft.trace_event_id else replace(draft, trace_event_id=mint_event_id())


def create(
    options: ClientOptions, draft: EventDraft, *, expire_time: datetime | None, timeout: float | None
) -> Operation[Written]:
    """Start a trace."""
    request = pb.CreateRequest(event=encode_draft(draft))
    set_time(request, "expire_time", expire_time)
    answer: pb.CreateResponse = yield from call(attempts(options, timeout), "Create", request)
    return Written(to_trace(answer.trace), to_event(answer.event))


def update(options: ClientOptions, update: Update, *, timeout: float | None) -> Operation[Written]:
    """Append an event."""
    request = update_request(update)
    answer: pb.UpdateResponse = yield from call(attempts(options, timeout), "Update", request)
    return Written(to_trace(answer.trace), to_event(answer.event))


def update_request(update: Update) -> pb.UpdateRequest:
    """Return the update as a message. Raises InvalidArgument."""
    request = pb.UpdateRequest(event=encode_draft(update.draft))
    try:
        if update.expected_sequence is not None:
            request.expected_sequence = update.expected_sequence
        request.new_run = update.new_run
    except (TypeError, ValueError):
        expected = "must be a whole number below 2^63, and new_run true or false"
        raise InvalidArgument([FieldViolation("expected_sequence", expected)]) from None
    set_time(request, "expire_time", update.expire_time)
    return request


def heartbeat(options: ClientOptions, trace_id: str, *, step_id: str, timeout: float | None) -> Operation[Trace]:
    """Say that the producers of a trace are alive."""
    request = pb.HeartbeatRequest(trace_id=escape_surrogates(trace_id), step_id=escape_surrogates(step_id))
    answer: pb.HeartbeatResponse = yield from call(attempts(options, timeout), "Heartbeat", request)
    return to_trace(answer.trace)


def get_trace(
    options: ClientOptions, trace_id: str, *, after_sequence: int, max_events: int | None, timeout: float | None
) -> Operation[TraceHistory]:
    """Read a trace, page by page."""
    tries = attempts(options, timeout)
    events: list[TraceEvent] = []
    request = pb.GetTraceRequest(trace_id=escape_surrogates(trace_id), after_sequence=after_sequence)
    while True:
        wanted = 1000 if max_events is None else max_events - len(events)
        request.page_size = min(max(wanted, 1), 1000)
        answer: pb.GetTraceResponse = yield from call(tries, "GetTrace", request)
        checked_page(answer.events, request, answer.next_page_token)
        events.extend(to_event(event) for event in answer.events)
        request.page_token = answer.next_page_token
        if not request.page_token or (max_events is not None and len(events) >= max_events):
            return TraceHistory(to_trace(answer.trace), tuple(events[:max_events]))


def get_by_path(
    options: ClientOptions, s3_path: str, *, domain: str, domain_id: str, timeout: float | None
) -> Operation[PathMatch]:
    """Find traces by path."""
    request = pb.GetByPathRequest(
        s3_path=escape_surrogates(s3_path), domain=escape_surrogates(domain), domain_id=escape_surrogates(domain_id)
    )
    answer: pb.GetByPathResponse = yield from call(attempts(options, timeout), "GetByPath", request)
    return PathMatch(to_trace(answer.trace), tuple(answer.trace_ids))


def list_request(filters: Mapping[str, Any], page_size: int) -> pb.ListTracesRequest:
    """Return the request for the first page; `filters` are the arguments of `list_traces`, empty or None for any."""
    request = pb.ListTracesRequest(page_size=page_size)
    for name, value in filters.items():
        if isinstance(value, TraceStatus):
            request.status = TRACE_STATUS_NUMBERS[value]  # type: ignore[assignment]
        elif isinstance(value, TraceEventStatus):
            request.outcome = TRACE_EVENT_STATUS_NUMBERS[value]  # type: ignore[assignment]
        elif isinstance(value, datetime):
            set_time(request, name, value)
        elif isinstance(value, str):
            setattr(request, name, escape_surrogates(value))
        elif value:
            setattr(request, name, value)
    return request


def list_page(
    options: ClientOptions, request: pb.ListTracesRequest, *, timeout: float | None
) -> Operation[tuple[list[Trace], bool]]:
    """Read a page of traces and move the request on to the next one; returns also whether there is one."""
    answer: pb.ListTracesResponse = yield from call(attempts(options, timeout), "ListTraces", request)
    checked_page(answer.traces, request, answer.next_page_token)
    request.page_token = answer.next_page_token
    return [to_trace(trace) for trace in answer.traces], bool(answer.next_page_token)
