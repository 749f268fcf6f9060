"""`status-grpc health` and `version`: whether the server can be used, and what this is."""

from __future__ import annotations

import platform
import time
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING

import click

from status_grpc._version import __version__
from status_grpc.cli.connecting import with_client
from status_grpc.cli.exits import OK, UNREACHABLE
from status_grpc.cli.output import write_fields, write_json
from status_grpc.cli.parameters import format_option

if TYPE_CHECKING:
    import grpc

    from status_grpc.client.options import ClientOptions
    from status_grpc.client.sync import StatusClient

_SERVING = 1
_METHOD = "/grpc.health.v1.Health/Check"
_SERVICE = "tracestatus.v1.StatusService"
_TIMEOUT = 5.0


@click.command()
@format_option("text", "json")
@with_client
def health(client: StatusClient, /, form: str) -> int:
    """Tell whether the server is alive, and whether it is ready for calls.

    The exit code is 0 if it is ready, else 5. json is one object {"server", "alive", "ready", "milliseconds"}.

    \b
    Example:
      status-grpc health --server status.example.org:443
    """
    began = time.monotonic()
    alive, ready = _by_http(client.options) if client.options.is_url else _by_grpc(client.options)
    took = round((time.monotonic() - began) * 1000, 1)
    if form == "json":
        write_json({"server": client.options.server, "alive": alive, "ready": ready, "milliseconds": took})
    else:
        write_fields(
            [
                ("Server", client.options.server),
                ("Alive", _word(alive)),
                ("Ready", _word(ready)),
                ("Answered in", f"{took} ms"),
            ]
        )
    return OK if ready else UNREACHABLE


def _by_http(options: ClientOptions) -> tuple[bool, bool]:
    from status_grpc.client.http_connection import HttpConnection

    connection = HttpConnection(options)
    return connection.is_fine("/healthz", _TIMEOUT), connection.is_fine("/readyz", _TIMEOUT)


def _by_grpc(options: ClientOptions) -> tuple[bool, bool]:
    from status_grpc.client.channels import open_channel

    with open_channel(options, streams=False) as channel:
        return _is_serving(channel, "liveness"), _is_serving(channel, _SERVICE)


def _word(answer: bool) -> str:
    return "yes" if answer else "no"


def _is_serving(channel: grpc.Channel, service: str) -> bool:
    """Ask grpc.health.v1. Raises StatusError when there is no answer."""
    import grpc

    from status_grpc.client.channels import to_error

    # Written by hand, for both messages are a single field: the stubs of the health service come with the server only.
    check: grpc.UnaryUnaryMultiCallable[bytes, int] = channel.unary_unary(_METHOD, _request, _status)
    try:
        answer = check(service.encode(), timeout=_TIMEOUT)
    except grpc.RpcError as error:
        raise to_error(error) from None
    return answer == _SERVING


def _request(service: bytes) -> bytes:
    """Return HealthCheckRequest.service: field 1, a text of less than 128 bytes."""
    return bytes((0x0A, len(service))) + service


def _status(message: bytes) -> int:
    """Return HealthCheckResponse.status: field 1, a varint below 128; absent means 0."""
    return message[1] if message[:1] == b"\x08" else 0


@click.command()
@format_option("text", "json")
def version(form: str) -> None:
    """Print the versions of this program and of what it runs on.

    \b
    Example:
      status-grpc version --format json
    """
    versions = {
        "status-grpc": __version__,
        "python": platform.python_version(),
        "grpcio": version_of("grpcio"),
        "protobuf": version_of("protobuf"),
        "platform": platform.platform(),
    }
    if form == "json":
        write_json(versions)
    else:
        write_fields(list(versions.items()))
