"""`status-grpc watch`: follow a trace to its end."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from status_grpc.cli.connecting import with_client
from status_grpc.cli.exits import INTERRUPTED, TIMEOUT, CommandFailed, outcome_code
from status_grpc.cli.json_forms import event_object, trace_object
from status_grpc.cli.output import aside, bold, colored, local_time_exact, write, write_json
from status_grpc.cli.parameters import format_option, lang_option, time_option
from status_grpc.cli.texts import pad, printable
from status_grpc.cli.wording import reason, said, span, state
from status_grpc.domain.errors import DeadlineExceeded, StreamTooOld
from status_grpc.domain.events import TraceEvent
from status_grpc.domain.traces import Trace

if TYPE_CHECKING:
    from status_grpc.client.follow import Follow
    from status_grpc.client.following import Reconnect
    from status_grpc.client.sync import StatusClient
    from status_grpc.client.values import Checkpoint


@click.command()
@click.argument("trace_id", required=False)
@click.option("--by-path", "s3_path", metavar="PATH", help="Follow the newest trace created with this S3 path.")
@click.option("--wait", "wait_for_trace", is_flag=True, help="Wait for a trace or path that does not exist yet.")
@click.option("--new-only", is_flag=True, help="With --by-path: wait for a trace that is created from now on.")
@time_option("--created-after", text="With --by-path: wait for a trace that is created after this time.")
@click.option("--after", "after_sequence", type=click.IntRange(min=0), default=0, help="Only events after this one.")
@click.option("--after-event-id", default="", help="The id of that event: fails if it is another one now.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Give up then.")
@lang_option
@format_option("text", "json", "jsonl")
@with_client
def watch(client: StatusClient, /, trace_id: str | None, s3_path: str | None, form: str, lang: str, **how: Any) -> int:
    """Follow a trace until it is done: each event once, in order, whatever breaks in between.

    The exit code is 0 if it finished OK, 1 if it finished FAILED, 4 if it was not done in time. jsonl prints
    {"event": ...} for each event as it comes and {"trace": ...} at the end; json one object with both at the end.

    \b
    Examples:
      status-grpc watch my-dataset-1f0c...
      status-grpc watch --by-path raw/green/my-dataset/version=1/test.json --new-only --timeout 600
      status-grpc watch my-dataset-1f0c... --format jsonl | jq .event.component
    """
    if (trace_id is None) == (s3_path is None):
        raise click.UsageError("Name what to follow: either TRACE_ID or --by-path PATH.")
    if trace_id is not None and (how["new_only"] or how["created_after"]):
        raise click.UsageError("--new-only and --created-after go with --by-path.")
    asides = _Asides()
    follow = client.follow(
        trace_id or "", s3_path=s3_path or "", on_checkpoint=asides.checkpoint, on_reconnect=asides.reconnect, **how
    )
    asides.follow = follow
    try:
        with follow:
            return outcome_code(_FORMS[form](follow, lang))
    except DeadlineExceeded:
        raise CommandFailed(f"It was not done within {how['timeout']:g} seconds.{_go_on(follow)}", TIMEOUT) from None
    except KeyboardInterrupt:
        aside(f"Interrupted.{_go_on(follow)}")
        return INTERRUPTED


def _go_on(follow: Follow) -> str:
    """Return how to follow on from here, once it is known what is followed."""
    if follow.trace is None:
        return ""
    command = ["status-grpc", "watch", printable(follow.trace_id)]
    if follow.sequence:
        command += ["--after", str(follow.sequence)]
    return f" Go on with: {shlex.join(command)}"


class _Asides:
    """Tells what happens to the stream, on standard error."""

    def __init__(self) -> None:
        self.follow: Follow | None = None
        self._waiting = False
        self._lost = False

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """A sign of life: tell if it is the first, or the first after a while."""
        if not checkpoint.trace_id and not self._waiting:
            self._waiting = True
            aside("Waiting for the trace to be created ...")
        if self._lost and self.follow is not None:
            self._lost = False
            aside(f"Connected again, resumed after event {self.follow.sequence}.")

    def reconnect(self, reconnect: Reconnect) -> None:
        """The stream has ended: tell, unless that is usual."""
        if not self._lost and not isinstance(reconnect.error, StreamTooOld):
            self._lost = True
            aside("The connection is lost, reconnecting ...")


def _as_text(follow: Follow, lang: str) -> Trace:
    for event in follow:
        write(_event_line(event, lang))
    trace = follow.finished_trace
    write(f"{bold(printable(trace.trace_id))} {colored(trace.trace_event_status, state(trace))}")
    for line in reason(trace, lang):
        write(f"  {line}")
    return trace


def _event_line(event: TraceEvent, lang: str) -> str:
    what = " ".join(printable(part) for part in (event.component, event.operation) if part)
    took = "" if event.duration is None else f" in {span(event.duration)}"
    why = said(event, lang)
    return (
        f"{local_time_exact(event.record_time)}  {event.sequence:>3}  {pad(event.trace_status, 8)}  "
        f"{colored(event.trace_event_status, pad(event.trace_event_status, 6))}  {what}{took}{': ' if why else ''}{why}"
    )


def _as_json(follow: Follow, _: str) -> Trace:
    events = [event_object(event) for event in follow]
    write_json({"trace": trace_object(follow.finished_trace), "events": events})
    return follow.finished_trace


def _as_jsonl(follow: Follow, _: str) -> Trace:
    for event in follow:
        write_json({"event": event_object(event)})
    write_json({"trace": trace_object(follow.finished_trace)})
    return follow.finished_trace


_FORMS = {"text": _as_text, "json": _as_json, "jsonl": _as_jsonl}
