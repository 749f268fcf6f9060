"""`status-grpc aws dead-letters`: looks at what the router could not route, and routes it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from status_grpc.cli.aws_access import aws_errors, aws_options
from status_grpc.cli.connecting import with_client
from status_grpc.cli.exits import FAILED, NOT_FOUND, OK, USAGE, CommandFailed
from status_grpc.cli.output import aside, write, write_json, write_table
from status_grpc.cli.parameters import format_option
from status_grpc.cli.suggestions import SuggestingGroup
from status_grpc.cli.texts import printable

if TYPE_CHECKING:
    from status_grpc.aws.arrivals import ArrivedObject
    from status_grpc.aws.dead_letters import DeadLetter, DeadLetters
    from status_grpc.client.sync import StatusClient
    from status_grpc.domain.events import EventDraft

_at_option = click.option(
    "--at",
    required=True,
    metavar="S3://BUCKET/PREFIX",
    envvar="STATUS_GRPC_AWS_DEAD_LETTERS",
    show_envvar=True,
    help="Where they are kept.",
)


@click.group(cls=SuggestingGroup)
def aws() -> None:
    """Look after a pipeline on AWS (pip install 'status-grpc[aws]')."""


@aws.group("dead-letters")
def dead_letters() -> None:
    """Look after the messages that the router could not route."""


@dead_letters.command("list")
@_at_option
@aws_options
@format_option("table", "jsonl")
def list_letters(at: str, region: str | None, endpoint_url: str | None, form: str) -> None:
    """List them: which, since when, and why. jsonl has the messages, too.

    \b
    Example:
      status-grpc aws dead-letters list --at s3://raw-files/dead-letters/
    """
    with aws_errors():
        letters = sorted(_open(at, region, endpoint_url).all(), key=lambda letter: letter.time)
    if form == "jsonl":
        for letter in letters:
            write_json(_object(letter))
    else:
        write_table(
            ["Letter", "Time", "Reason"], [[letter.letter_id, letter.time, letter.reason] for letter in letters]
        )


@dead_letters.command()
@click.argument("letter_id")
@_at_option
@aws_options
def show(letter_id: str, at: str, region: str | None, endpoint_url: str | None) -> None:
    """Print one, with its message, as JSON.

    \b
    Example:
      status-grpc aws dead-letters show 1f0c... --at s3://raw-files/dead-letters/
    """
    with aws_errors():
        write_json(_object(_get(_open(at, region, endpoint_url), letter_id)))


@dead_letters.command()
@click.argument("letter_ids", nargs=-1, metavar="LETTER_ID...")
@click.option("--all", "everything", is_flag=True, help="All there are.")
@_at_option
@click.option(
    "--state-machine",
    required=True,
    metavar="ARN",
    envvar="STATUS_GRPC_AWS_STATE_MACHINE",
    show_envvar=True,
    help="The state machine of which executions are started.",
)
@click.option(
    "--without-trace",
    type=click.Choice(["dead-letter", "ignore", "create"]),
    default="dead-letter",
    show_default=True,
    help="What becomes of an object whose path has no trace.",
)
@click.option("--path-is", type=click.Choice(["key", "uri"]), default="key", show_default=True, help="What a path is.")
@aws_options
@with_client
def replay(
    client: StatusClient,
    /,
    letter_ids: tuple[str, ...],
    everything: bool,
    at: str,
    state_machine: str,
    without_trace: Any,
    path_is: str,
    region: str | None,
    endpoint_url: str | None,
) -> int:
    """Route them again, and forget those that could be routed.

    It does no harm to one that was routed by now: an execution is started once. The exit code is 1 if some could not
    be routed; these are kept.

    \b
    Example:
      status-grpc aws dead-letters replay --all --without-trace create \\
             --at s3://raw-files/dead-letters/ \\
             --state-machine arn:aws:states:eu-west-1:123456789012:stateMachine:pipeline
    """
    if bool(letter_ids) == everything:
        raise click.UsageError("Name the letters, or say --all.")
    with aws_errors():
        from status_grpc.aws.clients import aws_client
        from status_grpc.aws.handlers import PATHS
        from status_grpc.aws.router import Router

        letters = _open(at, region, endpoint_url)
        router = Router(
            client,
            aws_client("s3", region=region, endpoint_url=endpoint_url),
            aws_client("stepfunctions", region=region, endpoint_url=endpoint_url),
            state_machine=state_machine,
            without_trace=without_trace,
            new_trace=_new_trace(),
            path_of=PATHS[path_is],
            patience=0,
        )
        chosen = list(letters.all()) if everything else [_get(letters, letter_id) for letter_id in letter_ids]
        kept = [letter for letter in chosen if not _replayed(letter, letters, router.attempt)]
    aside(f"{len(chosen) - len(kept)} are routed, {len(kept)} are kept.")
    return FAILED if kept else OK


@dead_letters.command()
@click.argument("letter_ids", nargs=-1, required=True, metavar="LETTER_ID...")
@_at_option
@aws_options
def remove(letter_ids: tuple[str, ...], at: str, region: str | None, endpoint_url: str | None) -> None:
    """Forget these: nothing is to become of them.

    \b
    Example:
      status-grpc aws dead-letters remove 1f0c... --at s3://raw-files/dead-letters/
    """
    with aws_errors():
        letters = _open(at, region, endpoint_url)
        for letter_id in letter_ids:
            letters.remove(_get(letters, letter_id).letter_id)


def _replayed(letter: DeadLetter, letters: DeadLetters, route: Callable[[Any], object]) -> bool:
    """Route a letter, and return whether that went well."""
    from status_grpc.aws.errors import Unroutable
    from status_grpc.domain.errors import InvalidArgument, TraceFull

    try:
        became = str(route(letter.message))
    except (Unroutable, InvalidArgument, TraceFull) as error:
        write(f"{letter.letter_id}: {printable(str(error))}")
        return False
    letters.remove(letter.letter_id)
    write(f"{letter.letter_id}: {printable(became)}")
    return True


def _open(at: str, region: str | None, endpoint_url: str | None) -> DeadLetters:
    from status_grpc.aws.clients import aws_client
    from status_grpc.aws.handlers import open_dead_letters

    try:
        return open_dead_letters(aws_client("s3", region=region, endpoint_url=endpoint_url), at)
    except ValueError as error:
        raise CommandFailed(f"{error}.", USAGE) from None


def _new_trace() -> Callable[[ArrivedObject], EventDraft]:
    from status_grpc.aws.handlers import new_trace_from_environment

    try:
        return new_trace_from_environment()
    except ValueError as error:
        raise CommandFailed(f"{error}.", USAGE) from None


def _get(letters: DeadLetters, letter_id: str) -> DeadLetter:
    letter = letters.get(letter_id)
    if letter is None:
        raise CommandFailed(f"There is no dead letter {letter_id}.", NOT_FOUND)
    return letter


def _object(letter: DeadLetter) -> dict[str, Any]:
    return asdict(letter)
