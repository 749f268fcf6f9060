"""RunEvents over HTTP: what senders of OpenLineage post becomes a trace, once, whatever comes first."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any
from uuid import uuid4

import httpx
import pytest
import run_events
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
    return run_events.run_event(kind, run_id, eventTime=f"2026-11-23T12:00:{second:02}Z", **more)


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
        (json.dumps(run_event("START", "x" * 1000)), 400, "run.runId"),
        (json.dumps(run_event("START", "x", job={"namespace": "n"})), 400, "job.name"),
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


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_end_ends_its_run(http: httpx.Client, rpc: StatusClient, data: st.DataObject) -> None:
    events = [data.draw(run_events.ends(str(uuid4()))) for _ in range(6)]
    content = run_events.as_json(events, ensure_ascii=data.draw(st.booleans()))
    answer = http.post(f"{PATH}/batch", content=content)
    assert answer.status_code == 200, answer.text
    assert answer.json()["summary"]["successful"] == len(events), answer.text
    for event in events:
        trace = rpc.get_trace(event["run"]["runId"]).trace
        assert (trace.done, trace.trace_event_status) == (True, run_events.outcome_of(event))


BAD_PARTS = {
    "a number": '"more": 1e400',
    "a large integer": '"more": 1' + "0" * 400,
    "more digits than Python reads": '"more": 1' + "0" * 5000,
    "NaN": '"more": NaN',
    "half a character": r'"more": "\ud83d"',
    "U+0000": r'"more": "\u0000"',
    "no dataset": '"inputs": [null]',
    "too many datasets": '"outputs": ' + json.dumps([{"namespace": "n", "name": str(n)} for n in range(1001)]),
    "a deep value": '"more": ' + "[" * 5000 + "]" * 5000,
    "a time": '"eventTime": "yesterday"',
    "a long name": '"job": ' + json.dumps({"namespace": "n", "name": "x" * 3000}),
}


@pytest.mark.parametrize("part", BAD_PARTS.values(), ids=list(BAD_PARTS))
def test_an_end_is_recorded_without_a_bad_part(http: httpx.Client, rpc: StatusClient, part: str) -> None:
    run_id = str(uuid4())
    content = json.dumps(run_event("fail", run_id))[:-1] + ", " + part + "}"
    answers = [http.post(PATH, content=content) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201], answers[0].text
    assert answers[0].json()["left_out"]
    trace = rpc.get_trace(run_id).trace
    assert (trace.done, trace.trace_event_status, trace.event_count) == (True, "FAILED", 1)


def test_the_log_names_each_reason_once_and_no_values(new_gateway: Callable[..., Gateway]) -> None:
    server = new_gateway()
    for number in range(5):
        event = run_event("COMPLETE", str(uuid4()), second=number, inputs=[{"name": "secret"}], outputs=["secret"])
        assert httpx.post(server.url + PATH, json=event).status_code == 201
    server.stop()
    assert server.log.count("a dataset without a namespace or a name is left out") == 1
    assert "secret" not in server.log


def test_a_batch_is_answered_for_each_event(http: httpx.Client, rpc: StatusClient) -> None:
    parent, child, other = (str(uuid4()) for _ in range(3))
    in_parent = {"runId": child, "facets": {"parentRun": {"runId": parent, "namespace": "dbt", "name": "all"}}}
    events = [
        run_event("START", child, run=in_parent),
        run_event("START", parent, second=1),
        run_event("BEGIN", other),
        {"job": {}, "eventTime": "2026-11-23T12:00:00Z"},
        run_event("COMPLETE", other, inputs=[None]),
        7,
        run_event("COMPLETE", parent, second=2),
    ]
    answer = http.post(f"{PATH}/batch", json=events)
    assert answer.status_code == 200
    assert answer.json()["status"] == "partial_success"
    assert answer.json()["summary"] == {
        "received": 7, "successful": 5, "failed": 2, "retriable": 0, "non_retriable": 2
    }  # fmt: skip
    failed = answer.json()["failed_events"]
    assert [(event["index"], event["retriable"]) for event in failed] == [(2, False), (5, False)]
    assert failed[0]["reason"].startswith("eventType: is none of START")
    assert [entry["index"] for entry in answer.json()["left_out"]] == [4]
    history = rpc.get_trace(parent)
    assert [event.trace_status for event in history.events] == ["CONTINUE", "STARTED", "FINISHED"]
    assert rpc.get_trace(other).trace.done
    again = http.post(f"{PATH}/batch", json=events).json()
    assert again["summary"] == answer.json()["summary"]
    assert rpc.get_trace(parent).trace.event_count == 3
    assert http.post(f"{PATH}/batch", json=[]).json()["status"] == "success"
    for content in ("{}", "null", "[", ""):
        assert http.post(f"{PATH}/batch", content=content).status_code == 400


def test_batches_that_meet_record_every_event_once(http: httpx.Client, rpc: StatusClient) -> None:
    runs = [str(uuid4()) for _ in range(30)]
    batches = [[run_event("RUNNING", run, second=second) for run in runs] for second in (*range(4), *range(4))]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda batch: http.post(f"{PATH}/batch", json=batch), batches))
    assert [answer.json()["status"] for answer in answers] == ["success"] * 8
    assert {rpc.get_trace(run).trace.event_count for run in runs} == {4}


def test_overload_is_503_which_its_clients_repeat(new_gateway: Callable[..., Gateway]) -> None:
    server = new_gateway("--queue-commands", "1")
    lock = sqlite3.connect(server.folder / "traces.db", isolation_level=None)
    with httpx.Client(base_url=server.url, timeout=60) as http, ThreadPoolExecutor(12) as pool:
        lock.execute("BEGIN EXCLUSIVE")
        posts = [pool.submit(http.post, PATH, json=run_event("START", str(uuid4()))) for _ in range(6)]
        posts += [pool.submit(http.post, f"{PATH}/batch", json=[run_event("START", str(uuid4()))]) for _ in range(6)]
        done = as_completed(posts)
        refused = [next(done).result() for _ in range(8)]
        lock.execute("ROLLBACK")
        assert {answer.status_code for answer in refused} == {503}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert {answer.result().status_code for answer in done} <= {200, 201, 503}
    lock.close()
