"""import --openlineage: RunEvents from files are recorded, once; what is not recorded is told."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_events import as_json, ends, outcome_of, run_event


@pytest.fixture
def run_id() -> str:
    return str(uuid4())


def test_files_of_run_events_are_recorded_once(cli, traces, tmp_path, run_id):
    lines, listed = tmp_path / "lines.ndjson", tmp_path / "list.json"
    written = [{"namespace": f"s3://{run_id}", "name": "table"}]
    events = [run_event("START", run_id), run_event("COMPLETE", run_id, outputs=written)]
    lines.write_text("\n\n".join(json.dumps(event) for event in events))
    listed.write_text(json.dumps([*events, {"dataset": {}}]))
    first = cli("import", "--openlineage", str(lines), str(listed))
    assert (first.code, first.out) == (0, "")
    assert first.err == "2 events are recorded, 2 were recorded before, 0 are not, 1 are about no run.\n"
    again = cli("import", "--openlineage", "-", "--format", "json", stdin=lines.read_text())
    counts = {"recorded": 0, "recorded_before": 2, "passed_over": 0, "failed": [], "left_out": []}
    assert (again.code, again.json, again.err) == (
        0,
        counts,
        "0 events are recorded, 2 were recorded before, 0 are not.\n",
    )
    history = traces.client.get_trace(run_id)
    assert (history.trace.event_count, history.trace.done) == (2, True)
    assert cli("lineage", f"s3://{run_id}/table").out.count(run_id) == 2


def test_what_is_not_recorded_is_told_with_its_place(cli, run_id):
    bad = run_event("BEGIN", run_id)
    text = "\n".join(["{", json.dumps(bad), json.dumps(run_event("START", run_id))])
    run = cli("import", "--openlineage", "-", stdin=text)
    assert run.code == 2
    not_json, unknown = run.json_lines
    assert (not_json["line"], not_json["event"], not_json["error"][:11]) == (1, "{", "is not JSON")
    assert (unknown["line"], unknown["event"]) == (2, bad)
    assert unknown["error"].startswith("eventType is none of START")
    assert run.err == "1 events are recorded, 2 are not.\n"
    assert cli("import", "--openlineage", "-", "--format", "json", stdin="[1, 2").json["failed"][0]["event"] is None


def test_a_server_that_is_away_is_told(offline_cli, run_id):
    text = json.dumps(run_event("START", run_id))
    run = offline_cli("import", "--openlineage", "-", "--server", "127.0.0.1:1", stdin=text, STATUS_GRPC_TIMEOUT="0.5")
    assert run.code == 5
    assert run.json_lines[0]["event"] == json.loads(text)


def test_what_the_files_hold_has_to_be_said(cli):
    run = cli("import", "-")
    assert run.code == 2
    assert "--openlineage" in run.err


@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_end_ends_its_run(cli, traces, tmp_path, data):
    events = [data.draw(ends(str(uuid4()))) for _ in range(12)]
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"\n".join(as_json(event, ensure_ascii=data.draw(st.booleans())) for event in events))
    run = cli("import", "--openlineage", str(file))
    assert (run.code, run.out) == (0, ""), run.err
    for event in events:
        trace = traces.client.get_trace(event["run"]["runId"]).trace
        assert (trace.done, trace.trace_event_status) == (True, outcome_of(event))


def test_what_is_left_out_is_said_once_per_reason(cli, run_id):
    events = [run_event(kind, run_id, inputs=[None], more=float("nan")) for kind in ("START", "complete")]
    text = "\n".join(json.dumps(event) for event in [*events, run_event("BEGIN\ud83d", run_id, more=2**1024)])
    run = cli("import", "--openlineage", "-", stdin=text)
    assert run.code == 2
    assert run.json_lines[0]["event"]["eventType"] == "BEGIN\\ud83d"
    _, dataset, counts = run.err.splitlines()
    assert dataset.startswith("Of 2 events, a dataset without a namespace or a name is left out (first in ")
    assert dataset.endswith(", line 1: inputs[0]).")
    assert counts == "2 events are recorded, 1 are not."
    again = cli("import", "--openlineage", "-", "--format", "json", stdin=text)
    assert [(kind["events"], kind["line"]) for kind in again.json["left_out"]] == [(2, 1), (2, 1)]


def test_large_events_get_the_time_they_need_and_a_second_run_goes_on(cli, traces, tmp_path, run_id):
    fields = [{"name": f"column-{number}", "type": "string", "description": "x" * 20} for number in range(1000)]
    outputs = [{"namespace": "s3://lake", "name": "x", "facets": {"schema": {"fields": fields}}}]
    events = [run_event("RUNNING", run_id, outputs=outputs, number=number) for number in range(40)]
    first, all_of_them = tmp_path / "first.ndjson", tmp_path / "all.json"
    first.write_text("\n".join(json.dumps(event) for event in events[:10]))
    all_of_them.write_text(json.dumps(events))
    assert len(json.dumps(events[0])) > 70_000
    for file, counts in ((first, "10 events are recorded"), (all_of_them, "30 events are recorded, 10 were")):
        run = cli("import", "--openlineage", str(file), STATUS_GRPC_TIMEOUT="0.3")
        assert (run.code, run.out) == (0, "")
        assert run.err.startswith(counts)
    assert traces.client.get_trace(run_id, max_events=1).trace.event_count == 40
