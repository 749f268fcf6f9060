"""`status-grpc status`: whether a trace is done, and how it went.

Columns and JSON keys are those of the command line that this one replaces: scripts that read them go on working.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import click

from status_grpc.cli.connecting import with_client
from status_grpc.cli.exits import INTERRUPTED, TIMEOUT, CommandFailed, outage, outcome_code
from status_grpc.cli.json_forms import time_text
from status_grpc.cli.output import (
    Cell,
    ColoredText,
    aside,
    local_time,
    on_terminal,
    write_csv,
    write_json,
    write_table,
)
from status_grpc.cli.parameters import format_option, lang_option
from status_grpc.cli.pipe_reader import ends_without_reader
from status_grpc.cli.reading import read_history
from status_grpc.cli.texts import message_in, printable
from status_grpc.domain.errors import DeadlineExceeded
from status_grpc.domain.events import ErrorDetail, JsonObject, Outcome, TraceEvent, TraceEventStatus, TraceStatus
from status_grpc.domain.limits import TRACE_ERROR_TEXT_LENGTH
from status_grpc.domain.traces import Trace

if TYPE_CHECKING:
    from status_grpc.client.retrying import Reconnect
    from status_grpc.client.sync import StatusClient

_TITLES = {
    "done": "Done",
    "trace_id": "Trace ID",
    "trace_status": "Trace status",
    "trace_event_status": "Trace event status",
    "errors": "Error(s)",
}
_HISTORY_TITLES = {
    "trace_event_id": "Trace event ID",
    "start_time": "Started",
    "end_time": "Ended",
    "domain": "Domain",
    "domain_id": "Domain ID",
    "component": "Component",
    "operation": "Operation",
    "trace_status": "Status",
    "trace_event_status": "Event status",
    "errors": "Error(s)",
}
#: How wide the errors of a table are at most.
_ERROR_COLUMNS = 50


@click.command()
@click.argument("trace_id", required=False)
@click.option("--by-path", "s3_path", metavar="PATH", help="The newest trace created with this S3 path.")
@click.option("--history", is_flag=True, help="Every event, the oldest first.")
@click.option("--watch", is_flag=True, help="Wait until the trace is done.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Wait no longer.")
@lang_option
@format_option("table", "json", "jsonl", "csv")
@with_client
def status(
    client: StatusClient,
    /,
    trace_id: str | None,
    s3_path: str | None,
    history: bool,
    watch: bool,
    timeout: float | None,
    lang: str,
    form: str,
) -> int:
    """Tell whether a trace is done, how it went, and what errors were reported.

    The exit code is 1 if it finished FAILED, 4 if it was not done in time, else 0. json is one object {"done",
    "trace_id", "trace_status", "trace_event_status", "errors"}; with --history a list with an object for each event.

    \b
    Examples:
      status-grpc status my-dataset-1f0c...
      status-grpc status my-dataset-1f0c... --history --lang nb
      status-grpc status --by-path raw/green/my-dataset/version=1/test.json --watch --timeout 600
      status-grpc status my-dataset-1f0c... --format json | jq .done
    """
    if (trace_id is None) == (s3_path is None):
        raise click.UsageError("Name the trace: either TRACE_ID or --by-path PATH.")
    if timeout is not None and not watch:
        raise click.UsageError("--timeout goes with --watch.")
    if watch:
        trace_id = _wait(client, trace_id, s3_path, timeout).trace_id
    elif s3_path is not None:
        trace_id = client.get_by_path(s3_path).trace.trace_id
    trace, events = read_history(client, trace_id or "", at_first=None if history else 1)
    if history:
        _FORMS[form](_HISTORY_TITLES, [_history_row(event, lang) for event in events], False)
    else:
        _FORMS[form](_TITLES, [_row(trace, _errors(trace, events), lang)], True)
    return outcome_code(trace)


def _wait(client: StatusClient, trace_id: str | None, s3_path: str | None, timeout: float | None) -> Trace:
    """Wait for the end of the trace."""

    def explain(reconnect: Reconnect) -> None:
        if reconnect.failures == 1:
            aside(outage(reconnect, client.options))

    if on_terminal():
        aside(f"Waiting for the end of {printable(trace_id or s3_path or '')} ...")
    try:
        with ends_without_reader():
            return client.wait(trace_id or "", s3_path=s3_path or "", timeout=timeout, on_reconnect=explain)
    except DeadlineExceeded:
        if timeout is None:
            raise
        raise CommandFailed(f"It was not done within {timeout:g} seconds.", TIMEOUT) from None
    except KeyboardInterrupt:
        raise CommandFailed("Interrupted; the trace goes on.", INTERRUPTED) from None


def _errors(trace: Trace, events: Iterable[TraceEvent]) -> list[ErrorDetail]:
    """Return the errors of the trace's current run. Its state has them, unless they are too many or too long."""
    errors = [reported.error for reported in trace.errors]
    complete = trace.error_count == len(errors)
    if complete and all(len(text) < TRACE_ERROR_TEXT_LENGTH for error in errors for text in error.message.values()):
        return errors
    return [error for event in events if event.run == trace.run for error in event.errors]


