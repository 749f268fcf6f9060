"""A program written for okdata.aws.status, with only its imports changed."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from status_grpc import StatusClient, configure
from status_grpc.compat import okdata
from status_grpc.compat.okdata import Status, StatusData, TraceEventStatus, TraceStatus, status_add, status_wrapper


class sdk_config:  # noqa: N801 - stands for the Config of the old SDK
    pass


@pytest.fixture
def trace_id(client: StatusClient, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("STATUS_GRPC_SERVER", client.options.server)
    monkeypatch.setenv("SERVICE_NAME", "s3-writer")
    okdata._client.cache_clear()
    configure(flush_timeout=30)
    return client.create(domain="dataset", domain_id="old/1", component="data-uploader").trace.trace_id


def test_the_wrapper(client: StatusClient, trace_id: str):
    @status_wrapper(sdk_config())
    def copy(event, context):
        status_add(domain="dataset", domain_id="old/1", status_body={"files_incoming": []})
        status_add(errors=[{"message": {"nb": "feil", "en": "error"}}])
        return {"statusCode": 200}

    @status_wrapper
    def bare(event, context):
        raise ValueError("broken")

    event = {"execution_name": trace_id, "requestContext": {"authorizer": {"principalId": "me"}}}
    assert copy(event, None) == {"statusCode": 200}
    with pytest.raises(ValueError, match="broken"):
        bare(event, None)
    _, first, second = client.get_trace(trace_id).events
    assert (first.component, first.operation, first.user) == ("s3-writer", "copy", "me")
    assert first.status_body == {"files_incoming": []}
    assert (second.trace_status, second.trace_event_status) == (TraceStatus.FINISHED, TraceEventStatus.FAILED)


def test_errors_need_norwegian_as_before():
    for errors, error in (([{"message": {"en": "x"}}], ValueError), ([{}], ValueError), ("x", TypeError)):
        with pytest.raises(error):
            status_add(errors=errors)
        with pytest.raises(error):
            StatusData(errors=errors)
        with pytest.raises(error):
            Status("t").add(errors=errors)


def test_an_event_by_hand(client: StatusClient, trace_id: str):
    status = Status(
        StatusData(trace_id=trace_id, domain="dataset", domain_id="old/1", component="router"), sdk_config()
    )
    status.add(
        trace_status=TraceStatus.FINISHED,
        trace_event_status=TraceEventStatus.OK,
        status_body={"state": "SUCCEEDED"},
        duration=12.5,
        exception="ValueError: x",
        errors=[{"message": {"nb": "feil"}, "row": 1}],
        meta={"git_rev": "abc"},
    )
    answer = status.done()
    assert answer is not None
    (_, event) = client.get_trace(trace_id).events
    assert answer["trace_event_id"] == event.trace_event_id
    assert (answer["duration"], answer["exception"], answer["status_body"]) == (
        12.5,
        "ValueError: x",
        {"state": "SUCCEEDED"},
    )
    assert answer["errors"] == [{"message": {"nb": "feil"}, "row": 1}]
    json.dumps(answer)
    assert event.meta == {"git_rev": "abc"}
    assert event.trace_status is TraceStatus.FINISHED


def test_an_event_that_cannot_be_sent_is_nobodys_trouble(trace_id: str, monkeypatch: pytest.MonkeyPatch):
    assert Status({"component": "c"}).done() == {}
    assert Status("no-such-trace").done() is None
    monkeypatch.setenv("STATUS_GRPC_TIMEOUT", "soon")
    okdata._client.cache_clear()
    assert Status(trace_id).done() is None
    okdata._client.cache_clear()


def test_the_data_as_json():
    data = StatusData.parse_obj(
        {
            "trace_id": "t",
            "start_time": datetime(2026, 1, 1, tzinfo=UTC),
            "meta": {"git_rev": "a"},
            "exception": ValueError("x"),
        }
    )
    assert (data.domain, data.component, data.exception) == ("N/A", "N/A", "x")
    document = json.loads(data.json(exclude_none=True))
    assert document["start_time"] == "2026-01-01T00:00:00+00:00"
    assert document["meta"] == {"git_rev": "a"}
    assert document["trace_status"] == "CONTINUE"
    assert "user" not in document
    assert data.dict()["user"] is None
