"""create, update, get, by-path, list and status."""

from __future__ import annotations

import json
from datetime import timedelta
from uuid import uuid4

import pytest

from status_grpc import ErrorDetail, ExceptionDetail, TraceEventStatus


@pytest.fixture
def failed_trace(traces) -> str:
    """A trace whose validator reported errors and whose end says only FAILED."""
    trace_id = traces.create(operation="upload", user="ola", s3_path=f"raw/{uuid4()}.csv")
    traces.update(
        trace_id,
        component="csv-validator",
        operation="validate",
        duration=timedelta(seconds=0.25),
        errors=[
            ErrorDetail({"nb": "Rad 3 har ingen pris", "en": "Row 3 has no price"}),
            ErrorDetail({"nb": "Feil to"}),
        ],
    )
    traces.finish(trace_id, TraceEventStatus.FAILED)
    return trace_id


def test_what_flags_say_is_recorded(cli):
    created = cli(
        *("create", "--domain", "dataset", "--domain-id", "d/1", "--component", "data-uploader"),
        *("--trace-id", f"t-{uuid4()}", "--event-id", "e-1", "--expire-time", "2100-01-01"),
    )
    assert (created.code, created.err) == (0, "")
    trace_id = created.out.strip()
    run = cli(
        *(
            "update",
            trace_id,
            "--component",
            "s3-writer",
            "--operation",
            "copy",
            "--user",
            "kari",
            "--path",
            "a/b c.csv",
        ),
        *("--start-time", "2026-01-31T12:00:00+01:00", "--end-time", "2026-01-31T11:00:01.5", "--duration", "1.5"),
        *("--exception", "ValueError", "no such bucket", "--body", '{"rows": 3}', "--meta", '{"rev": "a1"}'),
        *("--input", "s3://in", "--output", "s3://out", "--step-id", "s-1", "--attempt", "2", "--outcome", "failed"),
        *("--expected-sequence", "1", "--format", "json"),
    )
    event = run.json["event"]
    for given_by_server in ("record_time", "trace_event_id"):
        assert event.pop(given_by_server)
    assert event == {
        "trace_id": trace_id,
        "domain": "dataset",
        "domain_id": "d/1",
        "start_time": "2026-01-31T11:00:00.000000Z",
        "end_time": "2026-01-31T11:00:01.500000Z",
        "trace_status": "CONTINUE",
        "trace_event_status": "FAILED",
        "outcome": "failed",
        "user": "kari",
        "component": "s3-writer",
        "operation": "copy",
        "status_body": {"rows": 3},
        "meta": {"rev": "a1"},
        "s3_path": "a/b c.csv",
        "duration": 1500,
        "exception": {"type": "ValueError", "message": "no such bucket"},
        "inputs": [{"uri": "s3://in"}],
        "outputs": [{"uri": "s3://out"}],
        "step_id": "s-1",
        "attempt": 2,
        "sequence": 2,
        "run": 1,
    }
    assert run.json["trace"]["expire_time"] == "2100-01-01T00:00:00.000000Z"


def test_errors_by_flags_in_several_languages(cli, traces):
    trace_id = traces.create()
    run = cli(
        *("update", trace_id, "--component", "c", "--format", "json"),
        *("--error", "nb", "En", "--error", "en", "One", "--error", "nb", "To"),
    )
    assert run.json["event"]["errors"] == [{"message": {"nb": "En", "en": "One"}}, {"message": {"nb": "To"}}]


def test_an_event_that_was_printed_can_be_sent_again(cli, failed_trace):
    event = json.dumps(cli("get", failed_trace, "--format", "json").json["events"][1])
    # What the server filled in is content too: the first time it was not said.
    event = json.dumps({**json.loads(event), "trace_event_id": "mine"})
    first = cli("update", "--file", "-", stdin=event)
    again = cli("update", "--file", "-", stdin=event)
    assert first.out == again.out
    other = cli("update", "--file", "-", "--user", "kari", stdin=event)
    assert other.code == 2
    assert "with other content" in other.sentence


def test_get_tells_the_reason_in_the_nearest_language(cli, failed_trace):
    run = cli("get", failed_trace, "--lang", "nn-NO")
    assert run.code == 0
    assert "csv-validator said: Rad 3 har ingen pris; Feil to\n" in run.out
    assert "validate   CONTINUE  ok       0.25 s  Rad 3 har ingen pris; Feil to\n" in run.out
    assert "csv-validator said: Row 3 has no price; Feil to\n" in cli("get", failed_trace, STATUS_GRPC_LANG="de").out


