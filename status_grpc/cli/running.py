"""`status-grpc run`: runs any command as a step of a trace, or as a trace of its own."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import click

from status_grpc.cli.child import Child, Tail, end_like, passing_on_signals
from status_grpc.cli.connecting import with_connection
from status_grpc.cli.exits import USAGE, CommandFailed
from status_grpc.cli.output import aside
from status_grpc.cli.texts import printable
from status_grpc.cli.wording import late_end
from status_grpc.domain.events import ExceptionDetail, TraceEventStatus, TraceStatus

if TYPE_CHECKING:
    from status_grpc.client.steps.reported import ReportedScope

#: What a shell says of a command that is not there, and of one that cannot be run.
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
#: The most of the output that an event holds, in bytes: in JSON it may take six times as much.
_LONGEST_TAIL = 128 * 1024
_TRACE_ID = "STATUS_GRPC_TRACE_ID"
#: How long `run --finish` waits for the answer whether it has ended the trace, in seconds.
_LOOK_TIMEOUT = 1.0
#: Among how many of the last events of the trace it looks for its own.
_LAST_EVENTS = 100
#: How long the end waits for a heartbeat that is under way, in seconds.
_LAST_BEAT = 0.2


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--trace-id", envvar=_TRACE_ID, show_envvar=True, help="The trace of which this is a step.")
@click.option("--domain", help="What kind of thing a new trace is about, such as job.")
@click.option("--domain-id", help="Which one, such as nightly-backup.")
@click.option("--component", help="The component that reports. [env: STATUS_GRPC_COMPONENT; default: the program]")
@click.option("--operation", help="What the step is called. [default: the program]")
@click.option("--user", help="On whose behalf.")
@click.option("--path", "s3_path", help="The object this is about, such as an S3 key. An exact text.")
@click.option("--input", "inputs", multiple=True, metavar="URI", help="What is read. May be repeated.")
@click.option("--output", "outputs", multiple=True, metavar="URI", help="What is written, if all goes well.")
@click.option("--attempt", type=click.IntRange(min=1), help="Which attempt of the step. [env: STATUS_GRPC_ATTEMPT]")
@click.option("--finish", is_flag=True, help="The end of the command is the end of the trace of --trace-id.")
@click.option(
    "--tail",
    type=click.IntRange(min=0, max=_LONGEST_TAIL),
    default=8192,
    show_default=True,
    metavar="BYTES",
    help="How much of the end of its output is reported; 0 leaves the output alone.",
)
@click.option(
    "--heartbeat",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How often to say that it is still running; 0: never.",
)
@with_connection
def run(
    connection: dict[str, Any],
    /,
    command: tuple[str, ...],
    trace_id: str | None,
    finish: bool,
    tail: int,
    heartbeat: float,
    **fields: Any,
) -> int:
    """Run a command and report how it goes: that it has begun, that it is alive, and how it has ended.

    Without a trace it is a trace of its own, about --domain and --domain-id. With one it is a step of that, and
    somebody else tells the end, unless there is --finish. What it runs finds the trace in STATUS_GRPC_TRACE_ID.

    The last event has the exit code or the signal, and the end of the output, in status_body; it is FAILED unless the
    exit code is 0. The command's arguments are not reported, for there may be secrets in them.

    Output, signals and exit code pass through (127 and 126: it is not there, it cannot be run). A server that is away
    delays the end by a few seconds at most (see STATUS_GRPC_FLUSH_TIMEOUT). The events are then kept on disk if a
    server was configured or STATUS_GRPC_SPOOL is set (see status-grpc spool), and one line says so.

    \b
    Examples:
      status-grpc run --domain job --domain-id nightly-backup -- pg_dump --file backup.sql bikes
      status-grpc run --trace-id $ID --operation validate --input trips.csv -- ./validate.sh trips.csv
    """
    environment = dict(os.environ)
    if not trace_id and not (fields["domain"] and fields["domain_id"]):
        raise click.UsageError("A new trace needs --domain and --domain-id; a step of one that is there, --trace-id.")
    if finish and not trace_id:
        raise click.UsageError("--finish is about the trace of --trace-id; a new one ends with the command anyway.")
    program = PurePath(command[0]).name
    said = {"component": _component(program), "operation": program}
    said |= {name: value for name, value in fields.items() if value}
    outputs = said.pop("outputs", None)
    _configure(connection)
    scope = _scope(trace_id, said)
    kept = Tail(tail) if tail else None
    child = Child(command, environment | {_TRACE_ID: scope.trace_id}, kept)
    with passing_on_signals(child):
        refused = _start(child)
        with scope, _beating(connection, scope, heartbeat):
            if sys.stderr.isatty():
                aside(f"Trace {printable(scope.trace_id)}")
            code = _exit_code(refused) if refused is not None else child.wait()
            scope.add(**_ended(program, code, refused, kept))
            if code == 0 and outputs:
                scope.add(outputs=outputs)
            if finish:
                scope.add(trace_status=TraceStatus.FINISHED)
    if finish:
        _tell_late_end(connection, scope)
    _end_reporting()
    if refused is not None:
        raise CommandFailed(f"{command[0]} cannot be run: {refused.strerror}.", code)
    return end_like(code)


def _component(program: str) -> str:
    # As for any step, but for the last: the program that reports is this one, which is nobody's component.
    return os.environ.get("STATUS_GRPC_COMPONENT") or os.environ.get("SERVICE_NAME") or program


def _configure(connection: dict[str, Any]) -> None:
    # gRPC writes to standard error on its own account, which is the command's.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from status_grpc.client.reporting.default import configure

    try:
        configure(**connection)
    except ValueError as error:
        raise CommandFailed(f"{error}.", USAGE) from None


def _end_reporting() -> None:
    # Not left to the interpreter: a command that a signal has ended ends this process by the same signal.
    from status_grpc.client.reporting.default import end_reporting

    end_reporting()


def _scope(trace_id: str | None, said: dict[str, Any]) -> ReportedScope:
    if trace_id:
        from status_grpc.client.steps.step import status_step

        return status_step(said.pop("operation"), trace_id=trace_id, report_start=True, on_exception="continue", **said)
    from status_grpc.client.steps.tracing import trace

    return trace(said.pop("domain"), said.pop("domain_id"), **said)


def _start(child: Child) -> OSError | None:
    """Start it before anything is reported: a service that is away must not keep it waiting."""
    try:
        child.start()
    except OSError as error:
        return error
    return None


def _exit_code(error: OSError) -> int:
    return _NOT_FOUND if error.errno == errno.ENOENT else _NOT_EXECUTABLE


def _ended(program: str, code: int, refused: OSError | None, tail: Tail | None) -> dict[str, Any]:
    """Return the fields that tell how the command has ended."""
    body: dict[str, Any] = {"signal": _signal_name(-code)} if code < 0 else {"exit_code": code}
    if tail is not None and refused is None:
        body |= {"output_tail": tail.text, "output_bytes": tail.total}
    told: dict[str, Any] = {"status_body": body}
    if code != 0:
        how = f"was ended by {body['signal']}" if code < 0 else f"ended with exit code {code}"
        if refused is not None:
            how = f"cannot be run: {refused.strerror}"
        told |= {
            "trace_event_status": TraceEventStatus.FAILED,
            "exception": ExceptionDetail("CommandFailed", f"{program} {how}"),
        }
    return told


def _tell_late_end(connection: dict[str, Any], scope: ReportedScope) -> None:
    """Say on standard error if the trace had ended before.

    A server that does not answer within _LOOK_TIMEOUT is not asked again.
    """
    from status_grpc.client.reporting.default import get_reporter
    from status_grpc.client.sync import StatusClient
    from status_grpc.domain.errors import StatusError

    if not get_reporter().options.reporting:
        return
    try:
        with StatusClient(**connection, timeout=_LOOK_TIMEOUT, connect_timeout=_LOOK_TIMEOUT) as client:
            last = client.get_trace(scope.trace_id, max_events=1).trace.last_sequence
            found = client.get_trace(scope.trace_id, after_sequence=max(0, last - _LAST_EVENTS))
    except StatusError:
        return
    for event in found.events:
        if event.step_id == scope.step_id and (too_late := late_end(found.trace, event)):
            aside(too_late)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # one of the many that have no name


@contextmanager
def _beating(connection: dict[str, Any], scope: ReportedScope, seconds: float) -> Iterator[None]:
    """Say every so often that the command is alive; whether that arrives makes no difference to it."""
    from status_grpc.client.reporting.default import get_reporter

    if not seconds or not get_reporter().options.reporting:
        yield
        return
    over = threading.Event()

    def beat() -> None:
        client = None
        try:
            while not over.wait(seconds):
                if client is None:
                    from status_grpc.client.sync import StatusClient

                    client = StatusClient(**connection)
                _beat_once(client, scope)
        finally:
            if client is not None:
                client.close()

    thread = threading.Thread(target=beat, name="status-grpc-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_LAST_BEAT)


def _beat_once(client: Any, scope: ReportedScope) -> None:
    from status_grpc.domain.errors import StatusError

    try:
        client.heartbeat(scope.trace_id, step_id=scope.step_id, timeout=5.0)
    except StatusError:
        pass  # the next one may arrive
