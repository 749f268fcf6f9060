"""`status-grpc run`: a command has a status, and notices nothing of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import COMMAND, CommandLine, serving
from ports import free_port
from terminal import Terminal

from status_grpc import StatusClient, TraceEventStatus

OK, FAILED = TraceEventStatus.OK, TraceEventStatus.FAILED
PATIENCE = 60


@pytest.fixture
def cli(cli: CommandLine) -> CommandLine:
    """The command line, with all the time it takes to report on a busy machine."""
    return CommandLine({**cli.environment, "STATUS_GRPC_FLUSH_TIMEOUT": str(PATIENCE)})


@pytest.fixture
def job() -> str:
    """What this test's traces are about; it finds them by it."""
    return f"job-{uuid.uuid4()}"


@pytest.fixture
def run(cli, job):
    def run(*arguments: str, **environment: str):
        return cli("run", "--domain", "job", "--domain-id", job, *arguments, **environment)

    return run


@pytest.fixture
def history(traces, job):
    def history():
        (trace,) = traces.client.list_traces(domain_id=job)
        return traces.client.get_trace(trace.trace_id)

    return history


def python(code: str) -> list[str]:
    return ["--", sys.executable, "-c", code]


@contextmanager
def running(cli, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command in the background; its first line of output has been read."""
    command = [*COMMAND, "run", *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=cli.environment | environment
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.kill()


def test_a_command_is_a_trace_of_its_own(run, history):
    ended = run("--user", "kari", "--input", "s3://a", "--output", "s3://b", "--", "sh", "-c", "echo out; echo err >&2")
    assert (ended.code, ended.out, ended.err) == (0, "out\n", "err\n")
    first, last = history().events
    assert (first.trace_status, first.component, first.operation, first.user) == ("STARTED", "sh", "sh", "kari")
    assert (last.trace_status, last.trace_event_status) == ("FINISHED", "OK")
    assert last.status_body["exit_code"] == 0
    assert sorted(last.status_body["output_tail"].split()) == ["err", "out"]
    assert (first.step_id, [d.uri for d in first.inputs]) == (last.step_id, ["s3://a"])
    assert [d.uri for d in last.outputs] == ["s3://b"]


def test_a_command_that_fails_fails_its_trace(run, history):
    ended = run("--output", "s3://b", "--component", "backup", "--", "sh", "-c", "echo disk full >&2; exit 3")
    assert (ended.code, ended.err) == (3, "disk full\n")
    found = history()
    assert (found.trace.done, found.trace.trace_event_status) == (True, FAILED)
    assert found.trace.first_failure.exception_message == "sh ended with exit code 3"
    last = found.events[-1]
    assert (last.component, last.status_body["output_tail"], last.outputs) == ("backup", "disk full\n", ())


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_command_that_a_signal_ends_ends_the_same_way(run, history, name):
    ended = run("--", "sh", "-c", f"kill -{name[3:]} $$")
    assert ended.code == -getattr(signal, name)
    found = history()
    assert found.events[-1].status_body["signal"] == name
    assert found.trace.first_failure.exception_message == f"sh was ended by {name}"


# A signal that comes just before a call that blocks is handled when that call returns: none of these blocks for long.
HANDLER = """
import os, signal, sys, time
def handler(number, frame):
    os.write(1, f"got {signal.Signals(number).name}\\n".encode())  # print may be what is interrupted
    sys.exit(7)
for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), handler)
print("ready", flush=True)
while True:
    time.sleep(0.1)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_signals_reach_the_command_which_decides(cli, job, history, name):
    with running(cli, "--domain", "job", "--domain-id", job, *python(HANDLER), name) as process:
        process.send_signal(getattr(signal, name))
        assert process.stdout.read() == f"got {name}\n".encode()
        assert process.wait(PATIENCE) == 7
    found = history()
    assert (found.trace.done, found.trace.trace_event_status) == (True, FAILED)
    assert found.events[-1].status_body["exit_code"] == 7


COUNTER = """
import os, select, signal
count = 0
def handler(number, frame):
    global count
    count += 1
    os.write(1, b"interrupted\\n")  # print may be what is interrupted
signal.signal(signal.SIGINT, handler)
print("ready", flush=True)
while not select.select([0], [], [], 0.1)[0]:
    pass
input()
print("interrupted", count, "times", flush=True)
"""


def test_ctrl_c_interrupts_the_command_once(cli, job, history):
    command = [*COMMAND, "run", "--domain", "job", "--domain-id", job, *python(COUNTER)]
    terminal = Terminal(command, cli.environment)
    terminal.expect("ready")
    terminal.press(b"\x03")
    terminal.expect("interrupted")
    terminal.press(b"\n")
    terminal.expect("interrupted 1 times")
    assert terminal.end() == 0
    trace = history().trace
    assert f"Trace {trace.trace_id}" in terminal.output
    assert trace.trace_event_status is OK


def test_a_command_may_be_a_step_of_a_trace(cli, traces):
    trace_id = traces.create()
    assert cli("run", "--trace-id", trace_id, "--operation", "validate", "--", "false").code == 1
    trace = traces.client.get_trace(trace_id)
    assert not trace.trace.done
    assert [(event.operation, event.trace_status, event.trace_event_status) for event in trace.events[1:]] == [
        ("validate", "CONTINUE", "OK"),
        ("validate", "CONTINUE", "FAILED"),
    ]
    assert cli("run", "--trace-id", trace_id, "--finish", "--attempt", "2", "--", "true").code == 0
    trace = traces.client.get_trace(trace_id)
    assert (trace.trace.done, trace.trace.trace_event_status, trace.events[-1].attempt) == (True, OK, 2)


