"""The `status-grpc` command: knows which commands there are, and imports the one that is called."""

from __future__ import annotations

from importlib import import_module
from typing import ClassVar

import click

from status_grpc._version import __version__


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are needed: most calls need one."""

    #: Command -> (module, function, one line about it).
    COMMANDS: ClassVar[dict[str, tuple[str, str, str]]] = {
        "serve": ("status_grpc.cli.serve", "serve", "Run the server."),
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
def main() -> None:
    """Record, find and follow the traces of asynchronous pipelines."""


if __name__ == "__main__":
    main()
