"""Hostile or sloppy input, from outside: the answer names the field, and the next request works."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import grpc
import pytest
from calls import (
    CHANNEL_OPTIONS,
    FINISHED,
    Code,
    Stub,
    assert_explained,
    create,
    first_event,
    new_trace,
    next_event,
    read_refusal,
    refusal,
    unique,
    update,
)
from followers import Following
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_reflection.v1alpha import reflection_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_process import Server
from tracestatus.v1 import status_service_pb2 as pb

SERVICE = "/tracestatus.v1.StatusService/"
NAN, INFINITY = float("nan"), float("inf")
#: One second before, and after, the years 1 to 9999.
TOO_EARLY, TOO_LATE = Timestamp(seconds=-62_135_596_801), Timestamp(seconds=253_402_300_800)

#: Requests that decode, but whose fields break a rule: what they ask, and the fields that the answer must name.
BAD_EVENTS: dict[str, tuple[dict[str, Any], str]] = {
    "no component": ({"component": ""}, "event.component"),
    "unknown trace_status": ({"trace_status": 4}, "event.trace_status"),
    "negative trace_status": ({"trace_status": -1}, "event.trace_status"),
    "unknown trace_event_status": ({"trace_event_status": 2**31 - 1}, "event.trace_event_status"),
    "no outcome": ({"trace_status": FINISHED}, "event.trace_event_status"),
    "long event id": ({"trace_event_id": "x" * 129}, "event.trace_event_id"),
    "event id with a newline": ({"trace_event_id": "a\nb"}, "event.trace_event_id"),
    "event id with NUL": ({"trace_event_id": "a\0b"}, "event.trace_event_id"),
    "NUL in domain": ({"domain": "a\0"}, "event.domain"),
    "NUL in domain_id": ({"domain_id": "\0"}, "event.domain_id"),
    "NUL in user": ({"user": "a\0b"}, "event.user"),
    "NUL in component": ({"component": "a\0b"}, "event.component"),
    "NUL in operation": ({"operation": "a\0b"}, "event.operation"),
    "NUL in step_id": ({"step_id": "a\0b"}, "event.step_id"),
    "NUL in s3_path": ({"s3_path": "a\0b"}, "event.s3_path"),
    "long domain": ({"domain": "x" * 257}, "event.domain"),
    "long domain_id": ({"domain_id": "x" * 1025}, "event.domain_id"),
    "long user": ({"user": "x" * 257}, "event.user"),
    "long component": ({"component": "x" * 300_000}, "event.component"),
    "far too long component": ({"component": "x" * 3_000_000}, "event"),
    "long operation": ({"operation": "x" * 257}, "event.operation"),
    "long step_id": ({"step_id": "x" * 129}, "event.step_id"),
    "long s3_path": ({"s3_path": "æ" * 1025}, "event.s3_path"),
    "start_time too early": ({"start_time": TOO_EARLY}, "event.start_time"),
    "start_time too late": ({"start_time": TOO_LATE}, "event.start_time"),
    "start_time beyond reason": ({"start_time": Timestamp(seconds=-(2**63))}, "event.start_time"),
    "end_time beyond reason": ({"end_time": Timestamp(seconds=2**63 - 1)}, "event.end_time"),
    "negative nanos": ({"start_time": Timestamp(nanos=-1)}, "event.start_time"),
    "too many nanos": ({"end_time": Timestamp(nanos=1_000_000_000)}, "event.end_time"),
    "negative duration": ({"duration": Duration(seconds=-1)}, "event.duration"),
    "duration of negative nanos": ({"duration": Duration(nanos=-1)}, "event.duration"),
    "duration of mixed signs": ({"duration": Duration(seconds=1, nanos=-1)}, "event.duration"),
    "duration out of range": ({"duration": Duration(seconds=2**63 - 1)}, "event.duration"),
    "duration with too many nanos": ({"duration": Duration(nanos=2**31 - 1)}, "event.duration"),
    "negative attempt": ({"attempt": -1}, "event.attempt"),
    "long exception type": ({"exception": {"type": "x" * 257}}, "event.exception.type"),
    "long exception message": ({"exception": {"message": "x" * 16_385}}, "event.exception.message"),
    "long traceback": ({"exception": {"traceback": "x" * 65_537}}, "event.exception.traceback"),
    "NUL in exception type": ({"exception": {"type": "\0"}}, "event.exception.type"),
    "NUL in exception message": ({"exception": {"message": "\0"}}, "event.exception.message"),
    "NUL in traceback": ({"exception": {"traceback": "\0"}}, "event.exception.traceback"),
    "error without a text": ({"errors": [{"message": {"en": "x"}}, {}]}, "event.errors[1].message"),
    "error in 21 languages": ({"errors": [{"message": {f"x{n}": "" for n in range(21)}}]}, "event.errors[0].message"),
    "error in no language": ({"errors": [{"message": {"": "x"}}]}, "event.errors[0].message"),
    "101 errors": ({"errors": [{"message": {"en": "x"}}] * 101}, "event.errors"),
    "input without uri": ({"inputs": [{"uri": "a"}, {"version": "1"}]}, "event.inputs[1].uri"),
    "NUL in output uri": ({"outputs": [{"uri": "\0"}]}, "event.outputs[0].uri"),
    "long output uri": ({"outputs": [{"uri": "x" * 2049}]}, "event.outputs[0].uri"),
    "NUL in input version": ({"inputs": [{"uri": "a", "version": "\0"}]}, "event.inputs[0].version"),
    "long input version": ({"inputs": [{"uri": "a", "version": "x" * 257}]}, "event.inputs[0].version"),
    "1,001 inputs": ({"inputs": [{"uri": "a"}] * 1001}, "event.inputs"),
    "1,001 outputs": ({"outputs": [{"uri": "a"}] * 1001}, "event.outputs"),
}


def number(value: float) -> Value:
    return Value(number_value=value)


def deep(levels: int) -> Struct:
    """Return a Struct of so many levels, by turns of objects and lists."""
    value = Value(string_value="bottom")
    for level in range(levels - 1):
        if level % 2:
            value = Value(struct_value=Struct(fields={"a": value}))
        else:
            value = Value(list_value=ListValue(values=[value]))
    return Struct(fields={"a": value})


BAD_STRUCTS: dict[str, tuple[Struct, str]] = {
    "NaN": (Struct(fields={"a": number(NAN)}), ".a"),
    "infinity": (Struct(fields={"a": number(INFINITY)}), ".a"),
    "minus infinity in a list": (
        Struct(fields={"a": Value(list_value=ListValue(values=[number(1), number(-INFINITY)]))}),
        ".a[1]",
    ),
    "NUL in a text": (Struct(fields={"a": Value(struct_value=Struct(fields={"b": Value(string_value="\0")}))}), ".a.b"),
    "NUL in a key": (Struct(fields={"\0": number(1)}), ""),
    "a value of no kind": (Struct(fields={"a": Value()}), ".a"),
    "25 levels": (deep(25), ".a"),
    "39 levels": (deep(39), ""),
}


@pytest.fixture
async def works(stub: Stub) -> Any:
    """After the test: the server takes the next request as if nothing had been."""
    yield
    trace_id = await new_trace(stub)
    assert (await update(stub, trace_id)).trace.last_sequence == 2


async def refused_everywhere(stub: Stub, event: dict[str, Any], field: str) -> None:
    """The event is refused in Create and in Update, and fails alone in a batch."""
    trace_id = await new_trace(stub)
    await refusal(create(stub, **event), Code.INVALID_ARGUMENT, field)
    await refusal(update(stub, trace_id, **event), Code.INVALID_ARGUMENT, field)
    batch = pb.BatchUpdateRequest(
        requests=[
            pb.UpdateRequest(event=next_event(trace_id, **event)),
            pb.UpdateRequest(event=next_event(trace_id)),
        ]
    )
    first, second = (await stub.BatchUpdate(batch)).results
    assert first.error.code == Code.INVALID_ARGUMENT.value[0]
    assert f"requests[0].{field}" in first.error.message
    assert second.sequence == 2


@pytest.mark.usefixtures("works")
@pytest.mark.parametrize("name", BAD_EVENTS)
async def test_a_bad_event_is_refused_naming_the_field(stub: Stub, name: str) -> None:
    event, field = BAD_EVENTS[name]
    await refused_everywhere(stub, event, field)


@pytest.mark.usefixtures("works")
@pytest.mark.parametrize("name", BAD_STRUCTS)
async def test_a_bad_struct_is_refused_naming_the_place(stub: Stub, name: str) -> None:
    body, place = BAD_STRUCTS[name]
    for event, field in (
        ({"status_body": body}, "event.status_body"),
        ({"meta": body}, "event.meta"),
        ({"errors": [{"message": {"en": "x"}, "details": body}]}, "event.errors[0].details"),
    ):
        trace_id = await new_trace(stub)
        found = await refusal(update(stub, trace_id, **event), Code.INVALID_ARGUMENT)
        assert [name for name in found.fields if name.startswith(field + place)], found


async def test_what_is_just_within_the_limits_is_taken(stub: Stub) -> None:
    """A limit that refused what the documents allow would be as wrong as none."""
    trace_id = "x" * 110 + unique("")[:18]
    event = first_event(
        trace_id=trace_id,
        trace_event_id="æ" * 128,
        domain="æ" * 256,
        domain_id="æ" * 1024,
        user="\U0001f600" * 256,
        component="a\nb\t\x01" + "x" * 251,
        operation="x" * 256,
        step_id="x" * 128,
        s3_path="æ" * 1024,
        start_time=Timestamp(seconds=-62_135_596_800),
        end_time=Timestamp(seconds=253_402_300_799, nanos=999_999_999),
        duration=Duration(seconds=315_576_000_000, nanos=999_999_999),
        exception={"type": "x" * 256, "message": "æ" * 16_384, "traceback": "æ" * 65_536},
        errors=[{"message": {f"{n:035}": "" for n in range(20)}}] + [{"message": {"en": "x" * 4096}}] * 99,
        inputs=[{"uri": f"æ{n}", "version": "x" * 256} for n in range(1000)],
        outputs=[{"uri": "x" * 2048}],
        status_body=deep(24),
        attempt=2**31 - 1,
    )
    created = await stub.Create(pb.CreateRequest(event=event))
    page = await stub.GetTrace(pb.GetTraceRequest(trace_id=trace_id))
    assert page.events[0] == created.event
    for name in ("status_body", "s3_path", "inputs", "errors", "exception", "domain_id", "component"):
        assert getattr(page.events[0], name) == getattr(event, name)


async def test_an_event_of_a_mebibyte_is_taken_and_a_larger_one_refused(stub: Stub) -> None:
    trace_id = await new_trace(stub)
    event = next_event(trace_id)
    event.status_body["text"] = ""
    room = 1024 * 1024 - event.ByteSize() - 9  # three lengths around the text grow by three bytes each
    event.status_body["text"] = "x" * room
    assert 1024 * 1024 - 3 <= event.ByteSize() <= 1024 * 1024
    assert (await stub.Update(pb.UpdateRequest(event=event))).event.status_body == event.status_body
    event.status_body["text"] = "x" * (room + 4)
    await refusal(stub.Update(pb.UpdateRequest(event=event)), Code.INVALID_ARGUMENT, "event")


@pytest.mark.usefixtures("works")
async def test_all_bad_fields_are_named_at_once(stub: Stub) -> None:
    found = await refusal(stub.Create(pb.CreateRequest()), Code.INVALID_ARGUMENT)
    assert set(found.fields) == {"event.domain", "event.domain_id", "event.component"}
    found = await refusal(stub.Update(pb.UpdateRequest()), Code.INVALID_ARGUMENT)
    assert set(found.fields) == {"event.trace_id", "event.component"}
    event = {"component": "", "attempt": -1, "trace_status": 9, "user": "\0", "start_time": TOO_LATE, "s3_path": "\0"}
    found = await refusal(create(stub, **event), Code.INVALID_ARGUMENT)
    assert set(found.fields) == {f"event.{name}" for name in event}


UPSTREAM = pb.LINEAGE_DIRECTION_UPSTREAM

#: Bad requests of every method: the field that the answer must name, and the request.
BAD_REQUESTS: list[tuple[str, str, Message]] = [
    ("Create", "trace_id", pb.CreateRequest(event=first_event(trace_id="one"), trace_id="other")),
    ("Create", "trace_id", pb.CreateRequest(event=first_event(), trace_id="x" * 129)),
    ("Create", "trace_id", pb.CreateRequest(event=first_event(), trace_id="a\0b")),
    ("Create", "event.trace_id", pb.CreateRequest(event=first_event(trace_id="\x1f"))),
    ("Create", "event.trace_id", pb.CreateRequest(event=first_event(trace_id="x" * 129))),
    ("Create", "event.domain", pb.CreateRequest(event=first_event(domain=""))),
    ("Create", "event.domain_id", pb.CreateRequest(event=first_event(domain_id=""))),
    ("Create", "expire_time", pb.CreateRequest(event=first_event(), expire_time=TOO_LATE)),
    ("Update", "event.trace_id", pb.UpdateRequest(event=next_event(""))),
    ("Update", "event.trace_id", pb.UpdateRequest(event=next_event("a\0b"))),
    ("Update", "expected_sequence", pb.UpdateRequest(event=next_event("x"), expected_sequence=-1)),
    ("Update", "expire_time", pb.UpdateRequest(event=next_event("x"), expire_time=TOO_EARLY)),
    ("BatchUpdate", "requests", pb.BatchUpdateRequest()),
    ("BatchUpdate", "requests", pb.BatchUpdateRequest(requests=[pb.UpdateRequest()] * 1001)),
    ("Heartbeat", "trace_id", pb.HeartbeatRequest()),
    ("Heartbeat", "trace_id", pb.HeartbeatRequest(trace_id="a\0")),
    ("Heartbeat", "step_id", pb.HeartbeatRequest(trace_id="x", step_id="x" * 129)),
    ("GetTrace", "trace_id", pb.GetTraceRequest()),
    ("GetTrace", "trace_id", pb.GetTraceRequest(trace_id="x" * 3_000_000)),
    ("GetTrace", "trace_id", pb.GetTraceRequest(trace_id="a\0b")),
    ("GetTrace", "page_size", pb.GetTraceRequest(trace_id="x", page_size=-1)),
    ("GetTrace", "after_sequence", pb.GetTraceRequest(trace_id="x", after_sequence=-1)),
    ("GetTrace", "page_token", pb.GetTraceRequest(trace_id="x", page_token="\0")),
    ("GetTrace", "page_token", pb.GetTraceRequest(trace_id="x", page_token="x" * 3_000_000)),
    ("GetByPath", "s3_path", pb.GetByPathRequest()),
    ("GetByPath", "s3_path", pb.GetByPathRequest(s3_path="\0")),
    ("GetByPath", "s3_path", pb.GetByPathRequest(s3_path="x" * 3_000_000)),
    ("GetByPath", "domain", pb.GetByPathRequest(s3_path="x", domain="x" * 257)),
    ("GetByPath", "domain_id", pb.GetByPathRequest(s3_path="x", domain_id="\0")),
    ("ListTraces", "page_size", pb.ListTracesRequest(page_size=-(2**31))),
    ("ListTraces", "status", pb.ListTracesRequest(status=9)),
    ("ListTraces", "outcome", pb.ListTracesRequest(outcome=-9)),
    ("ListTraces", "domain", pb.ListTracesRequest(domain="\0")),
    ("ListTraces", "domain_id", pb.ListTracesRequest(domain_id="x" * 1025)),
    ("ListTraces", "user", pb.ListTracesRequest(user="\0")),
    ("ListTraces", "component", pb.ListTracesRequest(component="x" * 257)),
    ("ListTraces", "created_after", pb.ListTracesRequest(created_after=TOO_EARLY)),
    ("ListTraces", "created_before", pb.ListTracesRequest(created_before=TOO_LATE)),
    ("ListTraces", "updated_after", pb.ListTracesRequest(updated_after=Timestamp(nanos=-1))),
    ("ListTraces", "updated_before", pb.ListTracesRequest(updated_before=Timestamp(seconds=2**62))),
    ("GetLineage", "uri", pb.GetLineageRequest(direction=UPSTREAM)),
    ("GetLineage", "uri", pb.GetLineageRequest(direction=UPSTREAM, uri="")),
    ("GetLineage", "uri", pb.GetLineageRequest(direction=UPSTREAM, uri="\0")),
    ("GetLineage", "uri", pb.GetLineageRequest(direction=UPSTREAM, uri="x" * 2049)),
    ("GetLineage", "trace_id", pb.GetLineageRequest(direction=UPSTREAM, trace_id="x" * 129)),
    ("GetLineage", "version", pb.GetLineageRequest(direction=UPSTREAM, uri="x", version="x" * 257)),
    ("GetLineage", "version", pb.GetLineageRequest(direction=UPSTREAM, trace_id="x", version="1")),
    ("GetLineage", "direction", pb.GetLineageRequest(uri="x")),
    ("GetLineage", "direction", pb.GetLineageRequest(uri="x", direction=7)),
    ("GetLineage", "max_depth", pb.GetLineageRequest(direction=UPSTREAM, uri="x", max_depth=-1)),
    ("GetLineage", "max_edges", pb.GetLineageRequest(direction=UPSTREAM, uri="x", max_edges=-1)),
    ("GetLineage", "page_size", pb.GetLineageRequest(direction=UPSTREAM, uri="x", page_size=-1)),
    ("GetLineage", "page_token", pb.GetLineageRequest(direction=UPSTREAM, uri="x", page_token="x")),
    ("WaitTrace", "trace_id", pb.WaitTraceRequest()),
    ("WaitTrace", "trace_id", pb.WaitTraceRequest(trace_id="")),
    ("WaitTrace", "s3_path", pb.WaitTraceRequest(s3_path="\0")),
    ("WaitTrace", "timeout", pb.WaitTraceRequest(trace_id="x", timeout=Duration(seconds=-1))),
    ("WaitTrace", "timeout", pb.WaitTraceRequest(trace_id="x", timeout=Duration(seconds=2**63 - 1))),
    ("WaitTrace", "new_only", pb.WaitTraceRequest(trace_id="x", new_only=True)),
    ("WaitTrace", "created_after", pb.WaitTraceRequest(trace_id="x", created_after=Timestamp(seconds=1))),
    ("WaitTrace", "created_after", pb.WaitTraceRequest(s3_path="x", created_after=TOO_LATE)),
    ("StreamTrace", "trace_id", pb.StreamTraceRequest()),
    ("StreamTrace", "trace_id", pb.StreamTraceRequest(trace_id="a\0b")),
    ("StreamTrace", "s3_path", pb.StreamTraceRequest(s3_path="")),
    ("StreamTrace", "after_sequence", pb.StreamTraceRequest(trace_id="x", after_sequence=-1)),
    ("StreamTrace", "after_sequence", pb.StreamTraceRequest(s3_path="x", after_sequence=1)),
    ("StreamTrace", "after_event_id", pb.StreamTraceRequest(trace_id="x", after_event_id="x")),
    ("StreamTrace", "after_event_id", pb.StreamTraceRequest(trace_id="x", after_sequence=1, after_event_id="x" * 129)),
    ("StreamTrace", "new_only", pb.StreamTraceRequest(trace_id="x", new_only=True)),
    ("StreamTrace", "created_after", pb.StreamTraceRequest(trace_id="x", created_after=Timestamp(seconds=1))),
    ("StreamTrace", "created_after", pb.StreamTraceRequest(s3_path="x", created_after=Timestamp(nanos=-1))),
]


@pytest.mark.usefixtures("works")
async def test_a_bad_request_of_any_method_is_refused_naming_the_field(stub: Stub) -> None:
    for method, field, request in BAD_REQUESTS:
        call = getattr(stub, method)(request)
        found = await refusal(call if method != "StreamTrace" else call.read(), Code.INVALID_ARGUMENT)
        assert field in found.fields, (method, field, found)


# Bytes that no honest client sends


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    """A channel without stubs, for requests that are only bytes."""
    with grpc.insecure_channel(server.address, options=CHANNEL_OPTIONS) as channel:
        yield channel


def send(channel: grpc.Channel, method: str, request: bytes, seconds: float = 30.0) -> grpc.RpcError | None:
    """Send bytes as a request and read all that comes back; return the error it ended with."""
    try:
        for _ in channel.unary_stream(SERVICE + method)(request, timeout=seconds):
            pass
    except grpc.RpcError as error:
        return error
    return None


def damaged_update(**fields: Any) -> pb.UpdateRequest:
    return pb.UpdateRequest(event=next_event("x", **fields))


#: Requests with a text in which `@@@` is to become bytes that are no UTF-8: method, field to be named, request.
NOT_UTF_8: list[tuple[str, str, Message]] = [
    ("Create", "event.component", pb.CreateRequest(event=first_event(component="a@@@"))),
    ("Create", "trace_id", pb.CreateRequest(event=first_event(), trace_id="@@@")),
    ("Update", "event.s3_path", damaged_update(s3_path="@@@")),
    ("Update", "event.errors[1].message", damaged_update(errors=[{}, {"message": {"en": "@@@"}}])),
    ("Update", "event.status_body", damaged_update(status_body={"fields": {"a": Value(string_value="@@@")}})),
    ("Update", "event.meta", damaged_update(meta={"fields": {"@@@": number(1)}})),
    (
        "BatchUpdate",
        "requests[1].event.user",
        pb.BatchUpdateRequest(requests=[pb.UpdateRequest(), damaged_update(user="@@@")]),
    ),
    ("Heartbeat", "trace_id", pb.HeartbeatRequest(trace_id="@@@")),
    ("GetTrace", "page_token", pb.GetTraceRequest(trace_id="x", page_token="@@@")),
    ("GetByPath", "s3_path", pb.GetByPathRequest(s3_path="@@@")),
    ("ListTraces", "user", pb.ListTracesRequest(user="@@@")),
    ("GetLineage", "uri", pb.GetLineageRequest(uri="@@@")),
    ("WaitTrace", "s3_path", pb.WaitTraceRequest(s3_path="@@@")),
    ("StreamTrace", "trace_id", pb.StreamTraceRequest(trace_id="@@@")),
]

METHODS: dict[str, type[Message]] = {
    "Create": pb.CreateRequest,
    "Update": pb.UpdateRequest,
    "BatchUpdate": pb.BatchUpdateRequest,
    "Heartbeat": pb.HeartbeatRequest,
    "GetTrace": pb.GetTraceRequest,
    "GetByPath": pb.GetByPathRequest,
    "WaitTrace": pb.WaitTraceRequest,
    "ListTraces": pb.ListTracesRequest,
    "GetLineage": pb.GetLineageRequest,
    "StreamTrace": pb.StreamTraceRequest,
}


@pytest.mark.usefixtures("works")
@pytest.mark.parametrize("case", NOT_UTF_8, ids=lambda case: f"{case[0]} {case[1]}")
@pytest.mark.parametrize("text", [b"\xed\xa0\x80", b"\xed\xb0\x80", b"\xff\xfe\xfd", b"a\xc0\x80"[1:] + b"\xc1"])
async def test_a_text_that_is_not_utf_8_is_refused_naming_the_field(
    channel: grpc.Channel, case: tuple[str, str, Message], text: bytes
) -> None:
    """Lone surrogates of both kinds, bytes that are nothing, and NUL in disguise."""
    method, field, request = case
    raw = request.SerializeToString()
    assert raw.count(b"@@@") == 1
    error = send(channel, method, raw.replace(b"@@@", text))
    assert error is not None
    found = read_refusal(error)
    assert found.code is Code.INVALID_ARGUMENT, found
    assert [name for name in found.fields if name.startswith(field)], found
    assert_explained(found)


def nested(levels: int, field: bytes) -> bytes:
    """Return the bytes of an UpdateRequest with a Struct of so many levels in this field of its event."""
    value = b"\x1a\x01x"
    for _ in range(levels):
        # Value{struct_value: Struct{fields: {"a": <value>}}}
        entry = b"\x0a\x01a" + sized(b"\x12", value)
        value = sized(b"\x2a", sized(b"\x0a", entry))
    event = b"\x0a\x01t\x52\x01c" + sized(field, sized(b"\x0a", b"\x0a\x01a" + sized(b"\x12", value)))
    return sized(b"\x0a", event)


def sized(tag: bytes, content: bytes) -> bytes:
    """Return a length-delimited field."""
    length, head = len(content), b""
    while length >= 0x80:
        head += bytes((length & 0x7F | 0x80,))
        length >>= 7
    return tag + head + bytes((length,)) + content


@pytest.mark.usefixtures("works")
@pytest.mark.parametrize("levels", [30, 60, 1_000, 20_000])
async def test_a_struct_that_is_nested_too_deep_is_refused_naming_the_field(channel: grpc.Channel, levels: int) -> None:
    """Whether the rules refuse it or already the parser of protobuf."""
    for tag, field in ((b"\x62", "event.status_body"), (b"\x6a", "event.meta")):
        error = send(channel, "Update", nested(levels, tag))
        assert error is not None
        found = read_refusal(error)
        assert found.code is Code.INVALID_ARGUMENT, found
        assert [name for name in found.fields if name.startswith(field)], found
        assert "deep" in next(iter(found.fields.values()))


@pytest.mark.usefixtures("works")
async def test_texts_of_10_mb_are_refused_for_their_size(stub: Stub) -> None:
    huge = "x" * 10_000_000
    requests = [
        stub.Create(pb.CreateRequest(event=first_event(component=huge))),
        stub.Update(pb.UpdateRequest(event=next_event("x", s3_path=huge))),
        stub.BatchUpdate(pb.BatchUpdateRequest(requests=[pb.UpdateRequest(event=next_event(huge))])),
        stub.GetTrace(pb.GetTraceRequest(trace_id=huge)),
        stub.GetByPath(pb.GetByPathRequest(s3_path=huge)),
        stub.ListTraces(pb.ListTracesRequest(page_token=huge)),
        stub.StreamTrace(pb.StreamTraceRequest(s3_path=huge)).read(),
    ]
    for call in requests:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        assert raised.value.code() is Code.RESOURCE_EXHAUSTED


@pytest.mark.usefixtures("works")
async def test_a_refusal_reaches_its_caller_whatever_characters_it_quotes(stub: Stub) -> None:
    """Trailers grow in transit, and gRPC drops those of more than 8 KiB, at random at first: hence the repetitions."""
    texts = ["%", "\n", '"', "\\", "æ", "\U0001f600", "\x7f", "\u2028", "x"]
    for text in texts:
        missing = pb.GetByPathRequest(s3_path=text * (2000 // len(text.encode())))
        event = first_event(trace_event_id=text * 128 if text.isprintable() else "")
        for _ in range(40):
            entry = event.errors.add(message={text * 200: "\0"})
            entry.details.fields[text * 400].number_value = NAN
        bad = pb.CreateRequest(event=event)
        for call, request, code in (
            (stub.GetByPath, missing, Code.NOT_FOUND),
            (stub.Create, bad, Code.INVALID_ARGUMENT),
        ):
            for error in await asyncio.gather(*[call(request) for _ in range(20)], return_exceptions=True):
                assert isinstance(error, grpc.aio.AioRpcError)
                assert error.code() is code, (text, error)
                assert_explained(read_refusal(error))


@pytest.mark.parametrize("method", METHODS)
def test_random_bytes_are_never_an_internal_error(server: Server, method: str) -> None:
    """Random bytes, and valid requests with a few bytes changed: an answer, or an error that is explained."""
    with grpc.insecure_channel(server.address, options=CHANNEL_OPTIONS) as channel:

        @settings(max_examples=100, database=None, suppress_health_check=list(HealthCheck))
        @given(request=st.binary(max_size=200) | damaged(example(method)))
        def never_internal(request: bytes) -> None:
            error = send(channel, method, request, seconds=1.0)
            if error is None or error.code() is Code.DEADLINE_EXCEEDED:
                return
            assert_explained(read_refusal(error))

        never_internal()
        assert send(channel, "ListTraces", b"") is None


def example(method: str) -> bytes:
    """Return a valid request of the method in which as many fields as possible are set."""
    numbers = count(1)
    return filled(METHODS[method](), numbers).SerializeToString()


def filled(message: Any, numbers: Iterator[int], depth: int = 0) -> Any:
    """Set every field of the message to some value."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        if field.message_type is not None:
            if depth < 4:
                child = getattr(message, field.name)
                filled(child.add() if field.is_repeated else child, numbers, depth + 1)
        elif field.enum_type is not None:
            setattr(message, field.name, 1)
        elif field.type == field.TYPE_STRING:
            setattr(message, field.name, f"text{next(numbers)}")
        elif not field.is_repeated and field.type != field.TYPE_BOOL:
            setattr(message, field.name, 1)
    return message


