"""Drafts, events and traces to messages and back: nothing is lost, nothing added."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from builders import FINISHED_FAILED, NOON, draft, error
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import drafts, times
from tracestatus.v1 import trace_pb2

from status_grpc.domain.errors import FieldViolation
from status_grpc.domain.events import EventDraft, ExceptionDetail, TraceEventStatus, TraceStatus
from status_grpc.domain.limits import Limits
from status_grpc.domain.traces import Trace, apply, heard, record, record_first
from status_grpc.wire.events import decode_draft, draft_message, encode_event, event_message, to_event
from status_grpc.wire.times import decode_duration, decode_time, encode_duration, encode_time, to_duration, to_time
from status_grpc.wire.traces import encode_trace, to_trace, trace_message

LIMITS = Limits()


def received(message: trace_pb2.TraceEvent) -> EventDraft:
    """Return the draft that an edge makes of the message once it has travelled."""
    violations: list[FieldViolation] = []
    result = decode_draft(trace_pb2.TraceEvent.FromString(message.SerializeToString()), LIMITS, violations)
    assert violations == []
    return result


def violations_of(message: trace_pb2.TraceEvent) -> list[str]:
    violations: list[FieldViolation] = []
    decode_draft(message, LIMITS, violations)
    return [violation.field for violation in violations]


@settings(max_examples=60)
@given(drafts())
def test_a_draft_travels_unchanged(event: EventDraft) -> None:
    assert received(draft_message(event)) == event


@settings(max_examples=60)
@given(drafts(), times())
def test_a_recorded_event_travels_unchanged(event: EventDraft, now: datetime) -> None:
    recorded = record_first(event, "trace", "event", now=now)
    assert to_event(event_message(recorded)) == recorded


@settings(max_examples=60)
@given(drafts(), times())
def test_the_answer_made_of_the_request_is_the_one_made_of_the_event(event: EventDraft, now: datetime) -> None:
    request = draft_message(event)
    # What a caller may also send, and the server decides.
    request.sequence, request.run = 77, 9
    request.record_time.FromSeconds(5)
    recorded = record_first(received(request), "trace", "event", now=now)
    assert trace_pb2.TraceEvent.FromString(encode_event(recorded)) == event_message(recorded)


def test_an_event_is_encoded_once() -> None:
    recorded = record_first(received(draft_message(draft())), "trace", "event", now=NOON)
    assert encode_event(recorded) is encode_event(recorded)


def test_what_the_service_does_not_know_is_not_handed_on() -> None:
    unknown = trace_pb2.TraceEvent.FromString(draft_message(draft()).SerializeToString() + b"\xfa\x3f\x03abc")
    recorded = record_first(received(unknown), "trace", "event", now=NOON)
    assert b"abc" not in encode_event(recorded)


def test_times_are_kept_to_the_microsecond() -> None:
    message = draft_message(draft(start_time=NOON, end_time=NOON, duration=timedelta(seconds=1)))
    message.start_time.nanos, message.end_time.nanos, message.duration.nanos = 123_456_789, 223_456_789, 999_999_999
    recorded = record_first(received(message), "trace", "event", now=NOON)
    answer = trace_pb2.TraceEvent.FromString(encode_event(recorded))
    assert answer == event_message(recorded)
    assert (answer.start_time.nanos, answer.end_time.nanos) == (123_456_000, 223_456_000)
    assert answer.duration.nanos == 999_999_000


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    trace = apply(None, record_first(draw(drafts()), "trace", "0", now=draw(times())))
    for number, event in enumerate(draw(st.lists(drafts(), max_size=3)), 1):
        trace = apply(trace, record(trace, event, str(number), new_run=trace.done and draw(st.booleans()), now=NOON))
    return heard(trace, now=draw(times())) if draw(st.booleans()) else trace


@settings(max_examples=40)
@given(traces())
def test_a_trace_travels_unchanged(trace: Trace) -> None:
    assert to_trace(trace_pb2.Trace.FromString(encode_trace(trace))) == trace


def test_the_reason_travels() -> None:
    trace = apply(None, record_first(draft(), "a", "1", now=NOON))
    trace = apply(trace, record(trace, draft(operation="check", step_id="s", errors=(error("bad"),)), "2", now=NOON))
    trace = apply(trace, record(trace, draft(component="end", **FINISHED_FAILED), "3", now=NOON))
    message = trace_message(trace)
    assert message.first_failure.component == "validator"
    assert dict(message.errors[0].error.message) == {"en": "bad"}
    assert (message.errors[0].sequence, message.errors[0].operation, message.error_count) == (2, "check", 1)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("event.trace_status", {"trace_status": 4}),
        ("event.trace_status", {"trace_status": -1}),
        ("event.trace_event_status", {"trace_event_status": 99}),
        ("event.start_time", {"start_time": Timestamp(seconds=-62_135_596_801)}),
        ("event.start_time", {"start_time": Timestamp(nanos=-1)}),
        ("event.end_time", {"end_time": Timestamp(seconds=253_402_300_800)}),
        ("event.end_time", {"end_time": Timestamp(nanos=1_000_000_000)}),
        ("event.duration", {"duration": Duration(seconds=-1)}),
        ("event.duration", {"duration": Duration(nanos=-1)}),
        ("event.duration", {"duration": Duration(seconds=315_576_000_001)}),
        ("event.duration", {"duration": Duration(nanos=1_000_000_000)}),
    ],
)
def test_what_no_draft_can_express_is_named(field: str, change: dict[str, Any]) -> None:
    message = draft_message(draft())
    message.MergeFrom(trace_pb2.TraceEvent(**change))
    assert violations_of(message) == [field]


def test_details_of_an_error_are_named_with_the_error_s_place() -> None:
    message = draft_message(draft(errors=(error("a"), error("b"))))
    message.errors[1].details.fields["rows"].list_value.values.add()
    assert violations_of(message) == ["event.errors[1].details.rows[0]"]


def test_every_status_has_the_number_of_its_name() -> None:
    for status in TraceStatus:
        assert draft_message(draft(trace_status=status)).trace_status == getattr(
            trace_pb2, f"TRACE_STATUS_{status.value}"
        )
    for outcome in TraceEventStatus:
        assert draft_message(draft(trace_event_status=outcome)).trace_event_status == getattr(
            trace_pb2, f"TRACE_EVENT_STATUS_{outcome.value}"
        )


def test_an_exception_of_which_nothing_is_said_is_still_one() -> None:
    assert received(draft_message(draft(exception=ExceptionDetail()))).exception == ExceptionDetail()
    assert received(draft_message(draft())).exception is None


@given(st.integers(), st.integers(-(2**31), 2**31 - 1))
def test_any_timestamp_and_duration_is_decoded_or_named(seconds: int, nanos: int) -> None:
    seconds %= 2**63
    for kind, decode in ((Timestamp, decode_time), (Duration, decode_duration)):
        violations: list[FieldViolation] = []
        value = decode("event.when", kind(seconds=seconds, nanos=nanos), violations)
        assert (value is None) == bool(violations)
        assert [v.field for v in violations] in ([], ["event.when"])


@given(times(), st.timedeltas(timedelta(), timedelta(seconds=315_576_000_000)))
def test_times_travel_unchanged(time: datetime, duration: timedelta) -> None:
    violations: list[FieldViolation] = []
    assert decode_time("t", encode_time(time), violations) == to_time(encode_time(time)) == time
    assert decode_duration("d", encode_duration(duration), violations) == to_duration(encode_duration(duration))
    assert to_duration(encode_duration(duration)) == duration
    assert violations == []


@pytest.mark.parametrize("time", [datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_the_ends_of_time_travel(time: datetime) -> None:
    message = Timestamp()
    message.FromDatetime(time)
    assert encode_time(time) == message
    assert to_time(message) == time
