"""Tables and progress on terminals of every kind."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import pytest
from command_line import COMMAND, CommandLine
from terminal import Terminal

from status_grpc import ErrorDetail, TraceEventStatus

XTERM = {"TERM": "xterm-256color"}


def on_terminal(cli: CommandLine, *arguments: str, columns: int = 120, **environment: str) -> Terminal:
    terminal = Terminal([*COMMAND, *arguments], cli.environment | XTERM | environment, columns=columns)
    terminal.end()
    return terminal


@pytest.fixture(scope="module")
def failed(traces) -> str:
    trace_id = traces.create(user=f"user-{uuid4()}")
    traces.finish(trace_id, TraceEventStatus.FAILED, errors=[ErrorDetail({"en": "Row 3 has no price"})])
    return trace_id


@pytest.mark.parametrize(("command", "word"), [("status", "FAILED"), ("get", "failed")])
def test_colors_are_for_terminals_that_want_them(cli, failed, command, word):
    red = f"\x1b[31m{word}"
    assert red in on_terminal(cli, command, failed).output
    assert "\x1b" not in on_terminal(cli, command, failed, NO_COLOR="1").output
    assert "\x1b" not in on_terminal(cli, command, failed, TERM="dumb").output
    assert "\x1b" not in cli(command, failed).out


def test_a_table_that_is_too_wide_becomes_a_list(cli, failed):
    wide = on_terminal(cli, "status", failed, columns=120).screen
    assert wide[0].split()[:3] == ["Done", "Trace", "ID"]
    narrow = on_terminal(cli, "status", failed, columns=80).screen
    assert [line.split("  ")[0] for line in narrow] == [
        "Done",
        "Trace ID",
        "Trace status",
        "Trace event status",
        "Error(s)",
    ]
    assert narrow[-1].endswith("Row 3 has no price")


def test_the_progress_of_many_events_is_shown_and_is_no_data(cli, traces, tmp_path: Path):
    trace_id = traces.create()
    file = tmp_path / "events.ndjson"
    file.write_text("\n".join(json.dumps({"trace_id": trace_id, "component": f"c{n}"}) for n in range(1000)))
    terminal = on_terminal(cli, "update", "--bulk", str(file))
    assert terminal.exit_code == 0
    assert "Events" in terminal.output
    assert "100%" in terminal.output
    assert "1000 events are recorded, 0 are not." in "\n".join(terminal.screen)


def test_whoever_creates_a_trace_by_hand_is_told_how_to_follow_it(cli):
    event = ["--domain", "d", "--domain-id", "x", "--component", "c"]
    trace_id, hint = on_terminal(cli, "create", *event).screen
    assert hint == f"Follow it with: status-grpc watch {trace_id}"
