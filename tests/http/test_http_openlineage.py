"""RunEvents over HTTP: what senders of OpenLineage post becomes a trace, once, whatever comes first."""

from __future__ import annotations

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest
from gateway import Gateway
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import error_message_run, parent_run
from openlineage.client.transport.http import HttpCompression, HttpConfig, HttpTransport

from status_grpc import Dataset, StatusClient

PATH = "/api/v1/lineage"


def run_event(kind: str, run_id: str, *, second: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "eventType": kind,
        "eventTime": f"2026-11-23T12:00:{second:02}Z",
        "run": {"runId": run_id},
        "job": {"namespace": "airflow", "name": "trips.load"},
        "producer": "https://example.org/producer",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
    } | more


@pytest.fixture(params=["plain", "gzip", "under the prefix"])
def sender(request: pytest.FixtureRequest, gateway: Gateway) -> OpenLineageClient:
    """The library's own client, with its HTTP transport."""
    compression = HttpCompression.GZIP if request.param == "gzip" else None
    url = f"{gateway.url}/status-api/" if request.param == "under the prefix" else gateway.url
    return OpenLineageClient(transport=HttpTransport(HttpConfig(url=url, compression=compression, timeout=60)))


def test_a_run_and_its_tasks_become_a_trace(sender: OpenLineageClient, rpc: StatusClient) -> None:
    run_id, task_id = str(uuid4()), str(uuid4())
    job, task = Job("airflow", "trips"), Job("airflow", "trips.load")
    parent = parent_run.ParentRunFacet(
        run=parent_run.Run(runId=run_id), job=parent_run.Job(namespace=job.namespace, name=job.name)
    )
    error = error_message_run.ErrorMessageRunFacet("no price in row 3", "PYTHON", "Traceback ...")
    in_task, failed = Run(task_id, facets={"parent": parent}), {"parent": parent, "errorMessage": error}
    read = [InputDataset("s3://raw", "bike/trips.csv")]
    wrote = [OutputDataset("s3://green", "bike/trips.parquet")]
    told = (
        (Run(run_id), job, RunState.START, [], []),
        (in_task, task, RunState.START, [], []),
        (in_task, task, RunState.COMPLETE, read, wrote),
        (Run(task_id, facets=failed), task, RunState.FAIL, [], []),
        (Run(run_id), job, RunState.FAIL, [], []),
    )
    for second, (run, of, state, inputs, outputs) in enumerate(told):
        event = RunEvent(
            eventTime=f"2026-11-23T12:00:0{second}Z",
            producer="https://example.org/producer",
            run=run,
            job=of,
            eventType=state,
            inputs=inputs,
            outputs=outputs,
        )
        sender.emit(event)
    history = rpc.get_trace(run_id)
    assert [(event.trace_status, event.trace_event_status) for event in history.events] == [
        ("STARTED", "OK"),
        ("CONTINUE", "OK"),
        ("CONTINUE", "OK"),
        ("CONTINUE", "FAILED"),
        ("FINISHED", "FAILED"),
    ]
    assert history.trace.done
    assert (history.trace.domain, history.trace.domain_id) == ("airflow", "trips")
    _, _, worked, broke, _ = history.events
    assert worked.inputs == (Dataset("s3://raw/bike/trips.csv"),)
    assert worked.outputs == (Dataset("s3://green/bike/trips.parquet"),)
    assert {worked.step_id, broke.step_id} == {task_id}
    assert broke.exception is not None
    assert broke.exception.message == "no price in row 3"


def test_what_is_sent_again_is_recorded_once(http: httpx.Client, rpc: StatusClient) -> None:
    run_id = str(uuid4())
    events = [run_event(kind, run_id, second=second) for second, kind in enumerate(("START", "RUNNING", "COMPLETE"))]
    answers = [http.post(PATH, json=event) for event in [*events, *reversed(events)]]
    assert [answer.status_code for answer in answers] == [201] * 6
    assert [answer.json()["sequence"] for answer in answers] == [1, 2, 3, 3, 2, 1]
    assert {answer.json()["trace_id"] for answer in answers} == {run_id}
    assert rpc.get_trace(run_id).trace.event_count == 3


def test_whoever_comes_first_creates_the_trace(http: httpx.Client, rpc: StatusClient) -> None:
    run_id = str(uuid4())
    events = [run_event("RUNNING", run_id, second=second) for second in range(20)]
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda event: http.post(PATH, json=event), events))
    assert {answer.status_code for answer in answers} == {201}
    assert sorted(answer.json()["sequence"] for answer in answers) == list(range(1, 21))
    http.post(PATH, json=run_event("COMPLETE", run_id, second=21))
    assert rpc.get_trace(run_id).trace.done


def test_what_is_about_no_run_is_accepted_and_passed_over(http: httpx.Client) -> None:
    about = {"eventTime": "2026-11-23T12:00:00Z", "producer": "https://example.org"}
    for event in (about | {"dataset": {"namespace": "n", "name": "x"}}, about | {"job": {"namespace": "n"}}):
        assert http.post(PATH, json=event).status_code == 202


def test_a_run_event_of_a_megabyte_is_taken(http: httpx.Client, rpc: StatusClient) -> None:
    run_id = str(uuid4())
    fields = [{"name": f"column-{number}", "type": "string"} for number in range(30_000)]
    outputs = [{"namespace": "s3://green", "name": "x", "facets": {"schema": {"fields": fields}}}]
    answer = http.post(PATH, json=run_event("COMPLETE", run_id, outputs=outputs))
    assert answer.status_code == 201, answer.text
    (event,) = rpc.get_trace(run_id).events
    assert event.outputs == (Dataset("s3://green/x"),)


@pytest.mark.parametrize(
    ("content", "status", "names"),
    [
        ("", 400, "body"),
        ("{", 400, "body"),
        ("[]", 400, "event"),
        ("{}", 400, "run"),
        (json.dumps(run_event("DONE", "x")), 400, "eventType"),
        (json.dumps(run_event("START", "")), 400, "run.runId"),
        (json.dumps(run_event("START", "x", eventTime="now")), 400, "eventTime"),
        (json.dumps(run_event("START", "x" * 1000)), 400, "run.runId"),
        (json.dumps(run_event("START", "x", inputs=[{"namespace": "n"}])), 400, "inputs[0].name"),
        ("[" * 100_000, 400, "body"),
        (" " * 5_000_000, 413, "the body"),
    ],
)
def test_what_is_no_run_event_is_told_by_its_field(http: httpx.Client, content: str, status: int, names: str) -> None:
    answer = http.post(PATH, content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, names in answer.json()["message"]) == (status, True), answer.text


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("br", b"x", 415),
        ("gzip", b"{}", 400),
        ("gzip", gzip.compress(b"") * 1000, 400),
        ("gzip", gzip.compress(b" " * 50_000_000), 413),
    ],
)
def test_packed_bodies_keep_nobody_busy(http: httpx.Client, encoding: str, body: bytes, status: int) -> None:
    answer = http.post(PATH, content=body, headers={"content-encoding": encoding})
    assert answer.status_code == status
    assert answer.json()["message"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=6), below, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(["eventType", "eventTime", "run", "job", "inputs", "outputs"]), _JSON))
def test_any_json_is_recorded_or_refused(http: httpx.Client, changes: dict[str, Any]) -> None:
    answer = http.post(PATH, json=run_event("START", str(uuid4())) | changes)
    assert answer.status_code in (201, 202, 400), answer.text
