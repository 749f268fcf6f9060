"""`status-grpc migrate`: brings a database to the schema of this release, or another one, or says where it stands."""

from __future__ import annotations

import asyncio

import click

from status_grpc.cli.exits import FAILED, UNREACHABLE, USAGE, CommandFailed
from status_grpc.cli.output import aside


@click.command()
@click.option(
    "--database-url",
    default="sqlite+aiosqlite:///status-grpc.db",
    envvar="STATUS_GRPC_DATABASE_URL",
    show_default=True,
    show_envvar=True,
    help="SQLAlchemy URL of the database; for PostgreSQL that of a direct connection, not of a pooler.",
)
@click.option(
    "--check", is_flag=True, help="Change nothing; end with 0 if the database has this schema, with 1 if it has not."
)
@click.option(
    "--to",
    metavar="REVISION",
    help="Go up or down to this schema instead of that of this release. Down drops what later schemas have added.",
)
def migrate(database_url: str, check: bool, to: str | None) -> None:
    """Bring a database to the schema of this release. Does nothing when it has it already.

    Servers may run meanwhile, and several may migrate at once.

    \b
    Examples:
      status-grpc migrate --database-url postgresql+asyncpg://status@db.example.com/status
      status-grpc migrate --check
      status-grpc migrate --to 0002
    """
    try:
        from status_grpc.server.logs import configure_logs
        from status_grpc.storage import schema
        from status_grpc.storage.dialects import CannotOpenError, Database, cause_of, open_database
        from status_grpc.storage.tables import SCHEMA_REVISION
    except ImportError as error:
        sentence = f"{error.name} is missing: install the server with pip install 'status-grpc[server]'"
        raise CommandFailed(sentence, USAGE) from None
    from sqlalchemy.exc import SQLAlchemyError

    from status_grpc.domain.errors import Unavailable

    wanted = to or SCHEMA_REVISION

    async def look(database: Database) -> None:
        current = await database.read(schema.current_revision)
        if current == wanted:
            return
        for revision in schema.missing_revisions(current):
            if revision.number <= wanted:
                click.echo(f"missing: {revision.number} {revision.summary}")
        found = f"schema {current}" if current else "no schema"
        raise CommandFailed(f"The database has {found}, not {wanted}.", FAILED)

    async def run() -> None:
        try:
            database = open_database(database_url)
        except ValueError as error:
            raise CommandFailed(f"--database-url {error}.", USAGE) from None
        try:
            await database.open()
            await (look(database) if check else schema.migrate(database, wanted, tell=aside))
        except CannotOpenError as error:
            raise CommandFailed(f"--database-url: {error}.", USAGE) from None
        except (Unavailable, SQLAlchemyError) as error:
            what = "read" if check else "changed"
            raise CommandFailed(
                f"The database cannot be {what}: {database.place}: {cause_of(error)}.", UNREACHABLE
            ) from None
        finally:
            await database.close()

    configure_logs("error", "console")
    try:
        asyncio.run(run())
    except (ValueError, schema.SchemaMismatch) as error:
        raise CommandFailed(f"{error}.", USAGE) from None
    aside("The database has the schema of this release." if to is None else f"The database has schema {to}.")