def damaged(request: bytes) -> st.SearchStrategy[bytes]:
    """Return requests of which some bytes were changed, and perhaps the end cut off."""
    changes = st.lists(st.tuples(st.integers(0, max(len(request) - 1, 0)), st.integers(0, 255)), max_size=4)

    def apply(parts: tuple[list[tuple[int, int]], int]) -> bytes:
        edits, end = parts
        damaged_request = bytearray(request)
        for position, byte in edits:
            damaged_request[position] = byte
        return bytes(damaged_request[:end])

    return st.tuples(changes, st.integers(0, len(request)) | st.just(len(request))).map(apply)


async def test_a_large_request_that_is_no_message_holds_nobody_up(
    server: Server, connect: Callable[..., Stub], channel: grpc.Channel
) -> None:
    """Refusing it must not cost more than taking it: while twenty of them are refused, the others are served.

    No time is measured: a server that reads each of these field by field in Python answers the last of them after the
    patience of their sender.
    """
    stub = connect(server)
    trace_id = await new_trace(stub)
    garbage = b"\x08\x01" * 2_000_000 + b"\x0a\xff"
    refusals = [
        asyncio.create_task(asyncio.to_thread(send, channel, "Create", garbage, seconds=20.0)) for _ in range(20)
    ]
    for _ in range(10):
        await update(stub, trace_id)
    for error in await asyncio.gather(*refusals):
        assert error is not None
        assert error.code() is Code.INVALID_ARGUMENT, error


