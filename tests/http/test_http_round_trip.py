"""An event written over one edge is read over the other with the same meaning."""

import json
import uuid
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from old_bodies import created
from strategies import drafts, json_objects, texts, times

from status_grpc import StatusClient, TraceEventStatus, TraceStatus
from status_grpc.domain.events import TraceEvent
from status_grpc.wire.events import draft_message, to_event
from status_grpc.wire.old_events import old_event

EXAMPLES = settings(max_examples=60)


@pytest.fixture(scope="module")
def edges(gateway):
    with httpx.Client(base_url=gateway.url, timeout=60) as http, StatusClient(gateway.grpc) as rpc:
        yield http, rpc, created(http, domain_id="round-trip/1")


@EXAMPLES
@given(draft=drafts())
def test_what_is_written_over_grpc_is_read_over_http(edges, draft):
    http, rpc, trace_id = edges
    # An id that is not made of `random`, which hypothesis repeats.
    event = rpc.update(replace(draft, trace_id=trace_id, trace_event_id=str(uuid.uuid4()))).event
    (found,) = (e for e in http.get(f"/status/{trace_id}").json() if e["trace_event_id"] == event.trace_event_id)
    assert same(found, old_event(event))


@st.composite
def old_updates(draw: st.DrawFn) -> dict[str, Any]:
    """Any update of the older contract, its optional fields there or not."""
    start, end = draw(times()), draw(times())
    event = {
        "domain": draw(texts(20, 1)),
        "component": draw(texts(20, 1)),
        "start_time": start.isoformat(),
        "end_time": draw(st.sampled_from(["N/A", end.isoformat()])),
        "trace_status": draw(st.sampled_from(TraceStatus)).value,
        "trace_event_status": draw(st.sampled_from(TraceEventStatus)).value,
    }
    errors = st.fixed_dictionaries(
        {"message": st.dictionaries(st.sampled_from(["nb", "en", "se"]), texts(20), min_size=1)}
    )
    optional = {
        "domain_id": texts(20, 1),
        "user": texts(20, 1),
        "operation": texts(20, 1),
        "s3_path": texts(30, 1),
        "status_body": json_objects,
        "meta": json_objects,
        "duration": st.integers(0, 10**12) | st.floats(0, 1e6).map(lambda number: round(number, 3)),
        "exception": texts(40, 1) | texts(20, 1).map("ValueError: {}".format),
        "errors": st.lists(
            st.builds(lambda error, more: {**more, **error}, errors, json_objects), min_size=1, max_size=3
        ),
    }
    return event | draw(st.fixed_dictionaries({}, optional=optional))


@EXAMPLES
@given(said=old_updates())
def test_what_is_written_over_http_is_read_over_grpc(edges, said):
    http, rpc, trace_id = edges
    answer = http.post(f"/status/{trace_id}", content=json.dumps(said))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    event = recorded(rpc, trace_id, told["trace_event_id"])
    # gRPC has the domain_id of the trace where none was sent.
    assert same(told | {"domain_id": event.domain_id}, old_event(event))
    expected = said | {name: told[name] for name in ("trace_id", "trace_event_id", "start_time", "end_time")}
    assert same(told, expected)
    assert event.start_time.isoformat() == said["start_time"]
    assert (event.end_time.isoformat() if event.end_time else "N/A") == said["end_time"]
    # And once more over gRPC: nothing is lost on the way there and back.
    assert to_event(draft_message(event)).status_body == event.status_body


def recorded(rpc: StatusClient, trace_id: str, event_id: str) -> TraceEvent:
    (event,) = (event for event in rpc.get_trace(trace_id).events if event.trace_event_id == event_id)
    return event


def same(one: Any, other: Any) -> bool:
    """Compare as JSON does: there is one kind of number."""
    return json.loads(json.dumps(one)) == json.loads(json.dumps(other))
