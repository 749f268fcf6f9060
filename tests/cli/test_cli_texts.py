"""Texts from events on their way to a terminal: every script, nothing that steers, columns where they belong."""

from __future__ import annotations

import subprocess
import sys
from uuid import uuid4

import click
import pytest
from command_line import COMMAND
from hypothesis import given
from hypothesis import strategies as st
from terminal import Terminal
from wcwidth import wcswidth

from status_grpc import ErrorDetail, ExceptionDetail, TraceEventStatus
from status_grpc.cli.texts import pad, printable, width

SCRIPTS = {
    "Arabic": "تحميل الملف",
    "Hebrew and digits": "קובץ 12 נכשל",
    "Japanese": "価格がありません",
    "Devanagari": "क्षिप्र",
    "combining": "A\u030asa e\u0301 Z\u0351\u036b",
    "emoji": "🚲 ok",
    "joined emoji": "👩\u200d👩\u200d👧 ok",
    "flag": "🇳🇴 ok",
    "emoji by selector": "❤\ufe0f ok",
}
EVIL = "\x1b]0;owned\x07\x1b[2J\x1b[31m\r\x9b31m\x7f\u202egpj.exe\u2066\u2028next"
#: What steers a terminal or reorders a line, whoever writes it.
STEERS = {
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *"\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
}


@pytest.fixture(scope="module")
def script_trace(traces) -> str:
    """A trace with a step in each script."""
    trace_id = traces.create(operation="upload", user=SCRIPTS["Arabic"], s3_path=f"raw/{uuid4()}")
    for number, text in enumerate(SCRIPTS.values()):
        traces.update(trace_id, component=text, operation=f"step-{number}", errors=[ErrorDetail({"en": text})])
    traces.finish(trace_id, TraceEventStatus.FAILED)
    return trace_id


def test_every_script_is_printed_as_it_is_in_columns(cli, script_trace):
    table = cli("get", script_trace).out.split("\n\n")[1].splitlines()
    start = table[0].index("Operation")
    for number, text in enumerate(SCRIPTS.values()):
        (row,) = (line for line in table if f" step-{number} " in line)
        assert wcswidth(row.partition(f"step-{number}")[0]) == start, "the column begins where its title does"
        assert row.endswith(text)


def test_every_script_is_shown_live(cli, script_trace):
    terminal = Terminal([*COMMAND, "watch", script_trace], cli.environment | {"TERM": "xterm-256color"})
    assert terminal.end() == 1
    for name in ("Arabic", "Hebrew and digits", "Japanese"):
        assert any(SCRIPTS[name] in line for line in terminal.screen), name
    for text in SCRIPTS.values():
        assert text in terminal.output
    rows = [line for line in terminal.output.splitlines() if "step-" in line]
    starts = {wcswidth(_plain(row).partition("step-")[0]) for row in rows}
    assert len(starts) == 1


def _plain(line: str) -> str:
    return click.unstyle(line).replace("\r", "")


def test_nothing_of_a_field_steers_the_terminal(cli, traces):
    trace_id = traces.create(operation=EVIL, user=EVIL)
    traces.update(
        trace_id,
        component=EVIL,
        step_id="s-1",
        errors=[ErrorDetail({"en": EVIL})],
        exception=ExceptionDetail(EVIL, EVIL, EVIL),
    )
    traces.finish(trace_id, TraceEventStatus.FAILED)
    for flags in ([], ["--plain"]):
        terminal = Terminal([*COMMAND, "watch", trace_id, *flags], cli.environment | {"TERM": "xterm-256color"})
        assert terminal.end() == 1
        shown = "\n".join(terminal.screen)
        assert "\\x1b]0;owned\\x07\\x1b[2J\\x1b[31m" in shown
        assert not {"\x07", "\x9b", "\x00", "\x7f", "\u202e", "\u2066", "\u2028"} & set(terminal.output)
        assert "\x1b]" not in terminal.output
        assert "\x1b[2J" not in terminal.output
    for form in (["get"], ["get", "--format", "json"], ["status", "--history"], ["status", "--format", "csv"]):
        out = cli(*form, trace_id).out
        assert "owned" in out
        assert not (STEERS - {"\n"}) & set(out)


def test_an_error_of_the_server_steers_nothing_either(cli):
    run = cli("get", "no\u202esuch trace")
    assert run.code in (2, 3)
    assert not (STEERS - {"\n"}) & set(run.err)


@given(st.text())
def test_what_is_printable_steers_nothing_and_is_one_line(text: str):
    assert not STEERS & set(printable(text))
    printable(text).encode()


@given(st.text(st.sampled_from("a æ€ש한🚲\u0301\u200d🇳\ufe0f")), st.integers(0, 60))
def test_padding_fills_the_columns(text: str, columns: int):
    text += "x"  # what would join with the spaces belongs to no text that ends
    assert width(pad(text, columns)) == max(columns, width(text))


def test_only_other_alphabets_cost_the_time_to_measure_them():
    code = "import sys; from status_grpc.cli.texts import width; width('abc'); print('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
