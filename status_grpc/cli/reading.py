"""`status-grpc get`, `by-path` and `list`: read what is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from status_grpc.cli.connecting import with_client
from status_grpc.cli.json_forms import event_object, trace_object
from status_grpc.cli.output import (
    Cell,
    aside,
    colored,
    local_time,
    local_time_exact,
    on_terminal,
    write,
    write_fields,
    write_json,
    write_table,
)
from status_grpc.cli.parameters import format_option, lang_option, time_option
from status_grpc.cli.pipe_reader import ends_without_reader
from status_grpc.cli.texts import pad, printable
from status_grpc.cli.wording import ON_THE_WAY, reports, said, span, state
from status_grpc.domain.events import Outcome, TraceEvent, TraceEventStatus, TraceStatus
from status_grpc.domain.traces import Trace

if TYPE_CHECKING:
    from status_grpc.client.sync import StatusClient

#: How many events are asked for at a time: each call has its own timeout, however long the trace is.
_EVENTS_AT_A_TIME = 1000


@click.command()
@click.argument("trace_id")
@lang_option
@format_option("text", "json", "jsonl")
@with_client
def get(client: StatusClient, /, trace_id: str, lang: str, form: str) -> None:
    """Print a trace and all its events.

    json is one object {"trace", "events"}; jsonl is an object for the trace, then one for each event.

    \b
    Examples:
      status-grpc get my-dataset-1f0c...
      status-grpc get my-dataset-1f0c... --format json | jq '.events[].component'
    """
    trace, events = read_history(client, trace_id)
    if form == "jsonl":
        write_json(trace_object(trace))
        for event in events:
            write_json(event_object(event))
    elif form == "json":
        write_json({"trace": trace_object(trace), "events": [event_object(event) for event in events]})
    else:
        _write_trace(trace, lang)
        write()
        write_table(_EVENT_HEADERS, [_event_row(event, lang) for event in events])


def read_history(
    client: StatusClient, trace_id: str, *, at_first: int | None = None
) -> tuple[Trace, Iterator[TraceEvent]]:
    """Return the trace as it is now, and its events up to now as they are read, beginning with `at_first` of them."""
    first = client.get_trace(trace_id, max_events=at_first or _EVENTS_AT_A_TIME)

    def events() -> Iterator[TraceEvent]:
        yield from first.events
        last = first.events[-1].sequence if first.events else first.trace.last_sequence
        while last < first.trace.last_sequence:
            more = client.get_trace(trace_id, after_sequence=last, max_events=_EVENTS_AT_A_TIME).events
            if not more:
                return
            yield from more
            last = more[-1].sequence

    return first.trace, events()


def _write_trace(trace: Trace, lang: str) -> None:
    title = "Reason" if trace.outcome is Outcome.FAILED else ON_THE_WAY
    reported = [(title if first == 0 else "", line) for first, line in enumerate(reports(trace, lang))]
    write_fields(
        [
            ("Trace", trace.trace_id),
            ("About", f"{trace.domain} {trace.domain_id}"),
            ("Path", trace.s3_path),
            ("User", trace.user),
            ("Outcome", trace.outcome),
            ("State", state(trace)),
            ("Events", f"{trace.event_count}, {trace.failed_event_count} of them failed"),
            ("Created", local_time(trace.create_time)),
            ("Updated", local_time(trace.update_time)),
            ("Expires", "" if trace.done else local_time(trace.expire_time)),
            *reported,
        ]
    )


_EVENT_HEADERS = ("#", "Recorded", "Component", "Operation", "Status", "Outcome", "Took", "What it said")


def _event_row(event: TraceEvent, lang: str) -> list[Cell]:
    return [
        str(event.sequence),
        local_time_exact(event.record_time),
        event.component,
        event.operation,
        event.trace_status,
        event.outcome,
        "" if event.duration is None else span(event.duration),
        said(event, lang),
    ]


@click.command("by-path")
@click.argument("path")
@click.option("--domain", default="", help="Only traces of this domain.")
@click.option("--domain-id", default="", help="Only traces of this domain id.")
@lang_option
@format_option("text", "json")
@with_client
def by_path(client: StatusClient, /, path: str, domain: str, domain_id: str, lang: str, form: str) -> None:
    """Find the traces of an S3 path, the newest created with it first.

    The path is an exact text. json is one object {"trace", "trace_ids"}.

    \b
    Examples:
      status-grpc by-path raw/green/my-dataset/version=1/test.json
      ID=$(status-grpc by-path raw/green/my-dataset/version=1/test.json --format json | jq -r .trace.trace_id)
    """
    match = client.get_by_path(path, domain=domain, domain_id=domain_id)
    if form == "json":
        write_json({"trace": trace_object(match.trace), "trace_ids": list(match.trace_ids)})
        return
    _write_trace(match.trace, lang)
    others = match.trace_ids[1:]
    if others:
        write()
        write("Other traces of this path:")
        for trace_id in others:
            write(f"  {printable(trace_id)}")


_STATUSES = click.Choice([status.lower() for status in TraceStatus])
_OUTCOMES = click.Choice([outcome.lower() for outcome in TraceEventStatus])


@click.command("list")
@click.option("--domain", default="", help="Only traces of this domain.")
@click.option("--domain-id", default="", help="Only traces of this domain id.")
@click.option("--user", default="", help="Only traces created by this user.")
@click.option("--component", default="", help="Only traces whose last component is this.")
@click.option("--status", type=_STATUSES, help="Only traces that have come so far.")
@click.option("--outcome", type=_OUTCOMES, help="Only traces that are done with this outcome.")
@time_option("--created-after", "--since", "created_after", text="Only traces created then or later.")
@time_option("--created-before", text="Only traces created before.")
@time_option("--updated-after", text="Only traces updated then or later.")
@time_option("--updated-before", text="Only traces updated before.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=50, show_default=True, help="How many at most; 0 means all of them."
)
@click.option("--follow", is_flag=True, help="Go on with the traces to come, each as it is created.")
@lang_option
@format_option("table", "json", "jsonl")
@with_client
def list_traces(
    client: StatusClient,
    /,
    status: str | None,
    outcome: str | None,
    limit: int,
    follow: bool,
    lang: str,
    form: str,
    **filters: Any,
) -> None:
    """List traces, the newest created first.

    json is one list, jsonl one trace a line, as they are read.

    With --follow the newest comes last, and after it a line for each trace that is created, as it is then, until
    Ctrl-C. It takes no filters on what may change later.

    \b
    Examples:
      status-grpc list --domain dataset --outcome failed --since 1h
      status-grpc list --created-after 2026-01-31 --limit 0 --format jsonl
      status-grpc list --follow --domain dataset --limit 10
    """
    if follow:
        _follow(client, {"status": status, "outcome": outcome, **filters}, limit, form)
        return
    traces = client.list_traces(
        **filters,
        status=TraceStatus(status.upper()) if status else None,
        outcome=TraceEventStatus(outcome.upper()) if outcome else None,
        page_size=min(limit, 500),
    )
    wanted = islice(traces, limit or None)
    if form == "jsonl":
        for trace in wanted:
            write_json(trace_object(trace))
        return
    if form == "json":
        write_json([trace_object(trace) for trace in wanted])
        return
    rows = [_trace_row(trace, lang) for trace in wanted]
    write_table(("Trace ID", "Created", "Done", "Status", "Outcome", "Component", "What was reported"), rows)
    if on_terminal() and limit and len(rows) == limit and next(traces, None) is not None:
        aside(f"There are more than these {limit}: see --limit.")


def _follow(client: StatusClient, filters: dict[str, Any], limit: int, form: str) -> None:
    from status_grpc.cli.tailing import follow_traces

    if form == "json":
        raise click.UsageError("--follow has no end, and so no JSON value: take --format jsonl.")
    for name in ("component", "status", "outcome", "created_before", "updated_after", "updated_before"):
        if filters.pop(name):
            raise click.UsageError(f"--follow does not go with --{name.replace('_', '-')}.")
    first = filters.pop("created_after")

    def look(since: datetime | None) -> Iterator[Trace]:
        times = [time for time in (first, since) if time is not None]
        return client.list_traces(**filters, created_after=max(times, default=None), page_size=500)

    with ends_without_reader():
        follow_traces(look, limit, _write_as_json if form == "jsonl" else _write_line, client.options)


def _write_as_json(trace: Trace) -> None:
    write_json(trace_object(trace))


def _write_line(trace: Trace) -> None:
    words = (trace.trace_id, trace.domain, trace.domain_id, trace.component)
    write(
        f"{local_time(trace.create_time)}  {pad(trace.trace_status, 8)}  "
        f"{colored(trace.outcome, pad(trace.outcome, 7))}  {'  '.join(map(printable, words))}"
    )


def _trace_row(trace: Trace, lang: str) -> list[Cell]:
    return [
        trace.trace_id,
        local_time(trace.create_time),
        "Yes" if trace.done else "No",
        trace.trace_status,
        trace.outcome,
        trace.component,
        " ".join(reports(trace, lang)),
    ]
