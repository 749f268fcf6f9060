"""Any event over gRPC and Connect is recorded or refused by field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
from gateway import PATIENCE, Gateway
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from old_bodies import unique
from strategies import hostile_json
from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1 import status_service_pb2_grpc, trace_pb2

from status_grpc.client.http_answers import connect_error
from status_grpc.wire.errors import decode_error

INT32, INT64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
texts = st.text(max_size=8) | st.sampled_from(["", "a\0b", "x" * 300, "x" * 2000, "æ" * 1100, "a\nb"])
timestamps = st.builds(Timestamp, seconds=INT64 | st.integers(0, 2**31), nanos=INT32 | st.just(0))
durations = st.builds(Duration, seconds=INT64 | st.integers(0, 2**31), nanos=INT32 | st.just(0))
values = st.recursive(
    st.builds(Value)
    | st.builds(Value, number_value=st.floats())
    | st.builds(Value, string_value=texts)
    | st.builds(Value, null_value=st.just(0)),
    lambda below: (
        st.builds(Value, struct_value=st.builds(Struct, fields=st.dictionaries(texts, below, max_size=3)))
        | st.builds(Value, list_value=st.builds(ListValue, values=st.lists(below, max_size=3)))
    ),
    max_leaves=6,
)
structs = st.builds(Struct, fields=st.dictionaries(texts, values, max_size=3))
errors = st.builds(
    trace_pb2.ErrorDetail, message=st.dictionaries(texts, texts, max_size=3), details=st.none() | structs
)
datasets = st.builds(trace_pb2.Dataset, uri=texts, version=texts)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("trace_event_id", "domain", "domain_id", "user", "operation", "s3_path", "step_id"), texts),
    **dict.fromkeys(("start_time", "end_time"), timestamps),
    **dict.fromkeys(("status_body", "meta"), structs),
    **dict.fromkeys(("inputs", "outputs"), st.lists(datasets, max_size=2)),
    "trace_status": st.integers(-1, 4),
    "trace_event_status": st.integers(-1, 3),
    "component": texts,
    "duration": durations,
    "exception": st.builds(trace_pb2.ExceptionDetail, type=texts, message=texts, traceback=texts),
    "errors": st.lists(errors, max_size=2),
    "attempt": INT32,
}
events = st.fixed_dictionaries({}, optional=FIELDS).map(lambda fields: {"component": "c"} | fields)


@pytest.fixture(scope="module")
def trace_id(gateway: Gateway) -> str:
    created = httpx.post(
        f"{gateway.url}/tracestatus.v1.StatusService/Create",
        json={"traceId": unique("any"), "event": {"domain": "d", "domainId": "e", "component": "c"}},
        timeout=PATIENCE,
    )
    found: str = created.json()["trace"]["traceId"]
    return found


@pytest.fixture(scope="module")
def stub(gateway: Gateway) -> Iterator[status_service_pb2_grpc.StatusServiceStub]:
    with grpc.insecure_channel(gateway.grpc) as channel:
        yield status_service_pb2_grpc.StatusServiceStub(channel)


@settings(max_examples=150)
@given(fields=events)
def test_any_event_over_grpc_is_recorded_or_refused_by_field(
    stub: status_service_pb2_grpc.StatusServiceStub, trace_id: str, fields: dict[str, Any]
) -> None:
    event = trace_pb2.TraceEvent(trace_id=trace_id, **fields)
    try:
        answer = stub.Update(pb.UpdateRequest(event=event), timeout=PATIENCE)
    except grpc.RpcError as error:
        trailers = dict(error.trailing_metadata())
        refused = decode_error(error.code().value[0], error.details(), trailers["grpc-status-details-bin"])
        check_refusal(error.code().name.lower(), refused.reason, getattr(refused, "fields", {}))
    else:
        assert answer.event.component == event.component


JSON_FIELDS = "domain domainId user component operation startTime end_time traceStatus duration statusBody meta s3Path"
JSON_FIELDS += " exception errors inputs stepId attempt sequence more"
connect_events = st.fixed_dictionaries({}, optional=dict.fromkeys(JSON_FIELDS.split(), hostile_json))


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[httpx.Client]:
    headers = {"content-type": "application/json"}
    with httpx.Client(base_url=gateway.url, timeout=PATIENCE, headers=headers) as client:
        yield client


@settings(max_examples=150)
@given(fields=connect_events)
def test_any_json_over_connect_is_recorded_or_refused_by_field(
    client: httpx.Client, trace_id: str, fields: dict[str, Any]
) -> None:
    event = {"component": "c"} | fields | {"traceId": trace_id}
    answer = client.post("/tracestatus.v1.StatusService/Update", content=json.dumps({"event": event}))
    if answer.status_code == 200:
        assert answer.json()["event"]["traceId"] == trace_id
        return
    refused = connect_error(answer.json())
    check_refusal(answer.json()["code"], refused.reason, getattr(refused, "fields", {}))


def check_refusal(code: str, reason: str, fields: dict[str, Any]) -> None:
    # An id is in use with other content: hypothesis repeats ids.
    assert (code, reason) in (("invalid_argument", "INVALID_FIELD"), ("already_exists", "EVENT_ID_REUSED"))
    assert fields or code == "already_exists"
    assert all(fields)