def test_get_reads_a_trace_of_several_pages(cli, traces):
    trace_id = traces.create()
    for _ in range(4):
        traces.update(trace_id, status_body={"text": "x" * 900_000})
    lines = cli("get", trace_id, "--format", "jsonl").json_lines
    assert lines[0]["last_sequence"] == 5
    assert [line["sequence"] for line in lines[1:]] == [1, 2, 3, 4, 5]


def test_by_path_finds_the_newest_and_lists_all(cli, traces):
    path = f"raw/{uuid4()} æ+.csv"
    first, second = traces.create(s3_path=path), traces.create(s3_path=path)
    assert cli("by-path", path, "--format", "json").json["trace_ids"] == [second, first]
    run = cli("by-path", path)
    assert run.out.index(second) < run.out.index(first)


def test_list_filters_and_limits(cli, traces):
    user = f"user-{uuid4()}"
    ids = [traces.create(user=user) for _ in range(3)]
    traces.finish(ids[0], TraceEventStatus.OK)
    assert [trace["trace_id"] for trace in cli("list", "--user", user, "--format", "json").json] == ids[::-1]
    limited = cli("list", "--user", user, "--limit", "2", "--format", "jsonl").json_lines
    assert [trace["trace_id"] for trace in limited] == ids[:0:-1]
    done = cli("list", "--user", user, "--outcome", "ok", "--created-after", "2026-01-01").out
    assert ids[0] in done
    assert ids[1] not in done
    assert cli("list", "--user", f"{user}-else", "--format", "json").json == []


def test_status_has_the_columns_and_keys_of_the_old_command_line(cli, failed_trace):
    table = cli("status", failed_trace)
    assert table.code == 1
    header, first, second = table.out.splitlines()
    assert header.split("  ")[0] == "Done"
    assert header.endswith("Trace status  Trace event status  Error(s)")
    assert first.split() == ["Yes", failed_trace, "FINISHED", "FAILED", "-", "Row", "3", "has", "no", "price"]
    assert second.split() == ["-", "Feil", "to"]
    assert cli("status", failed_trace, "--format", "json").json == {
        "done": True,
        "trace_id": failed_trace,
        "trace_status": "FINISHED",
        "trace_event_status": "FAILED",
        "errors": ["Row 3 has no price", "Feil to"],
    }
    history = cli("status", failed_trace, "--history", "--format", "json", "--lang", "nb").json
    assert list(history[0]) == [
        *("trace_event_id", "start_time", "end_time", "domain", "domain_id", "component", "operation"),
        *("trace_status", "trace_event_status", "errors"),
    ]
    assert [event["errors"] for event in history][:2] == [[], ["Rad 3 har ingen pris", "Feil to"]]
    assert cli("status", failed_trace, "--format", "csv").out.splitlines()[1] == (
        f"True,{failed_trace},FINISHED,FAILED,Row 3 has no price;Feil to"
    )


def test_status_of_a_trace_that_goes_on(cli, traces):
    path = f"raw/{uuid4()}"
    trace_id = traces.create(s3_path=path)
    run = cli("status", "--by-path", path, "--format", "json")
    assert (run.code, run.json["trace_id"], run.json["done"]) == (0, trace_id, False)
    late = cli("status", trace_id, "--watch", "--timeout", "0.2")
    assert late.code == 4
    assert "0.2 seconds" in late.sentence


def test_status_gathers_more_errors_than_the_state_of_a_trace_has(cli, traces):
    trace_id = traces.create()
    texts = [f"{number} {'long ' * 300}" for number in range(60)]
    for part in (texts[:30], texts[30:]):
        traces.update(trace_id, errors=[ErrorDetail({"en": text}) for text in part])
    assert cli("status", trace_id, "--format", "json").json["errors"] == texts


EVIL = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202egpj.exe"


def test_control_characters_of_a_field_do_not_reach_the_terminal(cli, traces):
    trace_id = traces.create(operation=EVIL, user=EVIL)
    traces.update(trace_id, component=EVIL, errors=[ErrorDetail({"en": EVIL})], exception=ExceptionDetail(EVIL, EVIL))
    traces.finish(trace_id, TraceEventStatus.FAILED)
    csv, json_ = ["--format", "csv"], ["--format", "json"]
    for command in (["get"], ["get", *json_], ["status", "--history"], ["status", *csv], ["watch"], ["watch", *json_]):
        out = cli(*command, trace_id).out
        assert "owned" in out
        assert not set(out) & set("\x1b\x07\r\x9b\u202e")