def _row(trace: Trace, errors: Iterable[ErrorDetail], lang: str) -> JsonObject:
    return {
        "done": trace.done,
        "trace_id": trace.trace_id,
        "trace_status": trace.trace_status,
        "trace_event_status": trace.trace_event_status,
        "errors": [message_in(error.message, lang) for error in errors],
    }


def _history_row(event: TraceEvent, lang: str) -> JsonObject:
    return {
        "trace_event_id": event.trace_event_id,
        "start_time": time_text(event.start_time),
        "end_time": time_text(event.end_time) or "N/A",
        "domain": event.domain,
        "domain_id": event.domain_id,
        "component": event.component,
        "operation": event.operation or "N/A",
        "trace_status": event.trace_status,
        "trace_event_status": event.trace_event_status,
        "errors": [message_in(error.message, lang) for error in event.errors],
    }


def _as_table(titles: dict[str, str], rows: list[JsonObject], _: bool) -> None:
    write_table(list(titles.values()), [[_cell(name, row) for name in titles] for row in rows])


def _cell(name: str, row: JsonObject) -> Cell:
    value = row[name]
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if name == "trace_event_status":
        return _status_cell(value, is_end=row["trace_status"] is TraceStatus.FINISHED)
    if name.endswith("_time") and value != "N/A":
        # Without an offset, as the older command prints it.
        return local_time(value)[:19]
    if name != "errors":
        return str(value)
    mark = "- " if len(value) > 1 else ""
    return [
        (mark if first == 0 else " " * len(mark)) + line
        for text in value
        for first, line in enumerate(wrap(printable(text), _ERROR_COLUMNS) or [""])
    ]


def _status_cell(status: TraceEventStatus, *, is_end: bool) -> Cell:
    """Return the cell of a status, green only for a good end."""
    if status is TraceEventStatus.FAILED:
        return ColoredText(status, Outcome.FAILED)
    return ColoredText(status, Outcome.OK) if is_end else str(status)


def _as_json(_: dict[str, str], rows: list[JsonObject], single: bool) -> None:
    write_json(rows[0] if single else rows)


def _as_jsonl(_: dict[str, str], rows: list[JsonObject], __: bool) -> None:
    for row in rows:
        write_json(row)


def _as_csv(titles: dict[str, str], rows: list[JsonObject], _: bool) -> None:
    write_csv(list(titles), [[_value(row[name]) for name in titles] for row in rows])


def _value(value: Any) -> str:
    return ";".join(value) if isinstance(value, list) else str(value)


_FORMS: dict[str, Callable[[dict[str, str], list[JsonObject], bool], None]] = {
    "table": _as_table,
    "json": _as_json,
    "jsonl": _as_jsonl,
    "csv": _as_csv,
}
