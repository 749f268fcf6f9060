"""watch: on a pseudo-terminal, through a pipe, over a restart of the server."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import IO
from uuid import uuid4

import pytest
from command_line import COMMAND, CommandLine, Traces, serving
from terminal import Terminal

from status_grpc import ErrorDetail, StatusClient, TraceEventStatus

BEGAN = datetime(2026, 1, 31, 12, tzinfo=UTC)
ENDED = BEGAN + timedelta(seconds=1.5)
ERROR = ErrorDetail({"nb": "Rad 3 har ingen pris", "en": "Row 3 has no price"})


def on_terminal(
    cli: CommandLine, *arguments: str, columns: int = 100, stderr: IO[str] | None = None, **environment: str
) -> Terminal:
    environment = cli.environment | {"TERM": "xterm-256color"} | environment
    return Terminal([*COMMAND, *arguments], environment, columns=columns, stderr=stderr)


@contextmanager
def watching(cli: CommandLine, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*COMMAND, "watch", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=cli.environment,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_steps_of_a_trace_are_shown_in_place(cli, traces):
    trace_id = traces.create(operation="upload", s3_path="raw/trips.csv")
    step = {"component": "csv-validator", "operation": "validate", "step_id": "s-1", "start_time": BEGAN}
    terminal = on_terminal(cli, "watch", trace_id, "--lang", "nb")
    terminal.expect("upload")
    traces.update(trace_id, **step)
    terminal.expect("validate")
    traces.update(trace_id, **step, end_time=ENDED, errors=[ERROR])
    terminal.expect("Rad 3")
    traces.finish(trace_id, TraceEventStatus.FAILED)
    assert terminal.end() == 1
    shown = terminal.screen
    assert shown.pop(-2).startswith("✗  failed after ")
    assert shown == [
        trace_id,
        "dataset d/1",
        "raw/trips.csv",
        "•  data-uploader  upload",
        "!  csv-validator  validate       1.5 s",
        "     Rad 3 har ingen pris",
        "✗  state-machine",
        "   csv-validator said: Rad 3 har ingen pris",
    ]
    assert "last heard 0 s ago" in terminal.output


def test_the_picture_in_the_documentation_is_what_is_shown(clean_environment, tmp_path):
    from make_screenshot import PICTURE, capture, svg, words

    shown = words(svg(capture(clean_environment, tmp_path)))
    assert "csv-to-parquet" in shown
    assert shown == words(PICTURE.read_text(encoding="utf-8")), "run: make screenshot"


def test_a_narrow_terminal_without_colors_or_unicode(cli, traces):
    trace_id = traces.create(operation="upload \x1b[31m åtte 🚲")
    traces.update(trace_id, component="csv-validator", errors=[ErrorDetail({"en": "word " * 20})])
    traces.finish(trace_id, TraceEventStatus.OK)
    terminal = on_terminal(cli, "watch", trace_id, columns=40, NO_COLOR="1", PYTHONIOENCODING="latin-1")
    assert terminal.end() == 0
    assert [line for line in terminal.screen if len(line) > 40] == []
    assert "+  data-uploader  upload \\x1b[31m åtte" in "\n".join(terminal.screen)
    assert "\x1b[3" not in terminal.output, "neither a color of ours nor the field's"


def test_ctrl_c_tells_how_to_go_on(cli, traces):
    trace_id = traces.create(trace_event_id=f"e-{uuid4()}")
    terminal = on_terminal(cli, "watch", trace_id)
    terminal.expect("last heard")
    terminal.press(b"\x03")
    assert terminal.end() == 130
    shown = "".join(terminal.screen)
    assert f"Interrupted. Go on with: status-grpc watch {trace_id} --after 1 --after-event-id e-" in shown
    traces.finish(trace_id, TraceEventStatus.OK)
    command = shown.partition("status-grpc ")[2].split()
    went_on = cli(*command, "--format", "jsonl").json_lines
    assert [line["event"]["sequence"] for line in went_on[:-1]] == [2]


def test_a_view_that_is_ended_gives_the_cursor_back(cli, traces):
    terminal = on_terminal(cli, "watch", traces.create())
    terminal.expect("last heard")
    terminal.terminate()
    assert terminal.end() == 128 + signal.SIGTERM
    assert terminal.output.rindex("\x1b[?25h") > terminal.output.rindex("\x1b[?25l")


def test_through_a_pipe_each_event_is_a_line_as_it_comes(cli, traces):
    trace_id = traces.create(operation="upload")
    with watching(cli, trace_id) as process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith("  1  STARTED   running  data-uploader upload\n")
        traces.update(trace_id, component="csv-validator", operation="validate", errors=[ERROR])
        assert process.stdout.readline().endswith("CONTINUE  ok       csv-validator validate: Row 3 has no price\n")
        traces.finish(trace_id, TraceEventStatus.FAILED)
        assert process.stdout.readline().endswith("FINISHED  failed   state-machine\n")
        assert process.stdout.readline().startswith(f"{trace_id} failed after ")
        assert process.stdout.readline() == "  csv-validator said: Row 3 has no price\n"
        assert process.wait() == 1


def test_json_forms(cli, traces):
    trace_id = traces.create()
    traces.finish(trace_id, TraceEventStatus.OK)
    lines = cli("watch", trace_id, "--format", "jsonl").json_lines
    assert [line["event"]["sequence"] for line in lines[:2]] == [1, 2]
    assert lines[2]["trace"]["done"] is True
    whole = cli("watch", trace_id, "--format", "json").json
    assert whole == {"trace": lines[2]["trace"], "events": [line["event"] for line in lines[:2]]}


def test_only_a_new_trace_of_a_path(cli, traces):
    path = f"raw/{uuid4()}"
    traces.finish(traces.create(s3_path=path), TraceEventStatus.FAILED)
    with watching(cli, "--by-path", path, "--new-only", "--format", "jsonl") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "Waiting for the trace to be created ...\n"
        trace_id = traces.create(s3_path=path)
        traces.finish(trace_id, TraceEventStatus.OK)
        assert process.stdout is not None
        assert process.stdout.read().count(trace_id) == 3
        assert process.wait() == 0


def test_the_time_is_up(cli, traces):
    run = cli("watch", traces.create(), "--timeout", "0.3")
    assert run.code == 4
    assert "It was not done within 0.3 seconds. Go on with: status-grpc watch" in run.err
    path = f"raw/{uuid4()}"
    traces.finish(traces.create(s3_path=path), TraceEventStatus.FAILED)
    waited = cli("watch", "--by-path", path, "--new-only", "--timeout", "0.2")
    assert waited.code == 4
    traces.finish(traces.create(s3_path=path), TraceEventStatus.OK)
    command = waited.err.partition("Go on with: status-grpc ")[2].split()
    assert cli(*command).code == 0, "what was created meanwhile is found"


@pytest.mark.parametrize("live", [True, False])
def test_a_restart_of_the_server_is_visible_and_loses_nothing(clean_environment, tmp_path, live):
    flags = ("--drain-seconds", "0.1")
    with serving(clean_environment, tmp_path, *flags) as address, StatusClient(address) as client:
        trace_id = Traces(client).create(operation="upload")
        cli = CommandLine(clean_environment | {"STATUS_GRPC_SERVER": address})
        terminal = on_terminal(cli, "watch", trace_id, *([] if live else ["--plain"]))
        terminal.expect("upload")
    terminal.expect("The connection is lost, reconnecting ...")
    with serving(clean_environment, tmp_path, *flags, listen=address) as again, StatusClient(again) as client:
        terminal.expect("Connected again, resumed after event 1.")
        Traces(client).finish(trace_id, TraceEventStatus.OK)
        assert terminal.end() == 0
    assert sum("upload" in line for line in terminal.screen) == 1


@pytest.mark.parametrize("flags", [[], ["--plain"]])
def test_a_closed_terminal(cli, traces, tmp_path, flags):
    with (tmp_path / "stderr").open("w+") as stderr:
        terminal = on_terminal(cli, "watch", traces.create(operation="upload"), *flags, stderr=stderr)
        terminal.expect("upload")
        assert terminal.hang_up() == 129
        stderr.seek(0)
        assert stderr.read() == "Error: The terminal is gone.\n"


def test_a_command_that_is_to_outlive_its_terminal(cli, traces):
    trace_id = traces.create(operation="upload")
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", ignoring, *COMMAND, "watch", trace_id],
        stdout=subprocess.PIPE,
        env=cli.environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert "upload" in process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        traces.finish(trace_id, TraceEventStatus.OK)
        assert process.wait() == 0
