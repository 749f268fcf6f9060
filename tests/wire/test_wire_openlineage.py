"""OpenLineage: RunEvents become events, and events RunEvents that the library of OpenLineage takes as its own."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import run_events as run_events_of_tests
from builders import NOON, draft
from hypothesis import given, settings
from hypothesis import strategies as st
from openlineage.client import event_v2, facet_v2
from openlineage.client.serde import Serde
from run_events import as_json, ends, outcome_of
from strategies import drafts
from tracestatus.v1 import trace_pb2

from status_grpc.domain.errors import InvalidArgument
from status_grpc.domain.events import Dataset, EventDraft, ExceptionDetail, TraceEvent, TraceEventStatus, TraceStatus
from status_grpc.domain.limits import Limits
from status_grpc.domain.traces import Trace, apply, record, record_first
from status_grpc.domain.validation import DraftRules
from status_grpc.wire.events import decode_draft, draft_message
from status_grpc.wire.json_values import NotJson
from status_grpc.wire.openlineage import Accepted, accept, from_uri, read_json, run_events, to_uri

RUN = "0190b3f2-5c3e-7a8f-9d3c-1f6d3c0f7a41"
DAG = "0190b3f2-0000-7a8f-9d3c-1f6d3c0f7a41"
DEFAULTS = Limits()
ARRIVAL = NOON + timedelta(days=1)
OK, FAILED = TraceEventStatus.OK, TraceEventStatus.FAILED


def run_event(kind: str = "START", **fields: Any) -> dict[str, Any]:
    return run_events_of_tests.run_event(kind, RUN, **fields)


def with_parent(**root: Any) -> dict[str, Any]:
    parent = {"run": {"runId": DAG}, "job": {"namespace": "airflow", "name": "bikes"}} | root
    return {"runId": RUN, "facets": {"parent": parent}}


def accepted(event: Any, limits: Limits = DEFAULTS) -> Accepted:
    found = accept(event, limits, now=ARRIVAL)
    assert found is not None
    return found


def taken(event: Any) -> EventDraft:
    return accepted(event).draft


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
    assert accept(event) is None


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ([], {"event"}),
        ({}, {"run", "run.runId", "job", "job.namespace", "job.name"}),
        (run_event("BEGIN"), {"eventType"}),
        (run_event(eventType=["START"]), {"eventType"}),
        (run_event(run={"runId": ""}, job={"namespace": 1, "name": "x"}), {"run.runId", "job.namespace"}),
        (run_event(run={"runId": "x" * 129}), {"run.runId"}),
        (run_event(run={"runId": "a\nb"}, job=None), {"run.runId", "job", "job.namespace", "job.name"}),
        (run_event(inputs=[None], eventTime="now", job=[]), {"job", "job.namespace", "job.name"}),
    ],
)
def test_only_run_job_and_type_are_refused(event: Any, fields: set[str]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        accept(event)
    assert set(caught.value.fields) == fields


FACETS_OF_A_FAILURE = {"errorMessage": {"message": "no\0disk", "stackTrace": "at \ud83d"}}
TWO = [{"namespace": "s3://lake", "name": "a"}, {"namespace": "s3://lake", "name": "b"}]


@pytest.mark.parametrize(
    ("changes", "left_out"),
    [
        ({"inputs": [None]}, "inputs[0]: a dataset without a namespace or a name is left out"),
        ({"inputs": [{"namespace": "n"}]}, "inputs[0]: a dataset without a namespace or a name is left out"),
        ({"outputs": [{"name": "n"}]}, "outputs[0]: a dataset without a namespace or a name is left out"),
        ({"inputs": {}}, "inputs: datasets that are not a list are left out"),
        (
            {"inputs": TWO * 501 + [{"namespace": "default", "name": str(n)} for n in range(999)]},
            "inputs: datasets beyond",
        ),
        ({"inputs": [{"namespace": "s3://lake", "name": "x" * 2048}]}, "inputs[0]: a dataset whose URI is longer"),
        (
            {"inputs": [{**TWO[0], "facets": {"version": {"datasetVersion": "v" * 257}}}]},
            "inputs[0].facets.version: a text",
        ),
        ({"run": {"runId": RUN, "facets": {"x": float("nan")}}}, "run.facets.x: a number"),
        ({"run": {"runId": RUN, "facets": {"x": [float("inf")]}}}, "run.facets.x[0]: a number"),
        ({"run": {"runId": RUN, "facets": {"x": 2**1024}}}, "run.facets.x: a number"),
        ({"run": {"runId": RUN, "facets": {"x": 10**5000}}}, "run.facets.x: a number"),
        ({"run": {"runId": RUN, "facets": FACETS_OF_A_FAILURE}}, "run.facets.errorMessage.message: U+0000"),
        ({"run": {"runId": RUN, "facets": []}}, "run.facets: facets that are not an object"),
        ({"run": {"runId": RUN, "facets": {"parent": []}}}, "run.facets.parent: a parent that is not an object"),
        ({"run": {"runId": RUN, "facets": {"parent": {"run": {}}}}}, "run.facets.parent: a parent without a valid"),
        ({"job": {"namespace": "n", "name": "\ud800"}}, "job.name: U+0000 and unpaired surrogates"),
        ({"job": {"namespace": "n" * 257, "name": "x" * 1025}}, "job.name: a text longer than 1024"),
        ({"producer": json.loads("[" * 60 + "]" * 60)}, "producer[0]"),
        ({"producer": {"a set": {1}}}, "producer.a set: a value that is not JSON"),
        ({"eventTime": "yesterday"}, "eventTime: a time that is missing"),
        ({"eventTime": None}, "eventTime: a time that is missing"),
    ],
)
def test_a_decoration_never_refuses_an_end(changes: dict[str, Any], left_out: str) -> None:
    found = accepted(run_event("FAIL", **changes))
    assert (found.draft.trace_id, found.draft.trace_event_status) == (RUN, FAILED)
    assert found.draft.trace_status is TraceStatus.FINISHED
    assert [str(part) for part in found.left_out if str(part).startswith(left_out)], found.left_out
    assert valid(found.draft)


def test_what_can_be_kept_of_a_bad_part_is_kept() -> None:
    facets = {"huge": 2**1024, "nan": float("nan"), "name\0": "a\udcffb\ud83d"} | FACETS_OF_A_FAILURE
    event = taken(run_event("FAIL", run={"runId": RUN, "facets": facets}, inputs=[None, *TWO]))
    assert event.exception == ExceptionDetail("", "no\\x00disk", "at \\ud83d")
    assert event.inputs == (Dataset("s3://lake/a"), Dataset("s3://lake/b"))
    assert event.status_body is not None
    kept = event.status_body["openlineage"]["run"]["facets"]
    assert (kept["huge"], kept["nan"]) == (str(2**1024), "NaN")
    assert kept["name\\x00"] == "a\\xffb\\ud83d"


def test_a_clean_event_is_kept_as_it_came() -> None:
    event = run_event("COMPLETE", inputs=TWO, more={"a": [1, None, 0.5, True, 2**1000]})
    assert accepted(event).left_out == ()
    assert taken(event).status_body == {"openlineage": event}


@pytest.mark.parametrize("kind", ["complete", "Complete", " COMPLETE "])
def test_types_are_read_in_any_case(kind: str) -> None:
    assert taken(run_event(kind)).trace_event_status is OK
    assert taken(run_event(kind)).trace_status is TraceStatus.FINISHED


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-23T12:00Z", NOON),
        ("2026-11-23T12:00:00", NOON),
        ("2026-11-23T12:00:00.1Z", NOON.replace(microsecond=100_000)),
        ("2026-11-23T12:00:00.123456789Z", NOON.replace(microsecond=123_456)),
        ("2026-11-23T13:00:00.123456789+01:00[Europe/Oslo]", NOON.replace(microsecond=123_456)),
        ("2026-11-23T13:00+01:00[Europe/Oslo]", NOON),
        ("2026-11-23T12:00:00Z[UTC]", NOON),
        ("2026-11-23T13:00:00+0100", NOON),
        ("2026-11-23T13:00:00+01", NOON),
        ("2026-11-23t12:00:00z", NOON),
    ],
)
def test_times_are_read_as_java_prints_them(text: str, time: datetime) -> None:
    found = accepted(run_event("COMPLETE", eventTime=text))
    assert (found.draft.start_time, found.draft.end_time, found.left_out) == (time, time, ())


@pytest.mark.parametrize(
    "time", [None, "", "now", 1700000000000, "0001-01-01T00:00:00+14:00", "+12026-11-23T12:00:00Z", ["2026"]]
)
def test_an_unreadable_time_becomes_that_of_arrival(time: Any) -> None:
    event = run_event("COMPLETE", eventTime=time)
    assert taken(event).start_time == ARRIVAL
    later = accept(event, now=ARRIVAL + timedelta(seconds=9))
    assert later is not None
    assert later.draft.trace_event_id == taken(event).trace_event_id


NAMED = {"run": {"runId": DAG}, "job": {"namespace": "airflow", "name": "bikes"}}
FLAT = {"run_id": DAG, "job_namespace": "airflow", "job_name": "bikes"}


@pytest.mark.parametrize(
    "facets",
    [
        {"parent": NAMED},
        {"parentRun": NAMED},
        {"parent": {"runId": DAG, "namespace": "airflow", "name": "bikes"}},
        {"parent": {"run_id": DAG, "namespace": "airflow", "name": "bikes"}},
        {"parent": FLAT},
        {"parent": {**FLAT, "run_id": "middle", "root_parent_run_id": DAG, "root_parent_job_namespace": "airflow",
                    "root_parent_job_name": "bikes"}},
        {"parent": {"run": {"runId": "middle"}, "job": {}, "root": NAMED}},
        {"parent": {**NAMED, "root": {"run": {"runId": None}}}},
    ],
)  # fmt: skip
def test_the_parent_is_read_in_its_older_shapes(facets: dict[str, Any]) -> None:
    event = taken(run_event("COMPLETE", run={"runId": RUN, "facets": facets}))
    assert (event.trace_id, event.domain, event.domain_id) == (DAG, "airflow", "bikes")
    assert (event.step_id, event.trace_status) == (RUN, TraceStatus.CONTINUE)


def test_a_parent_without_a_job_has_that_of_its_child() -> None:
    found = accepted(run_event(run={"runId": RUN, "facets": {"parent": {"run": {"runId": DAG}}}}))
    assert (found.draft.trace_id, found.draft.domain_id) == (DAG, "bikes.load")
    assert [part.field for part in found.left_out] == ["run.facets.parent"]


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
        found = accept(event)
    except InvalidArgument:
        return
    assert found is None or valid(found.draft)


@settings(max_examples=100)
@given(ends(RUN))
def test_any_end_ends_its_run(event: dict[str, Any]) -> None:
    for read in (event, read_json(as_json(event)), read_json(as_json(event, ensure_ascii=False))):
        found = taken(read)
        assert (found.trace_id, found.trace_status) == (RUN, TraceStatus.FINISHED)
        assert found.trace_event_status == outcome_of(event)
        assert valid(found)
    assert taken(read_json(as_json(event))).trace_event_id == taken(read_json(as_json(event))).trace_event_id


def valid(event: EventDraft, limits: Limits = DEFAULTS) -> bool:
    """Whether a server takes the draft, over gRPC too."""
    violations: list[Any] = []
    DraftRules(limits).check_create(event, violations)
    message = draft_message(event)
    decode_draft(trace_pb2.TraceEvent.FromString(message.SerializeToString()), limits, violations)
    assert event.encoded_bytes == message.ByteSize()
    return violations == [] and message.ByteSize() <= limits.event_bytes


@pytest.mark.parametrize(
    "text",
    [
        '{"x": NaN, "y": [1e400, -Infinity]}',
        '{"x": 1' + "0" * 5000 + "}",
        '{"x": "\\ud83d", "\\udcff": "tab\tin a text"}',
        '{"x": "\xe9"}',
        '\ufeff{"x": 1, "x": 2}',
        '{"x": ' + "[" * 100_000 + '"]\\"["' + "]" * 100_000 + ', "y": 2}',
    ],
)
def test_lenient_json_is_read_and_made_storable(text: str) -> None:
    data = text.encode("latin-1" if "\xe9" in text else "utf-8")
    event = read_json(data)
    assert "x" in event
    found = taken(run_event("COMPLETE", **event))
    assert valid(found)


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 100_000, b"\xff\xfe{\x00}\x00", b'{"x": nan}', b"}" * 9])
def test_what_is_no_json_is_not_read(data: bytes) -> None:
    with pytest.raises(NotJson):
        read_json(data)


def test_a_large_facet_is_left_out_and_named() -> None:
    facets = {"plan": "x" * 200_000, "small": 1}
    found = accepted(run_event(run={"runId": RUN, "facets": facets}))
    assert found.draft.status_body is not None
    kept = found.draft.status_body["openlineage"]
    assert (kept["left_out"], kept["run"]) == ("run.facets.plan", {"runId": RUN, "facets": {"small": 1}})
    assert [str(part) for part in found.left_out] == ["run.facets.plan: what makes the event too large is left out"]
    assert valid(found.draft)


def test_an_event_of_several_megabytes_loses_decorations_until_it_fits() -> None:
    failure = {"errorMessage": {"message": "é" * 16_000, "stackTrace": "\U0001f6b2" * 64_000}}
    many = [{"namespace": "s3://lake", "name": f"{n:04}{'é' * 1000}"} for n in range(1000)]
    numbers = {"numbers": [0] * 49_000}
    end = run_event("FAIL", run={"runId": RUN, "facets": failure}, inputs=many, outputs=many, job_facets=numbers)
    end["producer"] = "p" * 2_000_000
    found = accepted(end)
    assert valid(found.draft)
    assert found.draft.trace_status is TraceStatus.FINISHED
    assert found.draft.exception is not None
    assert len(found.draft.exception.message) == 16_000
    assert found.draft.exception.traceback == ""
    assert 400 < len(found.draft.outputs) < 1000
    assert {part.field for part in found.left_out} >= {"event", "inputs, outputs", "run.facets.errorMessage.stackTrace"}


def test_the_limits_of_the_server_hold() -> None:
    limits = Limits(event_bytes=700, name_length=8, domain_id_length=9, datasets_per_event=1, path_bytes=20)
    found = accepted(run_event("COMPLETE", inputs=TWO, more="x" * 5000), limits)
    assert valid(found.draft, limits)
    assert (found.draft.domain_id, found.draft.inputs) == ("bikes.lo…", (Dataset("s3://lake/a"),))


def test_at_most_twenty_parts_are_named_and_every_reason() -> None:
    found = accepted(run_event(inputs=[None] * 500, outputs={}))
    assert len(found.left_out) == 21
    assert found.left_out[-1].field == "outputs"


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