def test_what_a_command_runs_is_part_of_its_trace(run, history):
    nested = f"{sys.executable} -P -m status_grpc.cli.main run --operation nested -- true"
    assert run("--", "sh", "-c", nested).code == 0
    found = history()
    assert [event.operation for event in found.events] == ["sh", "nested", "nested", "sh"]
    assert (found.trace.done, found.trace.trace_event_status) == (True, OK)


def test_a_command_that_takes_its_time_is_heard_of(cli, job, history):
    code = "print('ready', flush=True); input()"
    with running(cli, "--domain", "job", "--domain-id", job, "--heartbeat", "0.05", *python(code)) as process:
        give_up_at = time.monotonic() + PATIENCE
        while True:
            try:
                found = history()
            except ValueError:  # there is no trace yet
                pass
            else:
                if found.trace.last_heard_time > found.events[-1].record_time:
                    break
            assert time.monotonic() < give_up_at
        assert len(found.events) == 1
        process.communicate(b"\n", timeout=PATIENCE)
    assert process.returncode == 0


def test_a_service_that_is_away_changes_nothing_but_is_told_later(offline_cli, job, tmp_path):
    address = f"127.0.0.1:{free_port()}"
    environment = {"STATUS_GRPC_SERVER": address, "STATUS_GRPC_SPOOL": str(tmp_path / "spool")}
    arguments = ["run", "--domain", "job", "--domain-id"]
    ended = offline_cli(
        *arguments, job, "--", "sh", "-c", "echo out; exit 4", STATUS_GRPC_FLUSH_TIMEOUT="0.2", **environment
    )
    assert (ended.code, ended.out) == (4, "out\n")
    assert f"2 events for {address} are kept in" in ended.err
    with serving(offline_cli.environment, tmp_path, listen=address), StatusClient(address) as client:
        other = offline_cli(*arguments, f"other-{job}", "--", "true", STATUS_GRPC_FLUSH_TIMEOUT="60", **environment)
        assert (other.code, other.err) == (0, "")
        (trace,) = client.list_traces(domain_id=job)
        assert (trace.done, client.get_trace(trace.trace_id).events[-1].status_body["exit_code"]) == (True, 4)


def test_the_output_passes_through_untouched_and_its_end_is_kept(cli, job, history):
    code = "import os; os.write(1, bytes(range(256)) * 8192 + 'æøå'.encode() * 40)"
    command = [*COMMAND, "run", "--domain", "job", "--domain-id", job, "--tail", "101", *python(code)]
    done = subprocess.run(command, stdout=subprocess.PIPE, env=cli.environment, timeout=PATIENCE)
    assert done.stdout == bytes(range(256)) * 8192 + "æøå".encode() * 40
    body = history().events[-1].status_body
    assert (body["output_bytes"], body["output_tail"]) == (2_097_152 + 240, ("æøå" * 40)[-50:])


def test_output_that_is_no_text_is_kept_as_far_as_it_is(cli, job, history):
    command = [*COMMAND, "run", "--domain", "job", "--domain-id", job, *python("import os; os.write(1, b'a\\xff\\0b')")]
    assert subprocess.run(command, capture_output=True, env=cli.environment, timeout=PATIENCE).stdout == b"a\xff\0b"
    assert history().events[-1].status_body["output_tail"] == "a\N{REPLACEMENT CHARACTER}b"


def test_a_reader_that_has_enough_ends_the_command(cli, job):
    command = [*COMMAND, "run", "--domain", "job", "--domain-id", job, "--", "yes"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=cli.environment) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(PATIENCE) in (1, -signal.SIGPIPE)  # as `yes` takes it


def test_without_a_tail_the_output_is_the_command_s_own(cli, job):
    code = "import sys; print(sys.stdout.isatty(), sys.stderr.isatty())"
    command = [*COMMAND, "run", "--domain", "job", "--domain-id", job, "--tail", "0", *python(code)]
    terminal = Terminal(command, cli.environment)
    terminal.expect("True True")
    assert terminal.end() == 0


def test_what_is_left_in_the_background_does_not_keep_it(run):
    left = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True)"
    os.kill(int(run(*python(left)).out), signal.SIGKILL)


@pytest.mark.parametrize(("command", "code"), [("no-such-command", 127), (str(Path(__file__).parent), 126)])
def test_a_command_that_cannot_be_run_fails_its_trace(run, history, command, code):
    ended = run("--", command)
    assert (ended.code, command in ended.sentence) == (code, True)
    found = history()
    assert (found.trace.trace_event_status, found.events[-1].status_body) == (FAILED, {"exit_code": code})


def test_arguments_are_not_reported(run, history):
    assert run("--", "true", "--password", "hunter2").code == 0
    assert "hunter2" not in str(history())


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--", "touch", "{file}"],
        ["--domain", "job", "--", "touch", "{file}"],
        ["--domain", "job", "--domain-id", "x", "--finish", "--", "touch", "{file}"],
        ["--domain", "job", "--domain-id", "x", "--nope", "--", "touch", "{file}"],
        ["--domain", "job", "--domain-id", "x", "--cert", __file__, "--", "touch", "{file}"],
    ],
)
def test_asked_wrongly_nothing_is_run(cli, arguments, tmp_path):
    file = tmp_path / "made"
    ended = cli("run", *[argument.format(file=file) for argument in arguments])
    assert (ended.code, file.exists()) == (2, False)


def test_options_of_the_command_are_its_own(run):
    assert run("sh", "-c", "echo $0 $1", "--tail", "--help").out == "--tail --help\n"


def test_reporting_that_is_turned_off_reports_nothing(run, traces, job):
    assert (
        run("--heartbeat", "0.01", "--", "sh", "-c", "sleep 0.1; echo out", STATUS_GRPC_REPORTING="off").out == "out\n"
    )
    assert list(traces.client.list_traces(domain_id=job)) == []
