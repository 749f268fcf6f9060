"""No call fails because of a page token made by hand."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from gateway import Gateway
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tracestatus.v1 import status_service_pb2 as pb

from status_grpc import StatusClient
from status_grpc.domain.limits import Limits
from status_grpc.edge.requests import Requests
from status_grpc.wire.json_messages import message_json
from status_grpc.wire.tokens import make_page_token

READ = Requests(Limits())
VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([-1, 0, 2**31, 2**63 - 1, 2**63, 10**400])
    | st.floats()
    | st.text()
    | st.sampled_from(["nodate", "\ud800", "a\0b", "2026-11-30T00:00:00", "2026-11-30T00:00:00+00:00"])
    | st.datetimes().map(lambda time: f"{time.isoformat()}+00:00")
)
POSITIONS: st.SearchStrategy[Any] = st.lists(VALUES, max_size=3) | st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)


def requests_with(position: Any, trace_id: str) -> dict[str, Any]:
    """Return a request of each call with a token of this position."""
    one = pb.GetTraceRequest(trace_id=trace_id)
    listing = pb.ListTracesRequest(domain="d")
    lineage = pb.GetLineageRequest(trace_id=trace_id, direction=pb.LINEAGE_DIRECTION_UPSTREAM)
    one.page_token = make_page_token(READ.get_trace(one).query, position)
    listing.page_token = make_page_token(READ.list_traces(listing).query, position)
    lineage.page_token = make_page_token(READ.get_lineage(lineage).query, position)
    return {"GetTrace": one, "ListTraces": listing, "GetLineage": lineage}


@pytest.fixture
def trace_id(rpc: StatusClient) -> str:
    return rpc.create(domain="d", domain_id="x/1", component="c").trace.trace_id


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(position=POSITIONS)
def test_handmade_page_token_is_refused_or_answered(
    http: httpx.Client, gateway: Gateway, trace_id: str, position: Any
) -> None:
    for method, request in requests_with(position, trace_id).items():
        answer = http.post(
            f"/status-api/tracestatus.v1.StatusService/{method}",
            content=message_json(request),
            headers={"content-type": "application/json"},
        )
        if answer.status_code != 200:
            told = answer.json()
            assert (told["code"], told["message"]) == ("invalid_argument", "page_token: is not a token of this query")
    assert "unexpectedly" not in gateway.log
