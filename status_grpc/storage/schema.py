"""Brings a database to the schema that this code was written for, and says whether it can run on the one it finds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
import structlog

from status_grpc.domain.errors import Unavailable
from status_grpc.storage.dialects import Database
from status_grpc.storage.tables import SCHEMA_REVISION, schema_revisions

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import Script

log = structlog.get_logger(__name__)

_MIGRATIONS = Path(__file__).parent / "migrations"

#: How long a migration waits, in seconds, for tables that others use or for another process that migrates.
PATIENCE_SECONDS = 600.0
_PAUSE_SECONDS = 0.5


class SchemaMismatch(Exception):
    """The database has another schema than this release was written for."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One step of the schema."""

    number: str
    #: What it does, in a sentence.
    summary: str
    #: The oldest schema whose releases still run on this one.
    oldest_release: str


def current_revision(connection: sa.Connection) -> str | None:
    """Return the revision of the database's schema; None for an empty database."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return revision


def require_current(connection: sa.Connection) -> None:
    """Raise SchemaMismatch, with a sentence that says what to do, unless this release can run on the schema."""
    current = current_revision(connection)
    if current is None or current < SCHEMA_REVISION:
        found = f"schema {current}" if current else "no schema"
        raise SchemaMismatch(
            f"the database has {found}, this release needs {SCHEMA_REVISION}: run status-grpc migrate first"
        )
    _refuse_incompatible(connection, current)


def upgrade(connection: sa.Connection) -> None:
    """Apply the revisions that are missing, in the connection's transaction.

    Raises SchemaMismatch for a database that a later release has upgraded too far.
    """
    current = current_revision(connection)
    if current is not None and current >= SCHEMA_REVISION:
        _refuse_incompatible(connection, current)
        return
    _make_record(connection)
    _apply(connection, missing_revisions(current))


async def migrate(
    database: Database,
    to: str = SCHEMA_REVISION,
    *,
    patience_seconds: float = PATIENCE_SECONDS,
    tell: Callable[[str], None] = log.info,
) -> None:
    """Bring the schema up, or down, to a revision, each in a transaction of its own; several may do so at once.

    `tell` is given a sentence for each step. Going down drops what later revisions have added. Raises SchemaMismatch
    for a revision that this release does not know, and Unavailable when the database is away or its tables are in use
    for longer than the patience.
    """
    if to not in [revision.number for revision in all_revisions()]:
        raise SchemaMismatch(f"there is no schema {to!r}; this release knows {_names(all_revisions())}")
    patient_until = asyncio.get_running_loop().time() + patience_seconds
    at = None
    while at != to:
        try:
            at = await database.change_schema(lambda connection: _step(connection, to, tell))
        except Unavailable:
            if asyncio.get_running_loop().time() > patient_until:
                raise
            await asyncio.sleep(_PAUSE_SECONDS)


def all_revisions() -> list[Revision]:
    """Return the revisions that this release knows, oldest first."""
    from alembic.script import ScriptDirectory

    scripts = list(ScriptDirectory.from_config(_config()).walk_revisions())
    return [_revision(script) for script in reversed(scripts)]


def missing_revisions(current: str | None) -> list[Revision]:
    """Return the revisions between the database's schema and that of this release, oldest first."""
    return [revision for revision in all_revisions() if revision.number > (current or "")]


def _refuse_incompatible(connection: sa.Connection, current: str) -> None:
    """Raise SchemaMismatch if the schema is a later release's, unless that one has noted that this one may use it."""
    if current <= SCHEMA_REVISION:
        return
    oldest = None
    if sa.inspect(connection).has_table(schema_revisions.name):
        of_current = schema_revisions.c.revision == current
        oldest = connection.scalar(sa.select(schema_revisions.c.oldest_release).where(of_current))
    if oldest is None or oldest > SCHEMA_REVISION:
        raise SchemaMismatch(
            f"the database has schema {current}, made by a later release; this one knows up to {SCHEMA_REVISION}: "
            "install the later release again"
        )


def _step(connection: sa.Connection, to: str, tell: Callable[[str], None]) -> str | None:
    """Go a step towards a revision; return where the database stands then."""
    current = current_revision(connection)
    known = {revision.number: revision for revision in all_revisions()}
    if current is not None and current not in known:
        raise SchemaMismatch(
            f"the database has schema {current}, made by a later release; this one knows up to {SCHEMA_REVISION}: "
            "migrate with the later release"
        )
    if current == to:
        return current
    if not sa.inspect(connection).has_table(schema_revisions.name):
        _make_record(connection)
        return current
    if current is None or current < to:
        following = known[min(number for number in known if number > (current or ""))]
        tell(f"Schema {following.number}: {following.summary}")
        _apply(connection, [following])
        return following.number
    before = max(number for number in known if number < current)
    tell(f"Back from schema {current} to {before}.")
    _undo(connection, current, before)
    return before


def _make_record(connection: sa.Connection) -> None:
    """Make the table that tells which revisions were applied; it is no revision's, since it is there before them."""
    connection.execute(sa.schema.CreateTable(schema_revisions, if_not_exists=True))


def _apply(connection: sa.Connection, revisions: Sequence[Revision]) -> None:
    """Apply revisions. Their rows come first: of two processes that do so at once, one waits there and starts over."""
    from alembic import command

    times = connection.dialect.name == "postgresql"
    now = datetime.now(UTC)
    for revision in revisions:
        row = {
            "revision": revision.number,
            "oldest_release": revision.oldest_release,
            "apply_time": now if times else now.isoformat(timespec="microseconds"),
        }
        connection.execute(sa.insert(schema_revisions), row)
    command.upgrade(_config(connection), revisions[-1].number)


def _undo(connection: sa.Connection, revision: str, before: str) -> None:
    from alembic import command

    connection.execute(sa.delete(schema_revisions).where(schema_revisions.c.revision == revision))
    command.downgrade(_config(connection), before)


def _config(connection: sa.Connection | None = None) -> Config:
    # Imported here, as all of Alembic: it takes a tenth of a second, and a database is upgraded once.
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _revision(script: Script) -> Revision:
    return Revision(script.revision, script.doc, script.module.oldest_release)


def _names(revisions: Sequence[Revision]) -> str:
    return ", ".join(revision.number for revision in revisions)
