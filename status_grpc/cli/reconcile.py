"""`status-grpc reconcile`: ends the traces whose executions have ended without anybody having told."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from status_grpc.cli.aws_access import aws_errors, aws_options
from status_grpc.cli.connecting import with_client
from status_grpc.cli.exits import OK, USAGE, CommandFailed
from status_grpc.cli.output import aside, write, write_json
from status_grpc.cli.parameters import format_option
from status_grpc.cli.texts import printable

if TYPE_CHECKING:
    from status_grpc.client.sync import StatusClient


@click.command()
@click.option(
    "--state-machine",
    "state_machines",
    multiple=True,
    required=True,
    metavar="ARN",
    envvar="STATUS_GRPC_AWS_STATE_MACHINE",
    show_envvar=True,
    help="The state machine whose executions are named by traces. May be repeated.",
)
@click.option("--domain", default="", help="Only traces of this domain.")
@click.option("--domain-id", default="", help="Only traces about this.")
@click.option(
    "--quiet-for",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Only traces of which nothing was heard for so long.",
)
@aws_options
@format_option("text", "jsonl")
@with_client
def reconcile(
    client: StatusClient,
    /,
    state_machines: tuple[str, ...],
    domain: str,
    domain_id: str,
    quiet_for: float,
    region: str | None,
    endpoint_url: str | None,
    form: str,
) -> int:
    """Ask Step Functions about the traces that have not finished, and end those whose execution has.

    EventBridge tells of ends as best it can, which is nearly always; this is for the rest. Run it every few minutes. It
    prints what it has ended; jsonl prints every trace it asked about, {"trace_id", "execution", "status", "ended"}.

    \b
    Example:
      status-grpc reconcile --state-machine arn:aws:states:eu-west-1:123456789012:stateMachine:pipeline
    """
    with aws_errors():
        from status_grpc.aws.clients import aws_client
        from status_grpc.aws.reconciling import reconcile

        stepfunctions = aws_client("stepfunctions", region=region, endpoint_url=endpoint_url)
        asked, ended = 0, 0
        try:
            for found in reconcile(
                client,
                stepfunctions,
                state_machines,
                domain=domain,
                domain_id=domain_id,
                quiet_for=timedelta(seconds=quiet_for),
            ):
                asked += 1
                ended += found.ended
                execution = found.execution
                if form == "jsonl":
                    said = {} if execution is None else {"execution": execution.arn, "status": execution.status}
                    write_json({"trace_id": found.trace_id, **said, "ended": found.ended})
                elif found.ended and execution is not None:
                    write(f"{printable(found.trace_id)}: {printable(execution.status)}")
        except ValueError as error:
            raise CommandFailed(f"{error}.", USAGE) from None
    aside(f"{asked} traces had not finished, {ended} of them are ended now.")
    return OK
