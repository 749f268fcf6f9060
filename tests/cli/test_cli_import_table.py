"""import --dynamodb-export: the traces of the older service's table are here, as they were there."""

import gzip
import json
import random
from itertools import count
from typing import Any

import pytest
from command_line import COMMAND
from terminal import Terminal

_numbers = count(1)


def event(trace_id: str, minute: int, **fields: Any) -> dict[str, Any]:
    return {
        "trace_id": trace_id,
        "trace_event_id": f"{trace_id}-event-{minute}",
        "domain": "dataset",
        "domain_id": "old/1",
        "start_time": f"2020-03-02T12:{minute:02}:23.042400",
        "end_time": f"2020-03-02T12:{minute:02}:24.042400+00:00",
        "trace_status": "CONTINUE",
        "trace_event_status": "OK",
        "component": "s3-writer",
    } | fields


def item(said: dict[str, Any]) -> dict[str, Any]:
    """Return an event as DynamoDB exports it."""
    return {"Item": {name: typed(value) for name, value in said.items()}}


def typed(value: Any) -> dict[str, Any]:
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case int() | float():
            return {"N": str(value)}
        case str():
            return {"S": value}
        case list():
            return {"L": [typed(part) for part in value]}
        case _:
            return {"M": {name: typed(part) for name, part in value.items()}}


@pytest.fixture
def trace_id() -> str:
    return f"old-{next(_numbers)}-0c3f53e9-1a0e-4a0a-8a9e-6a1b6f2c3d4e"


def trace(trace_id: str) -> list[dict[str, Any]]:
    """A trace as the table has it."""
    return [
        event(
            trace_id, 1, trace_status="STARTED", user="me", s3_path=f"raw/{trace_id}.json", component="data-uploader"
        ),
        event(trace_id, 2, status_body={"n": 3, "half": 0.5, "large": 9007199254740993}, duration=12.5, meta={}),
        event(trace_id, 3, domain="N/A", domain_id=None, end_time="N/A", exception="ValueError: no price"),
        event(trace_id, 3, trace_event_id="same-start", errors=[{"message": {"nb": "feil", "en": "wrong"}, "row": 3}]),
        event(trace_id, 4, trace_status="FINISHED", trace_event_status="FAILED", component="state-machine"),
    ]


def test_a_table_is_recorded_with_its_ids_and_times_in_order_once(cli, traces, tmp_path, trace_id):
    others = [trace(f"{trace_id}-{number}") for number in range(30)]
    events = [said for one in [trace(trace_id), *others] for said in one]
    random.Random(1).shuffle(events)
    half = len(events) // 2
    packed, plain = tmp_path / "a.json.gz", tmp_path / "b.json"
    packed.write_bytes(gzip.compress("\n".join(json.dumps(item(said)) for said in events[:half]).encode()))
    plain.write_text("\n\n".join(json.dumps(said) for said in events[half:]))
    for form in ("text", "json"):
        run = cli("import", "--dynamodb-export", str(packed), str(plain), "--format", form)
        assert (run.code, run.err) == (0, f"{len(events)} events are recorded, 0 are not.\n")
        assert run.out == "" if form == "text" else run.json == {"recorded": len(events), "failed": []}
    history = traces.client.get_trace(trace_id)
    first, second, third, fourth, last = history.events
    assert {third.trace_event_id, fourth.trace_event_id} == {f"{trace_id}-event-3", "same-start"}
    third, fourth = sorted((third, fourth), key=lambda event: event.trace_event_id == "same-start")
    assert [first.trace_event_id, second.trace_event_id, last.trace_event_id] == [
        f"{trace_id}-event-{minute}" for minute in (1, 2, 4)
    ]
    assert first.start_time.isoformat() == "2020-03-02T12:01:23.042400+00:00"
    assert first.end_time is not None
    assert first.end_time.isoformat() == "2020-03-02T12:01:24.042400+00:00"
    assert (first.user, first.trace_status) == ("me", "STARTED")
    assert second.status_body == {"n": 3, "half": 0.5, "large": "9007199254740993"}
    assert (second.meta, second.duration.total_seconds() if second.duration else None) == ({}, 0.0125)
    assert (third.domain, third.domain_id, third.end_time) == ("N/A", "old/1", None)
    assert third.exception is not None
    assert (third.exception.type, third.exception.message) == ("ValueError", "no price")
    assert (fourth.errors[0].message, fourth.errors[0].details) == ({"nb": "feil", "en": "wrong"}, {"row": 3})
    assert (history.trace.done, history.trace.trace_event_status) == (True, "FAILED")
    assert traces.client.get_by_path(f"raw/{trace_id}.json").trace.trace_id == trace_id


