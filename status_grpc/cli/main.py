"""The `status-grpc` command: knows which commands there are, and imports the one that is called."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import ClassVar

import click

from status_grpc._version import __version__
from status_grpc.cli.suggestions import SuggestingGroup


class _LazyGroup(SuggestingGroup):
    """A group whose commands are imported when they are needed: most calls need one."""

    #: Command -> (module, function, one line about it).
    COMMANDS: ClassVar[dict[str, tuple[str, str, str]]] = {
        "status": ("status_grpc.cli.status", "status", "Tell whether a trace is done, and how it went."),
        "watch": ("status_grpc.cli.watching", "watch", "Follow a trace until it is done."),
        "get": ("status_grpc.cli.reading", "get", "Print a trace and all its events."),
        "by-path": ("status_grpc.cli.reading", "by_path", "Find the traces of an S3 path."),
        "list": ("status_grpc.cli.reading", "list_traces", "List traces, the newest first."),
        "lineage": ("status_grpc.cli.lineage", "lineage", "Tell where a file comes from, or what became of it."),
        "create": ("status_grpc.cli.writing", "create", "Start a trace."),
        "update": ("status_grpc.cli.writing", "update", "Append an event to a trace."),
        "run": ("status_grpc.cli.running", "run", "Run a command, and report it as a step."),
        "spool": ("status_grpc.cli.spool", "spool", "Show and deliver undelivered events."),
        "import": ("status_grpc.cli.import_", "import_", "Record what other systems have written down."),
        "reconcile": ("status_grpc.cli.reconcile", "reconcile", "End the traces whose executions on AWS have ended."),
        "aws": ("status_grpc.cli.aws", "aws", "Look after a pipeline on AWS."),
        "health": ("status_grpc.cli.health", "health", "Tell whether the server can be used."),
        "config": ("status_grpc.cli.config", "config", "Keep named contexts: how to reach which server."),
        "completion": ("status_grpc.cli.completion", "completion", "Make a shell complete commands and options."),
        "version": ("status_grpc.cli.health", "version", "Print what this is."),
        "demo": ("status_grpc.demo.command", "demo", "Watch a pipeline run, on a server of its own."),
        "serve": ("status_grpc.cli.serve", "serve", "Run the server."),
        "migrate": ("status_grpc.cli.migrate", "migrate", "Bring a database to this release's schema."),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.COMMANDS:
            return None
        module, function, _ = self.COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module), function)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in self.COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="status-grpc")
def commands() -> None:
    """Record, find and follow the traces of asynchronous pipelines.

    \b
    Exit codes:
      0  finished OK        3  not found
      1  finished FAILED    4  not done in time
      2  asked wrongly      5  the server cannot be reached, or refuses
    """


def main() -> None:
    """Run the command line, and end the process with an exit code: never with a traceback."""
    from status_grpc.cli.streams import open_missing_streams

    open_missing_streams()
    from status_grpc.cli.ending import run

    sys.exit(run(commands))


if __name__ == "__main__":
    main()
