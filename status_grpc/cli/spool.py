"""The command `status-grpc spool`, for undelivered events on disk."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from status_grpc.cli.connecting import TIMEOUTS, with_connection
from status_grpc.cli.contexts import load_contexts
from status_grpc.cli.exits import OK, UNREACHABLE, USAGE, CommandFailed, failure
from status_grpc.cli.output import local_time, write, write_json, write_table
from status_grpc.cli.parameters import format_option
from status_grpc.cli.texts import printable

if TYPE_CHECKING:
    from status_grpc.client.options import ClientOptions
    from status_grpc.client.reporting.spool import Spool, Waiting
    from status_grpc.client.reporting.spool_delivery import SpoolOutcome

folder_option = click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="The spool. [env: STATUS_GRPC_SPOOL; default: a folder of the user's state]",
)


@dataclass(slots=True)
class _Sum:
    """What waits for one server."""

    server: str
    events: int = 0
    refused: int = 0
    in_use: int = 0
    bytes: int = 0
    oldest: float = float("inf")


@click.group(invoke_without_command=True)
@folder_option
@format_option("table", "json")
@click.pass_context
def spool(ctx: click.Context, folder: Path | None, form: str) -> None:
    """Show the undelivered events that wait on disk.

    The server has refused the "refused" ones when they were tried. A running process still tries to deliver the ones
    "in use". json is one object {"folder", "servers"}.

    \b
    Examples:
      status-grpc spool
      status-grpc spool --format json | jq '.servers[].events'
      status-grpc spool deliver
    """
    if ctx.invoked_subcommand is not None:
        return
    place = _folder(folder)
    sums = _sums(place)
    if form == "json":
        servers = [
            {
                "server": found.server,
                "events": found.events,
                "refused": found.refused,
                "in_use": found.in_use,
                "bytes": found.bytes,
                "oldest": datetime.fromtimestamp(found.oldest, UTC).isoformat(timespec="microseconds"),
                "age_seconds": round(max(0.0, time.time() - found.oldest), 3),
            }
            for found in sums
        ]
        write_json({"folder": str(place), "servers": servers})
    elif not sums:
        write(printable(f"Nothing waits in {place}."))
    else:
        rows = [
            [
                found.server,
                str(found.events),
                str(found.refused),
                str(found.in_use),
                str(found.bytes),
                local_time(datetime.fromtimestamp(found.oldest, UTC)),
            ]
            for found in sums
        ]
        write_table(["Server", "Events", "Refused", "In use", "Bytes", "Oldest"], rows)


@spool.command()
@folder_option
@click.option("--all", "every", is_flag=True, help="Deliver to every server, each with the credentials of its context.")
@format_option("text", "json")
@with_connection
@click.pass_context
def deliver(ctx: click.Context, /, connection: dict[str, Any], folder: Path | None, every: bool, form: str) -> int:
    """Deliver the events that wait for the server, oldest first.

    With --all each server gets its own events, with the credentials of the context for it, or of the environment if
    that names it, else with none. The exit code is 5 if events remain or were refused. Those of a running process are
    left to it. json is one object {"folder", "servers"}.

    \b
    Examples:
      status-grpc spool deliver
      status-grpc spool deliver --server status.example.org:443 --token-file ~/.status-token
      status-grpc spool deliver --all
    """
    if every and (given := _given_on_command_line(ctx)):
        raise click.UsageError(f"--all and {given} exclude each other: each server gets its own credentials.")
    parent = ctx.parent.params.get("folder") if ctx.parent is not None else None
    place = _folder(folder or parent)
    own = _options(connection)
    if every:
        outcomes = [_deliver(place, found.server, _options_for(found.server, own)) for found in _sums(place)]
    else:
        outcomes = [_deliver(place, _normal(own), own)]
    if form == "json":
        write_json({"folder": str(place), "servers": [outcome.json() for outcome in outcomes]})
    else:
        for outcome in outcomes:
            outcome.tell(place)
        if not every:
            _tell_of_others(place, _normal(own))
        elif not outcomes:
            write(printable(f"Nothing waits in {place}."))
    return OK if all(outcome.is_good for outcome in outcomes) else UNREACHABLE


@dataclass(slots=True)
class _Outcome:
    """What became of the events for one server, and why some remain."""

    server: str
    delivered: int = 0
    lost: int = 0
    remaining: int = 0
    in_use: int = 0
    reason: str = ""

    @property
    def is_good(self) -> bool:
        return not self.lost and not self.remaining

    def json(self) -> dict[str, Any]:
        return {
            "server": self.server,
            "delivered": self.delivered,
            "lost": self.lost,
            "remaining": self.remaining,
            "in_use": self.in_use,
            "reason": self.reason,
        }

    def tell(self, folder: Path) -> None:
        sentences = []
        if self.delivered:
            sentences.append(f"{_were(self.delivered)} delivered to {self.server}.")
        if self.lost:
            sentences.append(f"{_were(self.lost)} refused by {self.server} and deleted: {self.reason}")
        if self.remaining:
            sentences.append(f"{_remain(self.remaining)} for {self.server} in {folder}: {self.reason}")
        if self.in_use:
            sentences.append(f"{_remain(self.in_use)} for {self.server} with running processes, which deliver them.")
        for sentence in sentences or [f"Nothing waits for {self.server}."]:
            write(printable(sentence))


def _were(count: int) -> str:
    return "1 event was" if count == 1 else f"{count} events were"


def _remain(count: int) -> str:
    return "1 event remains" if count == 1 else f"{count} events remain"


def _given_on_command_line(ctx: click.Context) -> str:
    """Return the option about the connection that was given, if any."""
    for name in ("server", "context", "token", "token_file", "ca", "cert", "key", "plaintext"):
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            return f"--{name.replace('_', '-')}"
    return ""


def _folder(given: Path | None) -> Path:
    from status_grpc.client.reporting.spool_folder import spool_folder

    folder = given or spool_folder(os.environ.get("STATUS_GRPC_SPOOL") or None, server_configured=True)
    if folder is None:
        raise CommandFailed("There is no spool here: --folder names one.", USAGE)
    return folder


def _spool(folder: Path, server: str) -> Spool:
    from status_grpc.client.options import reporting_options
    from status_grpc.client.reporting.spool import Spool

    try:
        options = reporting_options({})
    except ValueError as error:
        raise CommandFailed(f"{error}.", USAGE) from None
    return Spool(folder, server, options.spool_bytes, options.spool_age)


def _sums(folder: Path) -> list[_Sum]:
    """Return the sums for each server, the oldest first."""
    sums: dict[str, _Sum] = {}
    for waiting in _spool(folder, "").waiting():
        _add(sums.setdefault(waiting.server, _Sum(waiting.server)), waiting)
    return sorted(sums.values(), key=lambda found: found.oldest)


def _add(total: _Sum, waiting: Waiting) -> None:
    total.events += waiting.events
    total.bytes += waiting.size
    total.refused += waiting.events if waiting.refused else 0
    total.in_use += waiting.events if waiting.in_use else 0
    total.oldest = min(total.oldest, waiting.written)


def _options(connection: dict[str, Any]) -> ClientOptions:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what gRPC would write to standard error is in its errors
    from status_grpc.client.options import client_options

    timeouts = {
        name: seconds for name, seconds in TIMEOUTS.items() if not os.environ.get(f"STATUS_GRPC_{name.upper()}")
    }
    try:
        return client_options(connection | timeouts)
    except ValueError as error:
        raise CommandFailed(f"{error}.", USAGE) from None


def _options_for(server: str, own: ClientOptions) -> ClientOptions | ValueError:
    """Return the options for a server of the spool.

    Credentials of another server are never among them.
    """
    from status_grpc.client.options import client_options, normal_server

    if _normal(own) == server:
        return own
    said: dict[str, Any] = {"server": server}
    for context in load_contexts().by_name.values():
        if normal_server(context.server) == server:
            said = context.said()
            break
    times = {name: getattr(own, name) for name in (*TIMEOUTS, "attempt_timeout")}
    try:
        return client_options(said | times, environment={})
    except ValueError as error:
        return error


def _normal(options: ClientOptions) -> str:
    from status_grpc.client.options import normal_server

    return normal_server(options.server)


def _deliver(folder: Path, server: str, options: ClientOptions | ValueError) -> _Outcome:
    from status_grpc.client.reporting.spool_delivery import SpoolDelivery

    spool = _spool(folder, server)
    if isinstance(options, ValueError):
        remaining = sum(waiting.events for waiting in spool.waiting() if waiting.server == server)
        return _Outcome(server, remaining=remaining, reason=f"{options}.")
    found = SpoolDelivery(spool, options).run()
    return _Outcome(server, found.delivered, found.lost, found.remaining, found.in_use, _reason(found, options, server))


def _reason(found: SpoolOutcome, options: ClientOptions, server: str) -> str:
    return "" if found.error is None else failure(found.error, server, uses_tls=options.uses_tls).sentence


def _tell_of_others(folder: Path, server: str) -> None:
    others = [found for found in _sums(folder) if found.server != server]
    if others:
        names = ", ".join(found.server for found in others)
        write(printable(f"{_remain(sum(found.events for found in others))} for other servers ({names}); see --all."))
