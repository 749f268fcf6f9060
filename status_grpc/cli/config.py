"""`status-grpc config`: the named contexts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from status_grpc.cli.connecting import check_server
from status_grpc.cli.contexts import Context, check_name, config_path, load_contexts, save_contexts
from status_grpc.cli.exits import USAGE, CommandFailed
from status_grpc.cli.output import write, write_json, write_table
from status_grpc.cli.parameters import format_option
from status_grpc.cli.suggestions import SuggestingGroup
from status_grpc.cli.texts import printable

_FILE = click.Path(exists=True, dir_okay=False, resolve_path=True)


@click.group(cls=SuggestingGroup)
def config() -> None:
    """Keep named contexts: how to reach which server.

    The one in use counts for every command that names no server by --server or STATUS_GRPC_SERVER; another one is
    chosen by --context or STATUS_GRPC_CONTEXT.

    \b
    Examples:
      status-grpc config set prod --server status.example.org:443 --token-file ~/.status-token
      status-grpc config use prod
      status-grpc list --context test
    """


@config.command("set")
@click.argument("name")
@click.option("--server", metavar="HOST:PORT", help="The server; a new context needs it.")
@click.option("--token-file", type=_FILE, help="The file with the bearer token.")
@click.option("--ca", type=_FILE, help="PEM file: who may sign the server's certificate.")
@click.option("--cert", type=_FILE, help="PEM file: the client's certificate.")
@click.option("--key", type=_FILE, help="PEM file: its key.")
@click.option("--plaintext/--tls", default=None, help="Without TLS, or with it even on this machine.")
def set_(name: str, **options: Any) -> None:
    """Add a context, or change what is given of one. The first one is used at once.

    \b
    Example:
      status-grpc config set prod --server status.example.org:443 --token-file ~/.status-token
    """
    check_name(name)
    check_server(options["server"], "--server")
    contexts = load_contexts()
    given = {option: value for option, value in options.items() if value is not None}
    if name in contexts.by_name:
        contexts.by_name[name] = replace(contexts.by_name[name], **given)
    elif "server" in given:
        contexts.by_name[name] = Context(**given)
    else:
        raise CommandFailed(f"The new context {name!r} needs a --server.", USAGE)
    contexts.current = contexts.current or name
    save_contexts(contexts)


@config.command()
@click.argument("name")
def use(name: str) -> None:
    """Use this context from now on.

    \b
    Example:
      status-grpc config use prod
    """
    contexts = load_contexts()
    contexts.get(name)
    contexts.current = name
    save_contexts(contexts)


@config.command()
@click.argument("name")
def remove(name: str) -> None:
    """Forget a context.

    \b
    Example:
      status-grpc config remove test
    """
    contexts = load_contexts()
    contexts.get(name)
    del contexts.by_name[name]
    if contexts.current == name:
        contexts.current = None
    save_contexts(contexts)


@config.command("list")
@format_option("table", "json")
def list_(form: str) -> None:
    """List the contexts.

    \b
    Example:
      status-grpc config list
    """
    contexts = load_contexts()
    if form == "json":
        every = {name: context.said() for name, context in contexts.by_name.items()}
        write_json({"current": contexts.current, "contexts": every})
        return
    rows = [
        ["*" if name == contexts.current else "", name, context.server, _home_shown(context.token_file)]
        for name, context in contexts.by_name.items()
    ]
    write_table(["In use", "Name", "Server", "Token file"], rows)


def _home_shown(path: str | None) -> str:
    return "" if path is None else path.replace(str(Path.home()), "~", 1)


@config.command()
def path() -> None:
    """Print where the contexts are kept; STATUS_GRPC_CLIENT_CONFIG names another file.

    \b
    Example:
      status-grpc config path
    """
    write(printable(str(config_path())))
