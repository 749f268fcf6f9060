"""`status-grpc serve`: runs the server. Its flags are the server's settings."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from status_grpc.cli.exits import USAGE, CommandFailed, as_sentence

_EXTRA_MISSING = 2
#: The database did not become reachable in time.
_UNAVAILABLE = 1


class _SettingsCommand(click.Command):
    """A command with a flag for every setting; the settings are imported when the command is used."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if not any(parameter.name == "listen" for parameter in self.params):
            self.params[:0] = _flags()
        return super().get_params(ctx)


@click.command(cls=_SettingsCommand)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar="STATUS_GRPC_CONFIG",
    help="TOML file with settings, named like the flags with _ for -.",
)
def serve(config: Path | None, **flags: Any) -> None:
    """Run the server until SIGTERM or SIGINT; then let calls and streams end, and stop.

    Every flag can also be given as an environment variable (--database-url as STATUS_GRPC_DATABASE_URL) or in the TOML
    file. A flag counts before a variable, a variable before the file.

    \b
    Examples:
      status-grpc serve
      status-grpc serve --listen 127.0.0.1:0 --database-url sqlite+aiosqlite:////var/lib/status-grpc/traces.db
      status-grpc serve --listen 0.0.0.0:50051 --tls-cert cert.pem --tls-key key.pem
    """
    # gRPC writes to standard error on its own account; what matters of it is in the sentence that ends the server.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from status_grpc.domain.errors import StatusError
    from status_grpc.server.main import serve as run
    from status_grpc.server.settings import SettingsError, load_settings
    from status_grpc.storage.schema import SchemaMismatch

    given = {name: value for name, value in flags.items() if value not in (None, ())}
    if "limits" in given:
        given["limits"] = _limits(given["limits"])
    try:
        run(load_settings(given, config))
    except (SettingsError, SchemaMismatch, ValueError) as error:
        raise CommandFailed(as_sentence(str(error)), USAGE) from None
    except StatusError as error:
        raise CommandFailed(as_sentence(error.message), _UNAVAILABLE) from None


def _limits(pairs: tuple[str, ...]) -> dict[str, int]:
    limits = {}
    for pair in pairs:
        name, _, number = pair.partition("=")
        try:
            limits[name] = int(number)
        except ValueError:
            raise CommandFailed(f"--limit {pair} is not NAME=NUMBER.", USAGE) from None
    return limits


def _flags() -> list[click.Parameter]:
    try:
        from status_grpc.server.settings import Settings
    except ImportError as error:
        click.echo(
            f"Error: {error.name} is missing: install the server with pip install 'status-grpc[server]'", err=True
        )
        sys.exit(_EXTRA_MISSING)
    return [_flag(name, field) for name, field in Settings.model_fields.items()]


def _flag(name: str, field: Any) -> click.Option:
    text = str(field.description)
    if name == "limits":
        return click.Option(["--limit", "limits"], multiple=True, metavar="NAME=NUMBER", help=text)
    if field.annotation is bool:
        return click.Option([f"--{name.replace('_', '-')}", name], flag_value=True, default=None, type=bool, help=text)
    if field.default is not None:
        text += f"  [default: {field.default}]"
    return click.Option([f"--{name.replace('_', '-')}", name], metavar=_metavar(field.annotation), help=text)


def _metavar(annotation: Any) -> str:
    if annotation in (int, float) or "float" in str(annotation):
        return "NUMBER"
    if "Path" in str(annotation):
        return "FILE"
    if "Literal" in str(annotation):
        return "|".join(annotation.__args__)
    return "TEXT"
