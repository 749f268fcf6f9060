"""`status-grpc create` and `update`: report what happened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from status_grpc.cli.connecting import with_client
from status_grpc.cli.event_options import draft_of, event_options
from status_grpc.cli.exits import OK
from status_grpc.cli.json_forms import event_object, trace_object
from status_grpc.cli.output import aside, colored, on_terminal, write, write_json
from status_grpc.cli.parameters import format_option, time_option
from status_grpc.cli.texts import printable
from status_grpc.cli.wording import late_end
from status_grpc.client.retrying import NotConnected
from status_grpc.domain.errors import DeadlineExceeded, Unavailable
from status_grpc.domain.events import EventDraft
from status_grpc.domain.ids import mint_event_id

if TYPE_CHECKING:
    from status_grpc.client.sync import StatusClient
    from status_grpc.client.values import Written


_expire_option = time_option(
    "--expire-time", text="When the trace ends as FAILED if it has not ended, such as 2h.", direction="future"
)


@click.command()
@event_options
@click.option("--trace-id", help="The id the trace shall have. [default: the server makes one]")
@_expire_option
@format_option("text", "json")
@with_client
def create(
    client: StatusClient, /, trace_id: str | None, expire_time: datetime | None, form: str, **event: Any
) -> None:
    """Start a trace, and print its id.

    domain, domain id and component are required, as flags or in the --file. A flag counts before the file.

    \b
    Examples:
      ID=$(status-grpc create --domain dataset --domain-id my-dataset/1 --component data-uploader \\
             --operation upload --path raw/green/my-dataset/version=1/test.json)
      echo '{"domain": "dataset", "domain_id": "d/1", "component": "c"}' | status-grpc create --file -
    """
    draft = _complete(draft_of(**event), trace_id)
    with _repeatable(draft):
        written = client.create(draft, expire_time=expire_time)
    if form == "json":
        _write_written(written)
        return
    write(printable(written.trace.trace_id))
    if on_terminal():
        aside(f"Follow it with: status-grpc watch {printable(written.trace.trace_id)}")


@click.command()
@click.argument("trace_id", required=False)
@event_options
@click.option("--expected-sequence", type=click.IntRange(min=0), help="Only if this is the trace's last sequence.")
@click.option("--new-run", is_flag=True, help="Open the next run of a trace that is done.")
@click.option("--bulk", type=click.File("rb"), help="A file with a JSON event on each line; - reads standard input.")
@_expire_option
@format_option("text", "json")
@with_client
def update(
    client: StatusClient,
    /,
    trace_id: str | None,
    bulk: BinaryIO | None,
    expected_sequence: int | None,
    new_run: bool,
    expire_time: datetime | None,
    form: str,
    **event: Any,
) -> int:
    """Append an event to a trace, or many events to their traces.

    The trace and the component are required, as flags or in the --file. A flag counts before the file.

    --bulk stands alone. It writes a line {"line", "error", "event"} for each event that was not recorded: give that
    file to --bulk again once the reason is gone. Nothing is recorded twice, even if all of a file is sent again: an
    event without a trace_event_id gets one that is made from its content.

    \b
    Examples:
      status-grpc update my-dataset-1f0c... --component s3-writer --operation copy --duration 1.5
      status-grpc update my-dataset-1f0c... --component csv-validator \\
             --error nb "Rad 3 har ingen pris" --error en "Row 3 has no price"
      status-grpc update my-dataset-1f0c... --component state-machine --status finished --outcome failed
      status-grpc update --bulk events.ndjson > failed.ndjson
    """
    if bulk is not None:
        if trace_id or any(value not in (None, ()) for value in event.values()):
            raise click.UsageError("--bulk stands alone: what the events say is in the file.")
        from status_grpc.cli.bulk import update_in_bulk

        return update_in_bulk(client, bulk, form)
    draft = _complete(draft_of(**event), trace_id)
    with _repeatable(draft):
        written = client.update(draft, expected_sequence=expected_sequence, new_run=new_run, expire_time=expire_time)
    if too_late := late_end(written.trace, written.event):
        aside(too_late)
    if form == "json":
        _write_written(written)
        return OK
    recorded = written.event
    write(
        f"event {recorded.sequence} of {printable(recorded.trace_id)}: "
        f"{recorded.trace_status} {colored(recorded.outcome, recorded.trace_event_status)}"
    )
    return OK


def _complete(draft: EventDraft, trace_id: str | None) -> EventDraft:
    """Return the draft with an id of ours, so that the command can be repeated, and with the trace that was named."""
    return replace(draft, trace_id=trace_id or draft.trace_id, trace_event_id=draft.trace_event_id or mint_event_id())


@contextmanager
def _repeatable(draft: EventDraft) -> Iterator[None]:
    """Tell how to repeat a write of which nobody knows whether it was recorded."""
    try:
        yield
    except (DeadlineExceeded, Unavailable) as error:
        if not isinstance(error, NotConnected):
            aside(f"The event may have been recorded; repeat the command with --event-id {draft.trace_event_id}")
        raise


def _write_written(written: Written) -> None:
    write_json({"trace": trace_object(written.trace), "event": event_object(written.event)})