def test_what_is_not_recorded_is_told_with_its_place_and_can_be_imported_once_it_is_mended(
    cli, traces, tmp_path, trace_id
):
    bad_end = event(trace_id, 2, trace_status="FINISHED", trace_event_status=None)
    lines = [
        "{",
        json.dumps(item(trace(trace_id)[0])),
        json.dumps(item(bad_end)),
        json.dumps({"Item": {"trace_id": {"X": "y"}}}),
        json.dumps(event("", 5)),
        "[]",
    ]
    file = tmp_path / "export.json"
    file.write_text("\n".join(lines))
    run = cli("import", "--dynamodb-export", str(file))
    assert (run.code, run.err) == (2, "1 events are recorded, 5 are not.\n")
    told = {failure["line"]: failure for failure in run.json_lines}
    assert {failure["file"] for failure in told.values()} == {str(file)}
    assert told[1]["error"].startswith("is not JSON")
    assert told[4]["error"].startswith("Item has a value that is none of DynamoDB")
    assert told[5]["error"] == "trace_id is required"
    assert told[6]["error"] == "event must be a JSON object"
    assert "FINISHED event must say whether" in told[3]["error"]
    mended = told[3] | {"event": told[3]["event"] | {"trace_event_status": "OK"}}
    again = cli("import", "--dynamodb-export", "-", stdin=json.dumps(mended))
    assert (again.code, again.err) == (0, "1 events are recorded, 0 are not.\n")
    assert traces.client.get_trace(trace_id).trace.done


def test_an_import_that_was_interrupted_goes_on(cli, traces, tmp_path, trace_id):
    events = trace(trace_id)
    file = tmp_path / "export.json"
    file.write_text("\n".join(json.dumps(item(said)) for said in events[1:3]))
    assert cli("import", "--dynamodb-export", str(file)).code == 0
    file.write_text("\n".join(json.dumps(item(said)) for said in events))
    assert cli("import", "--dynamodb-export", str(file)).code == 0
    assert len(traces.client.get_trace(trace_id).events) == 5
    other = trace(trace_id)[1] | {"component": "another"}
    run = cli("import", "--dynamodb-export", "-", stdin=json.dumps(other))
    assert run.code == 2
    assert "with other content" in run.json_lines[0]["error"]


def test_the_event_that_says_started_begins_its_trace_whatever_its_time(cli, traces, trace_id):
    early = event(trace_id, 1, domain="N/A", domain_id=None)
    text = "\n".join(json.dumps(said) for said in (early, event(trace_id, 2, trace_status="STARTED")))
    assert cli("import", "--dynamodb-export", "-", stdin=text).code == 0
    history = traces.client.get_trace(trace_id)
    assert [said.trace_status for said in history.events] == ["STARTED", "CONTINUE"]
    assert (history.trace.domain, history.trace.domain_id) == ("dataset", "old/1")


def test_a_trace_without_its_first_event_is_recorded_all_the_same(cli, traces, trace_id):
    lines = [event(trace_id, minute, domain_id=None, trace_event_id=None) for minute in (1, 2)]
    text = "\n".join(map(json.dumps, lines))
    for _ in range(2):
        assert cli("import", "--dynamodb-export", "-", stdin=text).code == 0
    history = traces.client.get_trace(trace_id)
    assert len(history.events) == 2
    assert history.trace.domain_id == trace_id[: -len("-0c3f53e9-1a0e-4a0a-8a9e-6a1b6f2c3d4e")]


def test_a_server_that_is_away_is_told(offline_cli, trace_id):
    text = "\n".join(json.dumps(said) for said in trace(trace_id))
    run = offline_cli(
        "import", "--dynamodb-export", "-", "--server", "127.0.0.1:1", stdin=text, STATUS_GRPC_TIMEOUT="0.5"
    )
    assert run.code == 5
    assert len(run.json_lines) == 5
    assert "Importing the same again goes on where this ended." in run.err


