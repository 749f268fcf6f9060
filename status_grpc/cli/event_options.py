"""The options that describe an event, shared by the commands that write one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TextIO, TypeVar

import click

from status_grpc.cli.exits import USAGE, CommandFailed, invalid_fields
from status_grpc.cli.json_forms import read_draft
from status_grpc.cli.parameters import time_option
from status_grpc.cli.suggestions import flags_for_fields
from status_grpc.domain.errors import InvalidArgument
from status_grpc.domain.events import EventDraft, JsonObject, TraceEventStatus
from status_grpc.wire.json_values import NotJson, read_json

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = [
    click.option("--domain", help="What kind of thing the trace is about, such as dataset."),
    click.option("--domain-id", help="Which one, version included, such as my-dataset/1."),
    click.option("--component", help="The component that reports, such as s3-writer."),
    click.option("--operation", help="What it did, such as copy."),
    click.option("--user", help="On whose behalf."),
    click.option("--path", "s3_path", help="The object this is about, such as an S3 key. An exact text."),
    click.option("--status", "trace_status", metavar="started|continue|finished", help="How far the trace has come."),
    click.option("--outcome", "trace_event_status", metavar="ok|failed", help="How it went; finished needs it."),
    time_option("--start-time", text="When it began. [default: now]"),
    time_option("--end-time", text="When it ended, if it is over."),
    click.option("--duration", type=float, metavar="SECONDS", help="How long it took."),
    click.option(
        "--error",
        "errors",
        nargs=2,
        multiple=True,
        metavar="LANGUAGE TEXT",
        help='What went wrong, such as: --error en "Row 3 has no price". The same in a second language adds to it; '
        "a language that was there already begins another error.",
    ),
    click.option("--exception", nargs=2, metavar="TYPE MESSAGE", help="What was raised. Implies --outcome failed."),
    click.option("--body", "status_body", metavar="JSON", help="An object with whatever there is to tell."),
    click.option("--meta", metavar="JSON", help="An object about the execution, such as a revision."),
    click.option("--input", "inputs", multiple=True, metavar="URI", help="What was read. May be repeated."),
    click.option("--output", "outputs", multiple=True, metavar="URI", help="What was written. May be repeated."),
    click.option("--step-id", help="Which execution of a step: its start and its end share one."),
    click.option("--attempt", type=int, metavar="NUMBER", help="Which attempt of that step, from 1."),
    click.option("--event-id", "trace_event_id", help="Makes the same command safe to repeat. [default: a new one]"),
    click.option("--file", "source", type=click.File(encoding="utf-8"), help="A JSON event; - reads standard input."),
]


def event_options(command: F) -> F:
    """Give the command the options of an event; `draft_of` makes one of what they hold."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def draft_of(source: TextIO | None, **flags: Any) -> EventDraft:
    """Return the event that the file and the flags describe; a flag counts before the file."""
    said = _read_event(source) if source is not None else {}
    said |= {name: value for name, value in flags.items() if value not in (None, ())}
    if flags["errors"]:
        said["errors"] = _errors(flags["errors"])
    if flags["exception"]:
        said["exception"] = dict(zip(("type", "message"), flags["exception"], strict=True))
        if said.get("trace_event_status") is None:
            said["trace_event_status"] = TraceEventStatus.FAILED
    if flags["duration"] is not None:
        said["duration"] = flags["duration"] * 1000
    for name in ("inputs", "outputs"):
        if flags[name]:
            said[name] = list(flags[name])
    for name in ("status_body", "meta"):
        if flags[name] is not None:
            said[name] = _json(flags[name], f"--{name.removeprefix('status_')}")
    try:
        return read_draft(said)
    except InvalidArgument as error:
        flags_by_field = flags_for_fields(click.get_current_context())
        raise CommandFailed(f"{invalid_fields(error, flags_by_field)}.", USAGE) from None


def _read_event(source: TextIO) -> JsonObject:
    name = "Standard input" if source.name in ("-", "<stdin>") else str(source.name)
    try:
        value = _json(source.read(), name)
    except UnicodeDecodeError:
        raise CommandFailed(f"{name} is not UTF-8.", USAGE) from None
    if not isinstance(value, dict):
        raise CommandFailed(f"{name} holds no JSON object.", USAGE)
    return value


def _json(text: str, where: str) -> Any:
    try:
        return read_json(text)
    except NotJson as error:
        raise CommandFailed(f"{where} {error}.", USAGE) from None


def _errors(pairs: Sequence[tuple[str, str]]) -> list[JsonObject]:
    """Return the errors: a language that the last one has begins the next."""
    messages: list[dict[str, str]] = []
    for language, text in pairs:
        if not messages or language in messages[-1]:
            messages.append({})
        messages[-1][language] = text
    return [{"message": message} for message in messages]
