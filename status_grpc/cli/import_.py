"""`status-grpc import`: records what other systems have written down."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from status_grpc.cli.connecting import with_client
from status_grpc.cli.parameters import format_option

if TYPE_CHECKING:
    from status_grpc.client.sync import StatusClient

#: What the files hold -> (module, function), which takes client, files and format, and returns the exit code.
_READERS = {
    "openlineage": ("status_grpc.cli.import_openlineage", "import_run_events"),
    "dynamodb-export": ("status_grpc.cli.import_table", "import_table"),
}


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.File("rb"), metavar="FILE...")
@click.option(
    "--openlineage", "kind", flag_value="openlineage", help="The files hold OpenLineage events: one a line, or a list."
)
@click.option(
    "--dynamodb-export",
    "kind",
    flag_value="dynamodb-export",
    help="The files hold the older status service's table: one item or event a line, packed by gzip or not.",
)
@format_option("text", "json")
@with_client
def import_(client: StatusClient, /, files: tuple[BinaryIO, ...], kind: str | None, form: str) -> int:
    """Record what other systems have written down. FILE - is standard input.

    What could not be recorded is written to standard output, with the reason: objects {"file", "line", "error",
    "event"}, one a line, or in json one object {"recorded", "failed"}. Importing the same again records nothing twice.
    A part of an OpenLineage event that cannot be recorded is left out, and standard error names it.

    \b
    Examples:
      status-grpc import --openlineage events.ndjson > failed.ndjson
      zcat lineage-*.gz | status-grpc import --openlineage -
      status-grpc import --dynamodb-export export/data/*.json.gz > failed.ndjson
    """
    if kind is None:
        options = " or ".join(f"--{name}" for name in _READERS)
        raise click.UsageError(f"Say what the files hold: {options}.")
    module, function = _READERS[kind]
    read: Any = getattr(import_module(module), function)
    code: int = read(client, files, form)
    return code
