"""The schema: what the migrations make is what the queries are written against."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from stores import opened

from status_grpc.storage import schema
from status_grpc.storage.dialects import Database
from status_grpc.storage.rows import CHANGING_COLUMNS
from status_grpc.storage.schema import (
    SchemaMismatch,
    all_revisions,
    current_revision,
    migrate,
    require_current,
    upgrade,
)
from status_grpc.storage.tables import SCHEMA_REVISION, metadata, schema_revisions, traces


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url) as database:
        yield database


def test_the_code_is_written_for_the_last_revision() -> None:
    scripts = ScriptDirectory(str(Path(schema.__file__).parent / "migrations"))
    assert scripts.get_heads() == [SCHEMA_REVISION]


async def test_the_migrations_make_the_tables_of_the_code(database: Database) -> None:
    def differences(connection: sa.Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, metadata))

    assert await database.write(differences) == []


async def test_the_columns_are_in_the_order_in_which_rows_are_read(database: Database) -> None:
    def columns(connection: sa.Connection) -> dict[str, list[str]]:
        inspector = sa.inspect(connection)
        return {name: [column["name"] for column in inspector.get_columns(name)] for name in metadata.tables}

    assert await database.write(columns) == {
        name: [column.name for column in table.columns] for name, table in metadata.tables.items()
    }
    # What an update leaves out never changes.
    assert [column.name for column in traces.columns if column.name not in CHANGING_COLUMNS] == [
        "bucket",
        "domain",
        "domain_id",
        "user",
        "create_time",
    ]


async def test_an_upgrade_of_what_is_upgraded_changes_nothing(database: Database) -> None:
    assert await database.write(current_revision) == SCHEMA_REVISION
    await database.write(upgrade)
    assert await database.write(current_revision) == SCHEMA_REVISION


async def test_a_database_of_a_later_release_is_refused_with_a_sentence(database: Database) -> None:
    await database.write(
        lambda connection: connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    )
    with pytest.raises(SchemaMismatch, match=r"has schema 9999, made by a later release; .* install the later release"):
        await database.write(upgrade)
    assert await database.write(current_revision) == "9999"


@pytest.mark.parametrize(("oldest", "runs"), [(SCHEMA_REVISION, True), ("9998", False)])
async def test_a_later_schema_is_used_if_it_says_that_this_release_may(
    database: Database, oldest: str, runs: bool
) -> None:
    def applied_by_a_later_release(connection: sa.Connection) -> None:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(
            sa.insert(schema_revisions).from_select(
                ["revision", "oldest_release", "apply_time"],
                sa.select(sa.literal("9999"), sa.literal(oldest), sa.func.max(schema_revisions.c.apply_time)),
            )
        )

    await database.write(applied_by_a_later_release)
    for check in (require_current, upgrade):
        if runs:
            await database.write(check)
        else:
            with pytest.raises(SchemaMismatch, match="install the later release"):
                await database.write(check)
    assert await database.write(current_revision) == "9999"
    with pytest.raises(SchemaMismatch, match="migrate with the later release"):
        await migrate(database)


async def test_an_older_schema_and_none_are_refused_with_a_sentence_that_says_what_to_do(database: Database) -> None:
    await migrate(database, "0002")
    with pytest.raises(SchemaMismatch, match=r"has schema 0002, this release needs .*: run status-grpc migrate first"):
        await database.write(require_current)
    await database.write(metadata.drop_all)
    await database.write(lambda connection: connection.execute(sa.text("DROP TABLE alembic_version")))
    with pytest.raises(SchemaMismatch, match=r"has no schema, .* run status-grpc migrate first"):
        await database.write(require_current)


async def test_a_schema_goes_down_and_up_step_by_step(database: Database) -> None:
    told: list[str] = []
    await migrate(database, "0001", tell=told.append)
    assert await database.read(current_revision) == "0001"
    await migrate(database, tell=told.append)
    assert await database.read(current_revision) == SCHEMA_REVISION
    numbers = [revision.number for revision in all_revisions()]
    assert [re.findall(r"\d{4}", sentence)[0] for sentence in told] == numbers[:0:-1] + numbers[1:]
    await test_the_migrations_make_the_tables_of_the_code(database)
    with pytest.raises(SchemaMismatch, match="there is no schema '77'; this release knows 0001, "):
        await migrate(database, "77")


async def test_every_revision_says_which_releases_run_on_it() -> None:
    numbers = [revision.number for revision in all_revisions()]
    for before, revision in zip(["0001", *numbers], all_revisions(), strict=False):
        assert revision.oldest_release <= before, "the release before has to run on it"


async def test_an_upgrade_that_fails_leaves_no_trace(database: Database) -> None:
    def half(connection: sa.Connection) -> None:
        metadata.drop_all(connection)
        connection.execute(sa.text("DROP TABLE alembic_version"))
        upgrade(connection)
        raise RuntimeError("the power went out")

    with pytest.raises(RuntimeError, match="the power went out"):
        await database.write(half)
    assert await database.write(current_revision) == SCHEMA_REVISION
    await test_the_migrations_make_the_tables_of_the_code(database)
