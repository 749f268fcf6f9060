"""What holds for every command there is, also for those to come."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import click
import pytest

from status_grpc import TraceEventStatus
from status_grpc.cli.main import commands


def leaves(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """Return every command that does something, by its name."""
    if not isinstance(command, click.Group):
        yield name.strip(), command
        return
    context = click.Context(command)
    for below in command.list_commands(context):
        found = command.get_command(context, below)
        assert found is not None
        yield from leaves(found, f"{name} {below}")


COMMANDS = dict(leaves(commands))
WITH_JSON = {
    name
    for name, command in COMMANDS.items()
    for option in command.params
    if isinstance(option.type, click.Choice) and option.name == "form" and "json" in option.type.choices
}
#: Commands that need more around them than a trace; their own tests parse what they print.
ELSEWHERE = {"import", "lineage", "spool deliver"}


@pytest.mark.parametrize("name", COMMANDS)
def test_its_help_has_an_example(name: str):
    assert f"status-grpc {name}" in (COMMANDS[name].help or "").partition("Example")[2]


def test_json_of_every_command_parses_and_is_all_there_is(cli, traces):
    path = f"raw/{uuid4()}"
    trace_id = traces.create(s3_path=path)
    arguments = {
        "create": ["--domain", "d", "--domain-id", "x", "--component", "c"],
        "update": [trace_id, "--component", "c"],
        "status": [trace_id],
        "get": [trace_id],
        "by-path": [path],
        "watch": [trace_id],
        "list": ["--limit", "2"],
        "health": [],
        "config list": [],
        "version": [],
    }
    assert set(arguments) | ELSEWHERE >= WITH_JSON
    for name, given in arguments.items():
        if name == "watch":
            traces.finish(trace_id, TraceEventStatus.OK)
        run = cli(*name.split(), *given, "--format", "json")
        assert (run.code, run.err) == (0, ""), name
        assert run.json is not None
        assert run.out.count("\n") == 1, f"{name}: one value, on one line"
