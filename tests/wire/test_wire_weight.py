"""Large requests are weighed before they are parsed: bombs are refused early, and nothing valid is."""

from __future__ import annotations

import pytest
from google.protobuf.struct_pb2 import ListValue, Value
from hypothesis import given
from hypothesis import strategies as st
from strategies import drafts
from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1 import trace_pb2

from status_grpc.domain.events import EventDraft
from status_grpc.domain.limits import Limits
from status_grpc.edge.requests import Requests
from status_grpc.wire.events import draft_message
from status_grpc.wire.framing import embedded
from status_grpc.wire.parsing import Malformed, parser
from status_grpc.wire.weight import LIGHT_BYTES, MOST_VALUES, weigh

BATCH = pb.BatchUpdateRequest.DESCRIPTOR


def violation(data: bytes, kind: type = pb.BatchUpdateRequest) -> tuple[str, str]:
    found = Requests(Limits()).parser(kind)(data)
    assert isinstance(found, Malformed)
    return found.violation.field, found.violation.description


def test_two_million_empty_items_are_refused_unparsed() -> None:
    assert violation(b"\x0a\x00" * 2_000_000) == ("requests", "has more than 1000 entries")


def test_many_empty_values_inside_an_event_are_refused() -> None:
    # status_body {"a": [null, ...]}, written by hand: the message itself would be the bomb.
    entry = embedded(1, b"a") + embedded(2, embedded(6, b"\x0a\x00" * (MOST_VALUES + 1)))
    event = embedded(trace_pb2.TraceEvent.STATUS_BODY_FIELD_NUMBER, embedded(1, entry))
    assert violation(embedded(1, event), pb.UpdateRequest) == ("request", f"has more than {MOST_VALUES} values")


def test_groups_are_refused() -> None:
    data = b"\x0b" + b"\x0a\x00" * LIGHT_BYTES + b"\x0c"
    assert violation(data) == ("request", "is not a valid tracestatus.v1.BatchUpdateRequest")


@pytest.mark.parametrize("last", [b"\xff" * 20, b"\x0a\xff\xff\xff\xff\x0f", b"\x0a", b"\x09\x00"])
def test_malformed_bytes_are_left_to_the_parser(last: bytes) -> None:
    data = embedded(1, b"") * 500 + last
    assert weigh(data, BATCH, {}) is None


def test_an_event_full_of_numbers_is_parsed() -> None:
    numbers = ListValue(values=[Value(number_value=n) for n in range(90_000)])
    request = pb.UpdateRequest()
    request.event.status_body.fields["numbers"].list_value.CopyFrom(numbers)
    data = request.SerializeToString()
    assert len(data) < Limits().event_bytes
    assert parser(pb.UpdateRequest)(data) == request


@given(st.lists(drafts(), min_size=1, max_size=5), st.integers(1, 200))
def test_valid_batches_pass_whatever_they_hold(events: list[EventDraft], times: int) -> None:
    request = pb.BatchUpdateRequest(requests=[pb.UpdateRequest(event=draft_message(event)) for event in events] * times)
    assert weigh(request.SerializeToString(), BATCH, {1: 1000}) is None


@given(st.binary(max_size=200), st.integers(1, 5))
def test_any_bytes_are_weighed_without_an_error(data: bytes, times: int) -> None:
    for kind in (pb.BatchUpdateRequest, pb.UpdateRequest, pb.StreamTraceRequest):
        weigh(data * times, kind.DESCRIPTOR, {})