def test_a_damaged_file_is_told(cli, tmp_path, trace_id):
    file = tmp_path / "export.json.gz"
    whole = gzip.compress("\n".join(json.dumps(said) for said in trace(trace_id)).encode())
    file.write_bytes(whole[: len(whole) // 2])
    run = cli("import", "--dynamodb-export", str(file))
    assert run.code == 2
    assert run.json_lines[-1]["error"].startswith("the file cannot be read further: ")


def test_progress_is_shown_on_a_terminal(clean_environment, server, tmp_path, trace_id):
    file = tmp_path / "export.json"
    file.write_text("\n".join(json.dumps(said) for said in trace(trace_id)))
    command = [*COMMAND, "import", "--dynamodb-export", str(file), "--server", server]
    terminal = Terminal(command, clean_environment)
    terminal.expect("5 events are recorded, 0 are not.")
    shown = "\n".join(terminal.screen)
    assert "Reading" in shown
    assert "Recording" in shown
    assert "100%" in shown
    assert terminal.end() == 0


def test_incremental_export_is_read_and_deletions_counted(cli, traces, trace_id):
    events = trace(trace_id)
    keys = {"Keys": {"trace_id": {"S": trace_id}}, "Metadata": {"WriteTimestampMicros": {"N": "1680109764000000"}}}
    lines = [keys | {"NewImage": item(said)["Item"], "OldImage": item(events[0])["Item"]} for said in events]
    lines += [keys | {"OldImage": item(events[1])["Item"]}, keys]
    text = "\n".join(map(json.dumps, lines))
    run = cli("import", "--dynamodb-export", "-", stdin=text)
    assert (run.code, run.out) == (0, "")
    assert run.err.splitlines() == [
        "5 events are recorded, 0 are not.",
        "2 lines say that an item was deleted. Deletions are not imported.",
    ]
    as_json = cli("import", "--dynamodb-export", "-", "--format", "json", stdin=text)
    assert as_json.json == {"recorded": 5, "failed": [], "deleted": 2}
    history = traces.client.get_trace(trace_id)
    assert (len(history.events), history.trace.done) == (5, True)


def test_rounded_numbers_are_counted_and_huge_ones_texts(cli, traces, trace_id):
    numbers = {
        "exact": {"N": "0.1"},
        "pi": {"N": "3.14159265358979323846264338327950288419"},
        "set": {"NS": ["1.5", "0.12345678901234567890"]},
        "large": {"N": str(2**1024)},
        "larger": {"N": "1E+500"},
    }
    begun = item(event(trace_id, 1, trace_status="STARTED"))
    begun["Item"]["status_body"] = {"M": numbers}
    plain = json.dumps(event(trace_id, 2)).replace(
        '"OK"', f'"OK", "meta": {{"n": 0.10000000000000000001, "m": 1{"0" * 5000}}}'
    )
    run = cli("import", "--dynamodb-export", "-", stdin=f"{json.dumps(begun)}\n{plain}")
    assert run.code == 0
    assert run.err.splitlines() == [
        "2 events are recorded, 0 are not.",
        "3 numbers were rounded, because a double holds about 16 digits.",
    ]
    first, second = traces.client.get_trace(trace_id).events
    assert first.status_body == {
        "exact": 0.1,
        "pi": 3.141592653589793,
        "set": [1.5, 0.12345678901234568],
        "large": str(2**1024),
        "larger": "1E+500",
    }
    assert second.meta == {"n": 0.1, "m": f"1{'0' * 5000}"}


def test_unfit_field_of_event_is_left_out_and_named(cli, traces, trace_id):
    odd = event(
        trace_id,
        4,
        trace_status="FINISHED",
        trace_event_status="FAILED",
        trace_event_id=["x"],
        start_time="yesterday",
        duration="long",
        errors="wrong",
        exception=["no text"],
        s3_path="a" * 3000,
        component="",
        user="u\0",
        status_body={"half": "\udce9", "nul": "a\0b", "deep": [[[[]]]]},
    )
    begun = json.dumps(event(trace_id, 1, trace_status="STARTED"))
    run = cli("import", "--dynamodb-export", "-", stdin=f"{begun}\n{json.dumps(odd)}")
    assert (run.code, run.out) == (0, "")
    assert run.err.splitlines() == [
        "2 events are recorded, 0 are not.",
        "1 events were recorded without a field, or with a changed one. Their meta.left_out names it.",
    ]
    history = traces.client.get_trace(trace_id)
    last = history.events[-1]
    assert (history.trace.done, history.trace.trace_event_status, last.component) == (True, "FAILED", "unknown")
    assert (last.user, last.status_body) == ("u", {"half": "\\xe9", "nul": "ab", "deep": [[[[]]]]})
    assert last.start_time == last.end_time
    assert last.meta is not None
    assert set(last.meta["left_out"]) == {"trace_event_id", "start_time", "duration", "errors", "exception", "s3_path"}
    again = cli("import", "--dynamodb-export", "-", stdin=f"{begun}\n{json.dumps(odd)}")
    assert again.code == 0
    assert len(traces.client.get_trace(trace_id).events) == 2


def test_too_large_end_is_recorded_without_its_body(cli, traces, trace_id):
    large = event(trace_id, 4, trace_status="FINISHED", status_body={"n": [1] * 110_000}, meta={"a": "b"})
    run = cli("import", "--dynamodb-export", "-", stdin=json.dumps(large))
    assert run.code == 0
    history = traces.client.get_trace(trace_id)
    assert history.trace.done
    assert history.events[0].meta == {"a": "b", "left_out": {"status_body": "refused"}}
