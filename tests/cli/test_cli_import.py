"""import --openlineage: RunEvents from files are recorded, once; what is not recorded is told."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest


def run_event(kind: str, run_id: str, **fields: object) -> dict[str, object]:
    return {
        "eventType": kind,
        "eventTime": "2026-11-23T12:00:00Z",
        "run": {"runId": run_id},
        "job": {"namespace": "spark", "name": "load"},
    } | fields


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
    assert first.err == "4 events are recorded, 0 are not, 1 are about no run.\n"
    again = cli("import", "--openlineage", "-", "--format", "json", stdin=lines.read_text())
    assert (again.code, again.json) == (0, {"recorded": 2, "passed_over": 0, "failed": []})
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