async def test_the_standard_services_do_not_show_an_exception_either(channel: grpc.Channel) -> None:
    for method in ("Check", "Watch"):
        with pytest.raises(grpc.RpcError) as raised:
            list(channel.unary_stream(f"/grpc.health.v1.Health/{method}")(b"\xff\xff\xff", timeout=30))
        assert raised.value.code() is Code.INVALID_ARGUMENT
        assert "Error" not in (raised.value.details() or "")
    for version in ("v1", "v1alpha"):
        # Reflection says what is wrong with a request in its answers: an error_response of INVALID_ARGUMENT.
        method = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
        (answer,) = channel.stream_stream(method)(iter([b"\xff\xff\xff"]), timeout=30)
        error = reflection_pb2.ServerReflectionResponse.FromString(answer).error_response
        assert error.error_code == Code.INVALID_ARGUMENT.value[0]
        assert "Error" not in error.error_message


async def test_an_unknown_method_or_service_is_unimplemented(channel: grpc.Channel) -> None:
    for method in (SERVICE + "Delete", "/tracestatus.v2.StatusService/Create", "/x"):
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary(method)(b"", timeout=30)
        assert raised.value.code() is Code.UNIMPLEMENTED


async def test_unknown_fields_are_dropped(stub: Stub, channel: grpc.Channel) -> None:
    """A newer client may send more than this server knows: it is neither refused nor handed on."""
    trace_id = await new_trace(stub)
    unknown = b"\xfa\x7f\x03abc"
    event = next_event(trace_id, trace_event_id="one", errors=[{"message": {"en": "x"}}]).SerializeToString()
    answer = channel.unary_unary(SERVICE + "Update")(sized(b"\x0a", event + unknown) + unknown, timeout=30)
    assert unknown not in answer
    again = await update(stub, trace_id, trace_event_id="one", errors=[{"message": {"en": "x"}}])
    assert again == pb.UpdateResponse.FromString(answer)
    following = Following(stub, trace_id=trace_id)
    await following.caught_up()
    assert all(b"abc" not in message.SerializeToString() for message in following.story.messages)
    following.leave()


async def test_a_double_keeps_all_its_digits(stub: Stub) -> None:
    numbers = [0.1, 1e-320, 1.7976931348623157e308, -0.0, 2.0**53, 2.0**53 + 2, -(2.0**63), 1e22, 123456789.125]
    body = Struct()
    body["numbers"] = numbers
    trace_id = await new_trace(stub, status_body=body)
    read = (await stub.GetTrace(pb.GetTraceRequest(trace_id=trace_id))).events[0].status_body["numbers"]
    assert [struct.pack("d", value) for value in read] == [struct.pack("d", value + 0.0) for value in numbers]
