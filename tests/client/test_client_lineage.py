"""Lineage, and RunEvents of OpenLineage, through both clients and a real server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from server_process import Server

from status_grpc import (
    AlreadyExists,
    Dataset,
    InvalidArgument,
    LineageDirection,
    StatusClient,
    TraceEventStatus,
    TraceNotFound,
    TraceStatus,
)
from status_grpc.client import openlineage
from status_grpc.wire.openlineage import Accepted

UP, DOWN = LineageDirection.UPSTREAM, LineageDirection.DOWNSTREAM


@pytest.fixture
def name() -> str:
    return str(uuid4())


async def test_all_pages_are_read(client, aio_client, name):
    draft: dict[str, Any] = {"domain": "dataset", "domain_id": "d/1", "component": "c"}
    first = client.create(trace_id=f"fan-{name}", inputs=[Dataset(f"s3://{name}/one", "v1")], **draft).trace
    client.update(trace_id=first.trace_id, component="c", outputs=[Dataset(f"s3://{name}/{n:04}") for n in range(1000)])
    client.update(trace_id=first.trace_id, component="c", status_body={"output": [f"s3://{name}/last"]})
    client.create(trace_id=f"end-{name}", inputs=[Dataset(f"s3://{name}/last")], **draft)
    found = client.get_lineage(f"s3://{name}/one", direction=DOWN, max_edges=5000)
    assert found == await aio_client.get_lineage(f"s3://{name}/one", direction=DOWN, max_edges=5000)
    assert len({edge.dataset for edge in found.edges}) == len(found.edges) - 1 == 1002
    assert [edge.depth for edge in found.edges] == [1] + [2] * 1001 + [3]
    assert not found.truncated
    assert {trace.trace_id for trace in found.traces} == {f"fan-{name}", f"end-{name}"}
    made = client.get_lineage(trace_id=first.trace_id, direction=DOWN, max_depth=1)
    assert (len(made.edges), made.truncated) == (1000, True)
    assert client.get_lineage(f"s3://{name}/one", version="v2", direction=DOWN).edges == ()


def test_what_a_running_trace_has_read_is_told_at_once(client, name):
    trace_id = client.create(domain="dataset", domain_id="d/1", component="c").trace.trace_id
    (trace,) = client.get_lineage(trace_id=trace_id, direction=UP).traces
    assert (trace.trace_id, trace.done, trace.finish_time) == (trace_id, False, None)
    client.update(trace_id=trace_id, component="c", inputs=[Dataset(name)])
    (edge,) = client.get_lineage(trace_id=trace_id, direction=UP).edges
    assert (edge.written, edge.dataset, edge.sequence) == (False, Dataset(name), 2)


def test_what_cannot_be_asked_is_refused(client):
    with pytest.raises(TraceNotFound):
        client.get_lineage(trace_id="no-such-trace", direction=UP)
    with pytest.raises(InvalidArgument) as caught:
        client.get_lineage("s3://x", trace_id="y", direction=UP)
    assert set(caught.value.fields) == {"trace_id"}
    with pytest.raises(InvalidArgument):
        client.get_lineage(direction=UP)


def run_event(kind: str, run_id: str, parent: str = "", **fields: Any) -> dict[str, Any]:
    facets = {"parent": {"run": {"runId": parent}, "job": {"namespace": "airflow", "name": "bikes"}}} if parent else {}
    return {
        "eventType": kind,
        "eventTime": "2026-11-23T12:00:00Z",
        "run": {"runId": run_id, "facets": facets},
        "job": {"namespace": "airflow", "name": "bikes.load" if parent else "bikes"},
    } | fields


async def test_run_events_may_come_late_twice_and_in_any_order(client, aio_client):
    dag, task = str(uuid4()), str(uuid4())
    written = [{"namespace": f"s3://{dag}", "name": "table"}]
    events = [
        run_event("COMPLETE", task, dag, outputs=written),
        run_event("COMPLETE", dag),
        run_event("START", task, dag),
        {"job": {}, "eventTime": "2026-11-23T12:00:00Z"},
        run_event("START", dag),
        run_event("BEGIN", dag),
    ]
    results = client.record_run_events(events)
    assert [result and result.sequence for result in results] == [1, 2, 3, None, 4, 0]
    assert isinstance(results[5].error, InvalidArgument)
    assert [result and result.sequence for result in client.record_run_events(reversed(events))] == [
        0,
        4,
        None,
        3,
        2,
        1,
    ]
    assert [result and result.sequence for result in await aio_client.record_run_events(events)] == [
        1,
        2,
        3,
        None,
        4,
        0,
    ]
    trace = client.get_trace(dag).trace
    assert (trace.domain, trace.domain_id, trace.trace_event_status) == ("airflow", "bikes", TraceEventStatus.OK)
    assert (trace.done, trace.trace_status, trace.event_count) == (True, TraceStatus.FINISHED, 4)
    (edge,) = client.get_lineage(f"s3://{dag}/table", direction=UP).edges
    assert edge.trace_id == dag


def test_a_run_that_somebody_else_creates_at_once_is_joined(client, monkeypatch):
    run_id = str(uuid4())
    create = openlineage.create

    def create_late(options: Any, draft: Any, **rest: Any) -> Any:
        client.create(trace_id=run_id, domain="d", domain_id="d", component="someone else")
        return create(options, draft, **rest)

    monkeypatch.setattr(openlineage, "create", create_late)
    results = client.record_run_events([run_event("START", run_id), run_event("FAIL", run_id)])
    assert [(result.sequence, result.error) for result in results] == [(2, None), (3, None)]


def test_a_run_event_that_another_release_read_otherwise_is_recorded_already(client, monkeypatch):
    run_id = str(uuid4())
    event = run_event("START", run_id)
    client.record_run_events([event])
    accept = openlineage.accept

    def otherwise(said: Any) -> Accepted:
        accepted = accept(said)
        assert accepted is not None
        return replace(accepted, draft=replace(accepted.draft, operation="start"))

    monkeypatch.setattr(openlineage, "accept", otherwise)
    (result,) = client.record_run_events([event])
    assert (result.error, result.recorded_before) == (None, True)
    with pytest.raises(AlreadyExists):
        client.update(otherwise(event).draft)


def test_what_is_recorded_stays_while_later_events_are_read(client):
    run_id = str(uuid4())

    def events() -> Iterator[dict[str, Any]]:
        for number in range(450):
            if number in (300, 449):
                assert client.get_trace(run_id, max_events=1).trace.event_count >= number - 200
            yield run_event("RUNNING", run_id, number=number)

    results = client.record_run_events(events())
    assert [result.sequence for result in results] == list(range(1, 451))
    assert not any(result.recorded_before for result in results)


async def test_results_name_what_was_left_out(client, aio_client):
    event = run_event("fail", str(uuid4()), inputs=[None], more=2**1024)
    (result,) = client.record_run_events([event])
    assert result.left_out == (
        "more: a number that is not finite or from 2^1024 up is kept as text",
        "inputs[0]: a dataset without a namespace or a name is left out",
    )
    assert result.error is None
    (again,) = await aio_client.record_run_events([event])
    assert (again.sequence, again.recorded_before, again.left_out) == (1, True, result.left_out)


def test_a_server_with_lower_limits_gets_the_end_without_decorations(tmp_path):
    server = Server(tmp_path, "--limit", "datasets_per_event=1", "--limit", "event_bytes=2000").start()
    try:
        with StatusClient(server.address) as client:
            run_id = str(uuid4())
            many = [{"namespace": "s3://lake", "name": name} for name in "ab"]
            events = [run_event("COMPLETE", run_id, inputs=many), run_event("RUNNING", run_id, more="x" * 3000)]
            results = client.record_run_events(events)
            assert [(result.sequence, result.error) for result in results] == [(1, None), (2, None)]
            assert all("server refuses" in result.left_out[-1] for result in results)
            assert client.get_trace(run_id).trace.done
    finally:
        server.kill()
