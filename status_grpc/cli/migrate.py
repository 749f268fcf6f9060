"""`status-grpc migrate`: brings a database to the schema of this release."""

from __future__ import annotations

import asyncio

import click

from status_grpc.cli.exits import UNREACHABLE, USAGE, CommandFailed
from status_grpc.cli.output import aside


@click.command()
@click.option(
    "--database-url",
    default="sqlite+aiosqlite:///status-grpc.db",
    envvar="STATUS_GRPC_DATABASE_URL",
    show_default=True,
    show_envvar=True,
    help="SQLAlchemy URL of the database.",
)
def migrate(database_url: str) -> None:
    """Bring a database to the schema of this release. Does nothing when it has it already.

    \b
    Example:
      status-grpc migrate --database-url sqlite+aiosqlite:////var/lib/status-grpc/traces.db
    """
    try:
        from status_grpc.server.logs import configure_logs
        from status_grpc.storage.dialects import open_database
        from status_grpc.storage.schema import SchemaMismatch, upgrade
    except ImportError as error:
        sentence = f"{error.name} is missing: install the server with pip install 'status-grpc[server]'"
        raise CommandFailed(sentence, USAGE) from None
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    from status_grpc.domain.errors import StatusError

    async def run() -> None:
        database = open_database(database_url)
        await database.open()
        try:
            await database.write(upgrade)
        finally:
            await database.close()

    configure_logs("error", "console")
    try:
        asyncio.run(run())
    except (ArgumentError, ValueError, SchemaMismatch) as error:
        raise CommandFailed(f"{error}.", USAGE) from None
    except (StatusError, SQLAlchemyError) as error:
        raise CommandFailed(f"The database cannot be upgraded: {error}.", UNREACHABLE) from None
    aside("The database has the schema of this release.")
