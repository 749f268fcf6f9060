"""How a command reaches its server: the options that all of them share, and what becomes of the client's errors."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from status_grpc.cli.contexts import chosen_context
from status_grpc.cli.exits import USAGE, CommandFailed, as_sentence, failure
from status_grpc.cli.suggestions import flags_for_fields
from status_grpc.client.options import DEFAULT_SERVER, check_target
from status_grpc.domain.errors import StatusError

if TYPE_CHECKING:
    from status_grpc.client.sync import StatusClient

#: How long a call may take, and how long a server is tried to which there is no connection, in seconds, unless the
#: environment says otherwise: somebody sits and waits.
TIMEOUTS = {"timeout": 5.0, "connect_timeout": 1.0}

_FILE = click.Path(exists=True, dir_okay=False)
_OPTIONS = [
    click.option(
        "--server", metavar="HOST:PORT", help="The server. [env: STATUS_GRPC_SERVER; default: 127.0.0.1:50051]"
    ),
    click.option("--context", metavar="NAME", help="A context of status-grpc config. [env: STATUS_GRPC_CONTEXT]"),
    click.option("--token", help="The bearer token. [env: STATUS_GRPC_TOKEN, where other users do not see it]"),
    click.option(
        "--token-file",
        type=_FILE,
        help="The file with the bearer token, read anew before each call. [env: STATUS_GRPC_TOKEN_FILE]",
    ),
    click.option("--ca", type=_FILE, help="PEM file: who may sign the server's certificate. [env: STATUS_GRPC_CA]"),
    click.option("--cert", type=_FILE, help="PEM file: the client's certificate. [env: STATUS_GRPC_CERT]"),
    click.option("--key", type=_FILE, help="PEM file: its key. [env: STATUS_GRPC_KEY]"),
    click.option(
        "--plaintext",
        "--insecure",
        "plaintext",
        flag_value=True,
        type=bool,
        default=None,
        help="No TLS. [env: STATUS_GRPC_PLAINTEXT; default: for this machine]",
    ),
]
_NAMES = ("server", "token", "token_file", "ca", "cert", "key", "plaintext")


def with_client(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command the options of a connection, and a client as its first argument."""

    @functools.wraps(command)
    def run(connection: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        with open_client(connection) as client:
            try:
                return command(client, *args, **kwargs)
            except StatusError as error:
                flags = flags_for_fields(click.get_current_context())
                options = client.options
                raise failure(error, options.server, uses_tls=options.uses_tls, flags=flags) from None

    return with_connection(run)


def with_connection(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command the options of a connection, and what they come to, as a client takes it, as first argument."""

    @functools.wraps(command)
    def run(*args: Any, context: str | None, **kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name in _NAMES}
        return command(_complete(given, context), *args, **kwargs)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def _complete(flags: dict[str, Any], context_name: str | None) -> dict[str, Any]:
    """Return the options: those of the flags, then of a context that was asked for, of the environment, of one in use.

    A token and the file of one are the same option: whoever says one of them says nothing about the other.
    """
    if flags["token"] is not None and flags["token_file"] is not None:
        raise click.UsageError("--token and --token-file exclude each other.")
    check_server(flags["server"], "--server")
    context = chosen_context(context_name, server=flags["server"])
    said = {} if context is None else context.said()
    check_server(said.get("server"), "The server of the context")
    # None: the client reads these variables itself.
    environment: dict[str, Any] = {name: None for name in _NAMES if _variable(name)}
    options: dict[str, Any] = {}
    for layer in (_not_none(flags), said if context_name else {}, environment, said):
        known = "token" in options or "token_file" in options
        for name, value in layer.items():
            if not (known and name.startswith("token")):
                options.setdefault(name, value)
    return options


def check_server(server: str | None, name: str) -> None:
    """Check a server address. Raises CommandFailed with `name`."""
    try:
        check_target(server or DEFAULT_SERVER, name)
    except ValueError as error:
        raise CommandFailed(as_sentence(str(error)), USAGE) from None


def _not_none(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _variable(name: str) -> str | None:
    return os.environ.get(f"STATUS_GRPC_{name.upper()}") or None


def open_client(options: dict[str, Any]) -> StatusClient:
    """Return a client with these options; what is None comes from the environment."""
    # gRPC writes to standard error on its own account; what matters of it is in the errors it raises.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from status_grpc.client.sync import StatusClient

    options |= {name: seconds for name, seconds in TIMEOUTS.items() if _variable(name) is None}
    try:
        return StatusClient(**options)
    except ValueError as error:
        raise CommandFailed(f"{error}.", USAGE) from None
