"""OpenLineage: RunEvents become events, and events RunEvents that the library of OpenLineage takes as its own."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from builders import NOON, draft
from hypothesis import given
from hypothesis import strategies as st
from openlineage.client import event_v2, facet_v2
from openlineage.client.serde import Serde
from strategies import drafts

from status_grpc.domain.errors import InvalidArgument
from status_grpc.domain.events import Dataset, EventDraft, ExceptionDetail, TraceEvent, TraceEventStatus, TraceStatus
from status_grpc.domain.limits import Limits
from status_grpc.domain.traces import Trace, apply, record, record_first
from status_grpc.domain.validation import DraftRules
from status_grpc.wire.openlineage import draft_of, from_uri, run_events, to_uri

RUN = "0190b3f2-5c3e-7a8f-9d3c-1f6d3c0f7a41"
DAG = "0190b3f2-0000-7a8f-9d3c-1f6d3c0f7a41"
OK, FAILED = TraceEventStatus.OK, TraceEventStatus.FAILED


def run_event(kind: str = "START", **fields: Any) -> dict[str, Any]:
    return {
        "eventType": kind,
        "eventTime": "2026-11-23T12:00:00Z",
        "producer": "https://example.org/engine",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": RUN},
        "job": {"namespace": "airflow", "name": "bikes.load"},
    } | fields


def with_parent(**root: Any) -> dict[str, Any]:
    parent = {"run": {"runId": DAG}, "job": {"namespace": "airflow", "name": "bikes"}} | root
    return {"runId": RUN, "facets": {"parent": parent}}


def taken(event: Any) -> EventDraft:
    found = draft_of(event)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("kind", "status", "outcome"),
    [
        ("START", TraceStatus.STARTED, OK),
        ("RUNNING", TraceStatus.CONTINUE, OK),
        ("OTHER", TraceStatus.CONTINUE, OK),
        ("COMPLETE", TraceStatus.FINISHED, OK),
        ("FAIL", TraceStatus.FINISHED, FAILED),
        ("ABORT", TraceStatus.FINISHED, FAILED),
    ],
)
def test_a_run_is_a_trace(kind: str, status: TraceStatus, outcome: TraceEventStatus) -> None:
    event = taken(run_event(kind))
    assert (event.trace_id, event.domain, event.domain_id) == (RUN, "airflow", "bikes.load")
    assert (event.trace_status, event.trace_event_status) == (status, outcome)
    assert (event.component, event.step_id, event.start_time) == ("bikes.load", RUN, NOON)
    assert event.end_time == (NOON if status is TraceStatus.FINISHED else None)
    assert (event.exception is not None) == (kind == "ABORT")


@pytest.mark.parametrize("kind", ["START", "COMPLETE", "FAIL", "ABORT"])
def test_a_run_with_a_parent_is_a_step_of_its_trace(kind: str) -> None:
    event = taken(run_event(kind, run=with_parent()))
    assert (event.trace_id, event.domain, event.domain_id) == (DAG, "airflow", "bikes")
    assert (event.component, event.step_id, event.trace_status) == ("bikes.load", RUN, TraceStatus.CONTINUE)
    assert event.trace_event_status == (FAILED if kind in ("FAIL", "ABORT") else OK)


def test_the_trace_is_that_of_the_root() -> None:
    root = {"run": {"runId": "root"}, "job": {"namespace": "airflow", "name": "nightly"}}
    event = taken(run_event(run=with_parent(root=root)))
    assert (event.trace_id, event.domain_id, event.step_id) == ("root", "nightly", RUN)


def test_a_run_that_is_its_own_parent_is_a_trace() -> None:
    event = run_event("COMPLETE", run=with_parent(run={"runId": RUN}))
    assert taken(event).trace_status is TraceStatus.FINISHED


def test_datasets_and_errors_find_their_places() -> None:
    version = {"version": {"datasetVersion": "v1"}}
    failed = {"errorMessage": {"message": "no disk", "programmingLanguage": "JAVA", "stackTrace": "at X"}}
    bikes = {"namespace": "s3://lake", "name": "raw/bikes.csv"}
    event = taken(
        run_event(
            "FAIL",
            run={"runId": RUN, "facets": failed},
            inputs=[{**bikes, "facets": version}, bikes, bikes],
            outputs=[{"namespace": "bigquery", "name": "p.d.t"}],
        )
    )
    assert event.inputs == (Dataset("s3://lake/raw/bikes.csv", "v1"), Dataset("s3://lake/raw/bikes.csv"))
    assert event.outputs == (Dataset("openlineage://bigquery/p.d.t"),)
    assert event.exception == ExceptionDetail("", "no disk", "at X")
    assert event.status_body is not None
    assert event.status_body["openlineage"]["run"]["facets"] == failed


def test_a_repeated_event_has_the_same_id_and_another_one_has_another() -> None:
    event = run_event("COMPLETE")
    again = json.loads(json.dumps(dict(reversed(event.items()))))
    assert taken(event) == taken(again)
    assert taken(event).trace_event_id != taken(event | {"eventTime": "2026-11-23T12:00:01Z"}).trace_event_id


@pytest.mark.parametrize("event", [{"dataset": {}, "eventTime": "x"}, {"job": {}, "eventTime": "x"}])
def test_what_is_about_no_run_is_nothing(event: dict[str, Any]) -> None:
    assert draft_of(event) is None


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ([], {"event", "eventTime", "run", "run.runId", "job", "job.namespace", "job.name"}),
        (run_event("BEGIN"), {"eventType"}),
        (run_event(eventType=["START"]), {"eventType"}),
        (run_event(eventTime="yesterday"), {"eventTime"}),
        (run_event(eventTime="0001-01-01T00:00:00+14:00"), {"eventTime"}),
        (run_event(run={"runId": ""}, job={"namespace": 1, "name": "x"}), {"run.runId", "job.namespace"}),
        (run_event(run={"runId": "x" * 129}), {"run.runId"}),
        (run_event(run=with_parent(run={})), {"run.facets.parent.run.runId"}),
        (run_event(run={"runId": RUN, "facets": {"parent": []}}), {"run.facets.parent"}),
        (run_event(inputs={}, outputs=[{"namespace": "a"}, 1]), {"inputs", "outputs[0].name", "outputs[1]"}),
        (run_event(job={"namespace": "a\0", "name": "\ud800"}), {"job.namespace", "event"}),
    ],
)
def test_what_is_wrong_is_named(event: Any, fields: set[str]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        draft_of(event)
    assert fields <= set(caught.value.fields)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
)


@given(
    st.sampled_from([(), ("run",), ("job",), ("run", "facets"), ("run", "facets", "parent"), ("inputs",)]), json_values
)
def test_anything_is_taken_or_refused_by_name(place: tuple[str, ...], value: Any) -> None:
    event: Any = run_event(run=with_parent(), inputs=[])
    if place:
        inner = event
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
    else:
        event = value
    try:
        found = draft_of(event)
    except InvalidArgument:
        return
    assert found is None or valid(found)


def valid(event: EventDraft) -> bool:
    violations: list[Any] = []
    DraftRules(Limits()).check_update(event, violations)
    return violations == []


@pytest.mark.parametrize("facet", [{"plan": "x" * 200_000}, json.loads("[" * 60 + "]" * 60), "\0"])
def test_what_is_too_large_to_keep_is_named_and_left_out(facet: Any) -> None:
    event = taken(
        run_event(run={"runId": RUN, "facets": {"plan": facet}}, job={"namespace": "n" * 999, "name": "x" * 2000})
    )
    assert event.status_body is not None
    assert event.status_body["openlineage"]["left_out"] == "run.facets.plan"
    assert valid(event)


@pytest.mark.parametrize(
    ("namespace", "name", "uri"),
    [
        ("s3://lake", "raw/x.csv", "s3://lake/raw/x.csv"),
        ("hdfs://node:8020", "/raw/x", "hdfs://node:8020/raw/x"),
        ("postgres://db:5432", "p.s.t", "postgres://db:5432/p.s.t"),
        ("file", "/tmp/x", "file:///tmp/x"),
        ("default", "raw/x.csv", "raw/x.csv"),
        ("arn:aws:glue:eu-west-1:1", "table/a/b", "openlineage://arn%3Aaws%3Aglue%3Aeu-west-1%3A1/table/a/b"),
    ],
)
def test_names_of_datasets(namespace: str, name: str, uri: str) -> None:
    assert to_uri(namespace, name) == uri
    assert from_uri(uri) == (namespace, name)


@given(
    st.text(min_size=1)
    | st.from_regex(r"\A(s3|file|hdfs|openlineage|default|):?//?/?[a-c%/:]{0,4}/?[a-c%/:]{0,4}\Z").filter(bool)
)
def test_a_uri_comes_back_as_it_was(uri: str) -> None:
    namespace, name = from_uri(uri)
    assert namespace
    assert name
    assert to_uri(namespace, name) == uri


# What is told of a trace.


def history(*events: EventDraft, trace_id: str = "bikes-1", new_run: int = 0) -> tuple[Trace, list[TraceEvent]]:
    """Record the events; the one with the number `new_run` begins another run."""
    now = NOON
    recorded: list[TraceEvent] = []
    trace: Trace | None = None
    for number, event in enumerate(events, 1):
        now += timedelta(seconds=1)
        event_id = event.trace_event_id or f"e{number}"
        if trace is None:
            recorded.append(record_first(event, trace_id, event_id, now=now))
        else:
            recorded.append(record(trace, event, event_id, new_run=number == new_run, now=now))
        trace = apply(trace, recorded[-1])
    assert trace is not None
    return trace, recorded


def told(*events: EventDraft, **options: Any) -> list[dict[str, Any]]:
    return list(run_events(*history(*events, **options)))


FINISHED: dict[str, Any] = {"trace_status": TraceStatus.FINISHED, "component": "end"}


def names(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(message["eventType"], message["job"]["name"].removeprefix("cycling/1")) for message in messages]


def test_a_trace_is_told_as_a_run_and_its_steps() -> None:
    step = {"component": "convert", "step_id": "s1"}
    end = NOON + timedelta(seconds=9)
    messages = told(
        draft(component="upload", outputs=(Dataset("s3://lake/raw", "v1"),)),
        draft(**step, inputs=(Dataset("s3://lake/raw"),)),
        draft(**step),
        draft(**step, end_time=end, status_body={"files_outgoing": ["processed/x"]}),
        draft(component="dies", operation="write", step_id="s2"),
        draft(**FINISHED, trace_event_status=OK),
    )
    assert names(messages) == [
        ("START", ""),
        ("START", ".upload"),
        ("COMPLETE", ".upload"),
        ("START", ".convert"),
        ("RUNNING", ".convert"),
        ("COMPLETE", ".convert"),
        ("START", ".dies.write"),
        ("START", ".end"),
        ("COMPLETE", ".end"),
        ("ABORT", ".dies.write"),
        ("COMPLETE", ""),
    ]
    whole = messages[0]["run"]["runId"]
    assert all(message["run"]["facets"]["parent"]["run"]["runId"] == whole for message in messages[1:-1])
    assert len({message["run"]["runId"] for message in messages}) == 5
    assert messages[2]["outputs"][0]["facets"]["version"]["datasetVersion"] == "v1"
    assert messages[5]["outputs"] == [{"namespace": "default", "name": "processed/x"}]
    assert messages[5]["eventTime"] == "2026-11-23T12:00:09.000000Z"


def test_a_failure_is_told_with_its_reason_and_a_redrive_as_another_run() -> None:
    error = ExceptionDetail("ValueError", "no price", "Traceback (most recent call last): ...")
    messages = told(
        draft(component="end", exception=error, trace_status=TraceStatus.FINISHED, trace_event_status=FAILED),
        draft(component="late"),
        draft(component="redrive"),
        draft(**FINISHED, trace_event_status=OK),
        new_run=3,
    )
    assert [name for name in names(messages) if name[1] == ""] == [
        ("START", ""),
        ("FAIL", ""),
        ("START", ""),
        ("COMPLETE", ""),
    ]
    facet = messages[2]["run"]["facets"]["errorMessage"]
    assert (facet["message"], facet["programmingLanguage"]) == ("ValueError: no price", "PYTHON")
    runs = [message["run"]["runId"] for message in messages if message["job"]["name"] == "cycling/1"]
    assert runs[0] == runs[1] != runs[2] == runs[3]


def test_what_was_taken_from_openlineage_is_told_as_it_came() -> None:
    came = [
        run_event("START", run={"runId": DAG}, job={"namespace": "airflow", "name": "bikes"}),
        run_event("START", run=with_parent()),
        run_event("COMPLETE", run=with_parent(), outputs=[{"namespace": "s3://lake", "name": "x"}]),
        run_event("COMPLETE", run={"runId": DAG}, job={"namespace": "airflow", "name": "bikes"}),
    ]
    messages = told(*map(taken, came), trace_id=DAG)
    assert [(m["eventType"], m["run"]["runId"], m["job"]) for m in messages] == [
        (event["eventType"], event["run"]["runId"], event["job"]) for event in came
    ]
    assert messages[2]["outputs"] == came[2]["outputs"]


@given(st.lists(drafts(trace_id="bikes-1", domain="dataset", domain_id="cycling/1"), min_size=1, max_size=4))
def test_openlineage_itself_takes_what_is_told(events: list[EventDraft]) -> None:
    trace, recorded = history(*(replace(event, trace_event_id="") for event in events))
    messages = list(run_events(trace, recorded))
    assert messages == list(run_events(trace, recorded)), "the same events, the same RunEvents"
    for message in messages:
        assert Serde.to_dict(as_its_own(message)) == json.loads(json.dumps(message))


FACETS = {
    "parent": facet_v2.parent_run.ParentRunFacet,
    "tags": facet_v2.tags_run.TagsRunFacet,
    "errorMessage": facet_v2.error_message_run.ErrorMessageRunFacet,
    "version": facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet,
}


def as_its_own(message: dict[str, Any]) -> event_v2.RunEvent:
    """Build the message by the classes of OpenLineage's library, which are made from its schemas and check values."""

    def facets(of: dict[str, Any]) -> dict[str, Any]:
        return {name: FACETS[name](**inner(name, content)) for name, content in of.get("facets", {}).items()}

    def inner(name: str, content: dict[str, Any]) -> dict[str, Any]:
        content = {key.lstrip("_"): value for key, value in content.items() if key != "_schemaURL"}
        if name == "parent":
            content["run"] = facet_v2.parent_run.Run(**content["run"], facets=None)
            content["job"] = facet_v2.parent_run.Job(**content["job"], facets=None)
        return content

    def datasets(kind: Any, entries: list[dict[str, Any]]) -> list[Any]:
        own = {"inputFacets": None} if kind is event_v2.InputDataset else {"outputFacets": None}
        return [kind(entry["namespace"], entry["name"], facets=facets(entry) or None, **own) for entry in entries]

    assert message["schemaURL"] == event_v2.RunEvent._get_schema()
    return event_v2.RunEvent(
        eventTime=message["eventTime"],
        producer=message["producer"],
        eventType=event_v2.RunState(message["eventType"]),
        run=event_v2.Run(message["run"]["runId"], facets(message["run"])),
        job=event_v2.Job(**message["job"], facets=None),
        inputs=datasets(event_v2.InputDataset, message["inputs"]) if "inputs" in message else None,
        outputs=datasets(event_v2.OutputDataset, message["outputs"]) if "outputs" in message else None,
    )


def test_times_before_the_offset_of_utc() -> None:
    event = taken(run_event(eventTime="2026-11-23T12:00:00.123456789+01:00"))
    assert event.start_time == datetime(2026, 11, 23, 11, 0, 0, 123456, tzinfo=UTC)
    assert taken(run_event(eventTime="2026-11-23T12:00:00")).start_time == NOON
