"""Requests as JSON: what is one is read to the last field, what is none is a finding that names the field."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import drafts, json_objects
from test_wire_parsing import REQUESTS
from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1 import trace_pb2

from status_grpc.domain.events import EventDraft, TraceEvent, TraceEventStatus, TraceStatus
from status_grpc.domain.limits import Limits
from status_grpc.wire.events import draft_message, encode_event
from status_grpc.wire.json_messages import event_json, message_json, parse_json
from status_grpc.wire.parsing import Malformed


def bad_field(kind: type[Message], value: object) -> tuple[str, str]:
    result = parse_json(kind, value.encode() if isinstance(value, str) else json.dumps(value).encode())
    assert isinstance(result, Malformed), result
    return result.violation.field, result.violation.description


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"x": [value]}
    return value


@given(drafts())
def test_a_request_comes_through_json_as_it_was(draft: EventDraft) -> None:
    request = pb.UpdateRequest(event=draft_message(draft), expected_sequence=2**62, new_run=True)
    assert parse_json(pb.UpdateRequest, message_json(request)) == request
    by_proto_names = json_format.MessageToJson(request, preserving_proto_field_name=True)
    assert parse_json(pb.UpdateRequest, by_proto_names.encode()) == request


def test_json_as_deep_as_an_event_may_be_is_read() -> None:
    body = nested(Limits().json_depth // 2)
    request = parse_json(pb.CreateRequest, json.dumps({"event": {"statusBody": body}}).encode())
    assert isinstance(request, pb.CreateRequest)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "request"),
        ("{", "request"),
        ("[]", "request"),
        ("null", "request"),
        ("3", "request"),
        ('"x"', "request"),
        ('{"event": 3}', "event"),
        ('{"event": {"user": 3}}', "event.user"),
        ('{"event": {"user": "\\ud800"}}', "event.user"),
        ('{"event": {"traceStatus": "FINISHED"}}', "event.trace_status"),
        ('{"event": {"trace_status": "FINISHD"}}', "event.trace_status"),
        ('{"event": {"startTime": "yesterday"}}', "event.start_time"),
        ('{"event": {"startTime": 1764000000}}', "event.start_time"),
        ('{"event": {"duration": 17}}', "event.duration"),
        ('{"event": {"attempt": 1.5}}', "event.attempt"),
        ('{"event": {"attempt": 1e300}}', "event.attempt"),
        ('{"event": {"inputs": {}}}', "event.inputs"),
        ('{"event": {"inputs": [{"uri": 3}]}}', "event.inputs.uri"),
        ('{"event": {"errors": [{"message": {"en": 3}}]}}', "event.errors.message"),
        ('{"event": {"statusBody": [1]}}', "event.status_body"),
        ('{"event": {"statusBody": {"\\ud800": 1}}}', "event.status_body"),
        ('{"event": {"surname": 1}}', "event.surname"),
        ('{"traceID": 1}', "traceID"),
        ('{"event": {}, "event": {}}', "request"),
        ('{"event": {"statusBody": {"x": 1, "x": 2}}}', "request"),
        ('{"event": {"statusBody": {"x": %s}}}' % ("[" * 500 + "]" * 500), "event.status_body"),
        ('{"event": {"statusBody": {"x": %s}}}' % ("[" * 100_000 + "]" * 100_000), "request"),
        ('{"event": {"statusBody": {"x": 1%s}}}' % ("0" * 400), "request"),
        ('{"event": {"statusBody": {"x": 1%s}}}' % ("0" * 5_000), "request"),
    ],
)
def test_what_is_wrong_is_said_of_its_field(text: str, field: str) -> None:
    found, description = bad_field(pb.CreateRequest, text)
    assert found == field
    # In words of ours: what the parser says is meant for whoever programs in Python.
    for word in ("object is not", "codec", "NoneType", "Error", "float", "recursion"):
        assert word not in description


def test_one_of_two_is_not_chosen_in_silence() -> None:
    bad_field(pb.StreamTraceRequest, {"traceId": "x", "s3Path": "y"})


@given(st.binary(max_size=100) | st.text(max_size=50).map(str.encode), st.sampled_from(REQUESTS))
@example(b"\xff\xfe", pb.CreateRequest)
@example(b'{"event":{"statusBody":{"x":NaN}}}', pb.CreateRequest)
@example(b'\xef\xbb\xbf{"event":{}}', pb.CreateRequest)
def test_any_bytes_are_a_request_or_a_finding(data: bytes, kind: type[Message]) -> None:
    result = parse_json(kind, data)
    assert isinstance(result, kind) or (result.violation.field and result.violation.description)


_NAMES = [field.name for field in trace_pb2.TraceEvent.DESCRIPTOR.fields]
_ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(_NAMES), _ANY_JSON, max_size=4))
def test_any_json_is_an_event_or_a_finding(event: dict[str, Any]) -> None:
    result = parse_json(pb.CreateRequest, json.dumps({"event": event}).encode())
    assert isinstance(result, pb.CreateRequest) or result.violation.field


def recorded(draft: EventDraft) -> TraceEvent:
    fields = {name: getattr(draft, name) for name in EventDraft.__dataclass_fields__ if name != "encoded_bytes"}
    now = datetime(2026, 11, 23, tzinfo=UTC)
    fields |= {"trace_status": draft.trace_status or TraceStatus.CONTINUE, "encodings": {}}
    fields |= {"trace_event_status": draft.trace_event_status or TraceEventStatus.OK}
    return TraceEvent(**fields | {"start_time": draft.start_time or now, "sequence": 7, "record_time": now, "run": 1})


@given(drafts())
def test_an_events_json_says_what_its_message_does(draft: EventDraft) -> None:
    event = recorded(draft)
    message = json_format.Parse(event_json(event), trace_pb2.TraceEvent())
    assert message == trace_pb2.TraceEvent.FromString(encode_event(event))
    assert event_json(event) is event_json(event)


@given(json_objects, st.integers(2**53, 2**200))
def test_an_events_json_has_its_integers_to_the_last_digit(body: dict[str, Any], large: int) -> None:
    event = recorded(EventDraft(status_body=body | {"large": large}, meta={"large": -large}))
    fields = json.loads(event_json(event))
    assert fields["statusBody"] == body | {"large": large}
    assert fields["meta"] == {"large": -large}


@given(st.text(alphabet=st.sampled_from("\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029x"), max_size=6))
def test_json_is_one_line_to_every_reader(text: str) -> None:
    message = trace_pb2.TraceEvent(user=text)
    (line,) = message_json(message).decode().splitlines()
    assert json_format.Parse(line, trace_pb2.TraceEvent()) == message
