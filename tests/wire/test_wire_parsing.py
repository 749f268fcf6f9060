"""Requests that are no requests: parsing never raises, and says what is wrong where."""

from __future__ import annotations

import pytest
from google.protobuf import message_factory
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value
from hypothesis import example, given
from hypothesis import strategies as st
from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1 import trace_pb2

from status_grpc.domain.errors import InvalidArgument
from status_grpc.edge.incidents import trace_id_of
from status_grpc.wire.framing import embedded
from status_grpc.wire.parsing import Malformed, later, parser

REQUESTS: list[type[Message]] = [
    pb.CreateRequest,
    pb.UpdateRequest,
    pb.BatchUpdateRequest,
    pb.HeartbeatRequest,
    pb.GetTraceRequest,
    pb.GetByPathRequest,
    pb.StreamTraceRequest,
    pb.WaitTraceRequest,
    pb.ListTracesRequest,
    pb.GetLineageRequest,
]


def bad_field(kind: type[Message], data: bytes) -> tuple[str, str]:
    result = parser(kind)(data)
    assert isinstance(result, Malformed)
    return result.violation.field, result.violation.description


@given(st.binary(max_size=200), st.sampled_from(REQUESTS))
@example(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", pb.CreateRequest)
@example(b"\xff" * 30, pb.CreateRequest)
@example(b"\x0b\x0c", pb.CreateRequest)
def test_random_bytes_are_a_request_or_a_finding(data: bytes, kind: type[Message]) -> None:
    result = parser(kind)(data)
    if isinstance(result, Malformed):
        assert result.violation.field
        assert len(result.violation.field) <= 200
        assert result.violation.description
    else:
        assert isinstance(result, kind)


@given(st.data())
def test_a_request_with_some_bytes_changed_is_a_request_or_a_finding(data: st.DataObject) -> None:
    request = pb.UpdateRequest(expected_sequence=5)
    request.event.trace_id = "trace"
    request.event.errors.add(message={"nb": "feil"}).details.update({"rows": [1, 2, {"x": "y"}]})
    request.event.start_time.FromSeconds(1_800_000_000)
    encoded = bytearray(request.SerializeToString())
    for position in data.draw(st.lists(st.integers(0, len(encoded) - 1), min_size=1, max_size=4)):
        encoded[position] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(encoded)))
    for attempt in (bytes(encoded), bytes(encoded[:cut])):
        result = parser(pb.UpdateRequest)(attempt)
        assert isinstance(result, pb.UpdateRequest) or result.violation.field


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_is_parsed(kind: type[Message]) -> None:
    assert parser(kind)(b"") == kind()


def field_of(kind: type[Message], name: str, value: bytes) -> bytes:
    """Return the bytes as the named field of a message, whether they are what the field holds or not."""
    number = kind.DESCRIPTOR.fields_by_name[name].number
    if number < 16:
        return embedded(number, value)
    assert number < 2048
    assert len(value) < 0x80
    return bytes((number << 3 & 0x7F | 0x82, number >> 4, len(value))) + value


BAD_UTF_8 = b"\xed\xa0\x80"  # half of a character, as a sloppy encoder writes it


@pytest.mark.parametrize(
    "field", [f.name for f in trace_pb2.TraceEvent.DESCRIPTOR.fields if f.type == f.TYPE_STRING], ids=str
)
def test_text_that_is_not_utf_8_is_named(field: str) -> None:
    create = field_of(pb.CreateRequest, "event", field_of(trace_pb2.TraceEvent, field, BAD_UTF_8))
    assert bad_field(pb.CreateRequest, create) == (f"event.{field}", "is not valid UTF-8")


def test_text_that_is_not_utf_8_is_named_in_lists_and_maps() -> None:
    good = trace_pb2.ErrorDetail(message={"en": "x"}).SerializeToString()
    bad = good[:-1] + b"\xff"
    errors = b"".join(field_of(trace_pb2.TraceEvent, "errors", error) for error in (good, bad))
    item = field_of(pb.BatchUpdateRequest, "requests", field_of(pb.UpdateRequest, "event", errors))
    place, why = bad_field(pb.BatchUpdateRequest, item + item)
    assert (place, why) == ("requests[0].event.errors[1].message[0].value", "is not valid UTF-8")


def nested(levels: int) -> bytes:
    """Return a request whose status_body has so many levels: protobuf itself builds none as deep."""
    value = Value(number_value=1).SerializeToString()
    for _ in range(levels):
        struct = embedded(1, embedded(1, b"k") + embedded(2, value))
        value = field_of(Value, "struct_value", struct)
    return field_of(pb.CreateRequest, "event", field_of(trace_pb2.TraceEvent, "status_body", struct))


@pytest.mark.parametrize("levels", [*range(20, 60), 1000])
def test_a_struct_is_parsed_or_named_as_nested_too_deep(levels: int) -> None:
    data = nested(levels)
    result = parser(pb.CreateRequest)(data)
    if levels < 25:
        assert isinstance(result, pb.CreateRequest)
    if isinstance(result, Malformed):
        assert result.violation.field.startswith("event.status_body.fields[0]")
        assert result.violation.description == "is nested too deep"
    else:
        assert levels < 100


def test_what_is_cut_short_is_named() -> None:
    whole = pb.CreateRequest()
    whole.event.component = "validator"
    assert bad_field(pb.CreateRequest, whole.SerializeToString()[:-1])[0] == "request"
    inner = whole.event.SerializeToString()[:-1]
    assert bad_field(pb.CreateRequest, embedded(1, inner)) == ("event", "is cut short or not protobuf")


@given(st.integers(0, 40_000))
@example(127)
@example(128)
@example(16_383)
@example(16_384)
@example(2_097_152)
def test_framing_is_what_protobuf_writes(size: int) -> None:
    event = trace_pb2.TraceEvent(operation="x" * size).SerializeToString()
    for field in [*pb.StreamTraceResponse.DESCRIPTOR.fields, *pb.GetTraceResponse.DESCRIPTOR.fields]:
        if field.message_type is trace_pb2.TraceEvent.DESCRIPTOR:
            kind = message_factory.GetMessageClass(field.containing_type)
            below = trace_pb2.TraceEvent.FromString(event)
            whole = kind(**{field.name: [below] if field.is_repeated else below})
            assert embedded(field.number, event) == whole.SerializeToString()


def test_a_request_that_is_left_unparsed_is_the_same_message_at_every_look() -> None:
    request = pb.UpdateRequest(event=trace_pb2.TraceEvent(trace_id="t", component="c"), new_run=True)
    unparsed = later(parser(pb.UpdateRequest))(request.SerializeToString())
    assert unparsed.size == request.ByteSize()
    first = unparsed.message()
    assert first == request
    first.event.component = "changed by whoever read it first"
    assert unparsed.message() == request


def test_a_request_that_is_left_unparsed_says_what_is_wrong_when_it_is_looked_at() -> None:
    event = embedded(1, b"\xff")
    unparsed = later(parser(pb.UpdateRequest))(embedded(1, event))
    with pytest.raises(InvalidArgument) as raised:
        unparsed.message()
    assert [violation.field for violation in raised.value.violations] == ["event.trace_id"]
    assert trace_id_of(unparsed) is None


def test_the_trace_of_a_request_that_is_left_unparsed_is_known() -> None:
    request = pb.UpdateRequest(event=trace_pb2.TraceEvent(trace_id="of-this-trace"))
    assert trace_id_of(later(parser(pb.UpdateRequest))(request.SerializeToString())) == "of-this-trace"
