"""How a command reaches its server: the options that all of them share, and what becomes of the client's errors."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from status_grpc.cli.exits import UNREACHABLE, USAGE, CommandFailed, failure
from status_grpc.domain.errors import StatusError

if TYPE_CHECKING:
    from status_grpc.client.sync import StatusClient

#: How long a call may take, in seconds, unless STATUS_GRPC_TIMEOUT says otherwise: somebody sits and waits.
_CALL_TIMEOUT = 5.0

_FILE = click.Path(exists=True, dir_okay=False)
_OPTIONS = [
    click.option(
        "--server", metavar="HOST:PORT", help="The server. [env: STATUS_GRPC_SERVER; default: 127.0.0.1:50051]"
    ),
    click.option("--token", help="The bearer token. [env: STATUS_GRPC_TOKEN, where other users do not see it]"),
    click.option("--token-file", type=_FILE, help="The file with the bearer token, read anew before each call."),
    click.option("--ca", type=_FILE, help="PEM file: who may sign the server's certificate. [env: STATUS_GRPC_CA]"),
    click.option("--cert", type=_FILE, help="PEM file: the client's certificate. [env: STATUS_GRPC_CERT]"),
    click.option("--key", type=_FILE, help="PEM file: its key. [env: STATUS_GRPC_KEY]"),
    click.option("--insecure", flag_value=True, type=bool, default=None, help="No TLS. [default: for this machine]"),
]
_NAMES = ("server", "token", "ca", "cert", "key", "insecure")


def with_client(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command the options of a connection, and a client as its first argument."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name in _NAMES}
        with open_client(given, kwargs.pop("token_file")) as client:
            try:
                return command(client, *args, **kwargs)
            except StatusError as error:
                raise failure(error, client.options.server, uses_tls=client.options.uses_tls) from None

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def open_client(given: dict[str, Any], token_file: str | None) -> StatusClient:
    """Return a client with these options; what is None comes from the environment."""
    # gRPC writes to standard error on its own account; what matters of it is in the errors it raises.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from status_grpc.client.sync import StatusClient

    if token_file is not None:
        if given["token"] is not None:
            raise click.UsageError("--token and --token-file exclude each other")
        given["token"] = functools.partial(_read_token, token_file)
    if "STATUS_GRPC_TIMEOUT" not in os.environ:
        given["timeout"] = _CALL_TIMEOUT
    try:
        return StatusClient(**given)
    except ValueError as error:
        raise CommandFailed(f"{error}.", USAGE) from None


def _read_token(path: str) -> str:
    try:
        token = Path(path).read_text(encoding="ascii").strip()
    except UnicodeDecodeError:
        token = ""
    if not token.isprintable() or not token:
        raise CommandFailed(f"The file {path} does not hold a bearer token.", UNREACHABLE)
    return token
