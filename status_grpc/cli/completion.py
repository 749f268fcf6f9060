"""`status-grpc completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import click

from status_grpc.cli.output import write


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that makes a shell complete commands and options.

    \b
    Examples:
      echo 'eval "$(status-grpc completion bash)"' >> ~/.bashrc
      echo 'eval "$(status-grpc completion zsh)"' >> ~/.zshrc
      status-grpc completion fish > ~/.config/fish/completions/status-grpc.fish
    """
    from click.shell_completion import get_completion_class

    from status_grpc.cli.ending import COMPLETE, NAME
    from status_grpc.cli.main import commands

    kind = get_completion_class(shell)
    assert kind is not None
    write(kind(commands, {}, NAME, COMPLETE).source())
