"""The outcome of a trace as people see it: running until its end, and no reason for what went well."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from command_line import COMMAND, CommandLine
from terminal import Terminal

from status_grpc import ErrorDetail, ExceptionDetail, Outcome, TraceEventStatus

GREEN = "\x1b[32m"
OK, FAILED = TraceEventStatus.OK, TraceEventStatus.FAILED
ERROR = ErrorDetail({"en": "Row 3 has no price"})


def on_terminal(cli: CommandLine, *arguments: str) -> Terminal:
    terminal = Terminal([*COMMAND, *arguments], cli.environment | {"TERM": "xterm-256color"}, columns=200)
    terminal.end()
    return terminal


@pytest.fixture(scope="module")
def user() -> str:
    return f"user-{uuid4()}"


@pytest.fixture(scope="module")
def running(traces, user) -> str:
    """A trace with a step that has begun."""
    trace_id = traces.create(operation="upload", user=user)
    traces.update(trace_id, component="csv-validator", operation="validate", step_id="s-1")
    return trace_id


@pytest.fixture(scope="module")
def recovered(traces) -> str:
    """A trace that finished OK after a step had failed and errors were reported."""
    trace_id = traces.create()
    traces.update(trace_id, component="csv-validator", errors=[ERROR])
    failed = {"trace_event_status": FAILED, "exception": ExceptionDetail("OSError", "disk full")}
    traces.update(trace_id, component="s3-writer", duration=timedelta(seconds=1), **failed)
    traces.finish(trace_id, OK)
    return trace_id


def test_trace_that_runs_shows_no_success(cli, traces, running, user):
    for command in (["get", running], ["list", "--user", user], ["status", running], ["status", running, "--history"]):
        terminal = on_terminal(cli, *command)
        assert GREEN not in terminal.output, command
        if command[0] != "status":
            assert "running" in terminal.output
            assert " OK" not in "\n".join(terminal.screen)
    assert traces.client.get_trace(running).trace.outcome is Outcome.RUNNING


def test_trace_that_finished_ok_is_green(cli, recovered):
    assert f"{GREEN}ok" in on_terminal(cli, "get", recovered).output
    assert f"{GREEN}OK" in on_terminal(cli, "status", recovered).output


def test_json_has_the_outcome_beside_the_status(cli, traces, running, recovered, user):
    shown = cli("get", running, "--format", "json").json
    assert (shown["trace"]["outcome"], shown["trace"]["trace_event_status"]) == ("running", "OK")
    assert [event["outcome"] for event in shown["events"]] == ["running", "running"]
    (listed,) = cli("list", "--user", user, "--format", "json").json
    assert listed["outcome"] == "running"
    watched = cli("watch", recovered, "--format", "jsonl").json_lines
    assert [line["event"]["outcome"] for line in watched[:-1]] == ["running", "ok", "failed", "ok"]
    assert watched[-1]["trace"]["outcome"] == "ok"


def test_status_keeps_the_values_of_the_old_command(cli, running):
    shown = cli("status", running, "--format", "json").json
    assert shown == {
        "done": False,
        "trace_id": running,
        "trace_status": "CONTINUE",
        "trace_event_status": "OK",
        "errors": [],
    }


def test_errors_of_a_good_run_were_reported_on_the_way(cli, traces, recovered):
    trace = cli("get", recovered, "--format", "json").json["trace"]
    assert "first_failure" not in trace
    assert (trace["error_count"], len(trace["errors"])) == (1, 1)
    for command in (["get", recovered], ["watch", recovered]):
        out = cli(*command).out
        assert "Reported on the way" in out
        assert "csv-validator said: Row 3 has no price" in out
        assert "Reason" not in out
        assert "s3-writer raised" not in out


def test_step_without_an_end_is_open_when_its_trace_failed(cli, traces):
    trace_id = traces.create(operation="upload")
    traces.update(trace_id, component="s3-writer", operation="copy", step_id="s-1")
    traces.finish(trace_id, FAILED)
    screen = on_terminal(cli, "watch", trace_id).screen
    assert [line[0] for line in screen if "upload" in line or "copy" in line] == ["•", "•"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_end_after_the_end_is_told(cli, traces, form):
    trace_id = traces.create()
    ending = ("update", trace_id, "--component", "c", "--status", "finished", "--format", form, "--outcome")
    assert cli(*ending, "ok").err == ""
    late = cli(*ending, "failed")
    assert (late.code, late.err.count("\n")) == (0, 1)
    assert f"Trace {trace_id} had ended before: event 3 is recorded and does not change that it finished OK" in late.err
    assert cli("update", trace_id, "--component", "c").err == "", "it reports no end"
    assert cli(*ending, "failed", "--new-run").err == ""


def test_repeated_end_is_not_late(cli, traces):
    trace_id = traces.create()
    ending = ("--component", "c", "--status", "finished", "--outcome", "ok", "--event-id", "e", "--start-time", "today")
    assert cli("update", trace_id, *ending).err == cli("update", trace_id, *ending).err == ""


def test_run_that_finishes_an_ended_trace_tells_it(cli, traces):
    trace_id = traces.create()
    run = ("run", "--trace-id", trace_id, "--finish", "--", "true")
    patient = {"STATUS_GRPC_FLUSH_TIMEOUT": "60"}
    assert cli(*run, **patient).err == ""
    late = cli(*run, **patient)
    assert (late.code, late.err.count("\n")) == (0, 1)
    assert f"Trace {trace_id} had ended before" in late.err


def test_exception_implies_failed(cli, traces):
    new = ("--domain", "d", "--domain-id", "x", "--component", "c", "--format", "json")
    raised = ("--exception", "ValueError", "bad header")
    assert cli("create", *new, *raised).json["event"]["trace_event_status"] == "FAILED"
    update = ("update", traces.create(), "--component", "c", "--format", "json", *raised)
    assert cli(*update).json["event"]["trace_event_status"] == "FAILED"
    assert cli(*update, "--outcome", "ok").json["event"]["trace_event_status"] == "OK"
    said = cli(*update, "--file", "-", stdin='{"trace_event_status": "OK"}')
    assert said.json["event"]["trace_event_status"] == "OK"
    assert cli(*update, "--status", "finished").json["trace"]["outcome"] == "failed"
