"""`status-grpc watch`: follow a trace to its end."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

import click

from status_grpc.cli.connecting import with_client
from status_grpc.cli.exits import INTERRUPTED, TIMEOUT, CommandFailed, outcome_code
from status_grpc.cli.json_forms import time_text
from status_grpc.cli.output import aside, on_terminal
from status_grpc.cli.parameters import format_option, lang_option, time_option
from status_grpc.cli.pipe_reader import ends_without_reader
from status_grpc.cli.texts import printable
from status_grpc.cli.views import Json, JsonLines, Lines, View
from status_grpc.domain.errors import DeadlineExceeded

if TYPE_CHECKING:
    from status_grpc.client.follow import Follow
    from status_grpc.client.sync import StatusClient


@click.command()
@click.argument("trace_id", required=False)
@click.option("--by-path", "s3_path", metavar="PATH", help="Follow the newest trace created with this S3 path.")
@click.option("--wait", "wait_for_trace", is_flag=True, help="Wait for a trace or path that does not exist yet.")
@click.option("--new-only", is_flag=True, help="With --by-path: wait for a trace that is created from now on.")
@time_option("--created-after", text="With --by-path: wait for a trace that is created after this time.")
@click.option("--after", "after_sequence", type=click.IntRange(min=0), default=0, help="Only events after this one.")
@click.option("--after-event-id", default="", help="The id of that event: fails if it is another one now.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Wait no longer.")
@click.option("--plain", is_flag=True, help="A line for each event, also on a terminal.")
@lang_option
@format_option("text", "json", "jsonl")
@with_client
def watch(
    client: StatusClient,
    /,
    trace_id: str | None,
    s3_path: str | None,
    plain: bool,
    lang: str,
    form: str,
    **how: Any,
) -> int:
    """Follow a trace until it is done: each event once, in order, whatever breaks in between.

    On a terminal the steps are shown in place as they run. Through a pipe each event is a line. jsonl prints
    {"event": ...} for each event as it comes and {"trace": ...} at the end; json one object with both at the end.
    The exit code is 0 if the trace finished OK, 1 if it finished FAILED, 4 if it was not done in time.

    \b
    Examples:
      status-grpc watch my-dataset-1f0c...
      status-grpc watch --by-path raw/green/my-dataset/version=1/test.json --new-only --timeout 600
      status-grpc watch my-dataset-1f0c... --format jsonl | jq .event.component
    """
    _check_usage(trace_id, s3_path, how)
    view = _view(form, trace_id or s3_path or "", lang, plain=plain)
    view.sequence = how["after_sequence"]
    follow = client.follow(
        trace_id or "",
        s3_path=s3_path or "",
        on_checkpoint=view.checkpoint,
        on_reconnect=lambda reconnect: view.reconnect(reconnect, client.options),
        **how,
    )
    try:
        with view.showing(), follow:
            with ends_without_reader():
                for event in follow:
                    view.event(event)
            view.end(follow.finished_trace)
        return outcome_code(follow.finished_trace)
    except DeadlineExceeded:
        if how["timeout"] is None:
            raise
        raise CommandFailed(
            f"It was not done within {how['timeout']:g} seconds.{_go_on(follow, s3_path)}", TIMEOUT
        ) from None
    except KeyboardInterrupt:
        aside(f"Interrupted.{_go_on(follow, s3_path)}")
        return INTERRUPTED


def _check_usage(trace_id: str | None, s3_path: str | None, how: dict[str, Any]) -> None:
    if (trace_id is None) == (s3_path is None):
        raise click.UsageError("Name what to follow: either TRACE_ID or --by-path PATH.")
    if trace_id is not None and (how["new_only"] or how["created_after"]):
        raise click.UsageError("--new-only and --created-after go with --by-path.")
    if how["after_sequence"] and trace_id is None:
        raise click.UsageError("--after goes with TRACE_ID: a path may be another trace's by now.")
    if how["after_event_id"] and not how["after_sequence"]:
        raise click.UsageError("--after-event-id goes with --after.")


def _view(form: str, target: str, lang: str, *, plain: bool) -> View:
    if form == "json":
        return Json()
    if form == "jsonl":
        return JsonLines()
    if plain or not on_terminal() or os.environ.get("TERM") in (None, "", "dumb"):
        return Lines(lang)
    from status_grpc.cli.live import LiveView

    return LiveView(target, lang)


def _go_on(follow: Follow, s3_path: str | None) -> str:
    """Return how to follow on from here, once the server has said where that is."""
    command = ["status-grpc", "watch"]
    if follow.trace is not None:
        command.append(printable(follow.trace_id))
        if follow.sequence:
            command += ["--after", str(follow.sequence), "--after-event-id", printable(follow.event_id)]
    elif s3_path is not None and follow.checkpoint is not None:
        # Nothing was created yet: what is created from the registration on is still new.
        command += ["--by-path", printable(s3_path), "--created-after", str(time_text(follow.checkpoint.server_time))]
    else:
        return ""
    return f" Go on with: {shlex.join(command)}"
