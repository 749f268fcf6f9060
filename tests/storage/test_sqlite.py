"""What holds for SQLite alone: how its file is treated, and how it fails."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from builders import append, create
from hypothesis import given
from hypothesis.strategies import datetimes, just
from stores import opened

from status_grpc.domain.decisions import Recorded
from status_grpc.domain.errors import Unavailable
from status_grpc.storage.dialects import CannotOpenError, Database, SqliteDatabase, open_database
from status_grpc.storage.schema import upgrade
from status_grpc.storage.store import Store
from status_grpc.storage.tables import metadata


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "traces.db"


@pytest.fixture
async def database(sqlite_url: str) -> AsyncIterator[Database]:
    async with opened(sqlite_url) as database:
        yield database


@pytest.fixture
async def store(database: Database) -> Store:
    return Store(database, events_per_trace=1000)


async def pragma(database: Database, name: str, value: int | None = None) -> Any:
    """Set, if a value is given, and read a PRAGMA of the connection that writes."""
    statement = f"PRAGMA {name}" if value is None else f"PRAGMA {name} = {value}"
    return await database.write(lambda connection: connection.exec_driver_sql(statement).scalar())


def modes(file: Path) -> dict[str, int]:
    """Return the permissions of the database file and its companions."""
    return {found.name: found.stat().st_mode & 0o777 for found in file.parent.iterdir()}


@pytest.fixture(params=[0o000, 0o022, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
async def test_new_database_files_are_private_whatever_the_umask(sqlite_url: str, file: Path) -> None:
    # Not `opened`, which begins with a copy of a file.
    database = open_database(sqlite_url)
    await database.open()
    await database.write(upgrade)
    found = modes(file)
    await database.close()
    assert found == {"traces.db": 0o600, "traces.db-wal": 0o600, "traces.db-shm": 0o600}


async def test_mode_of_an_existing_database_stays(sqlite_url: str, file: Path) -> None:
    file.touch()
    file.chmod(0o640)
    async with opened(sqlite_url) as database:
        await Store(database, events_per_trace=1000).commit([create("a")])
        assert set(modes(file).values()) == {0o640}


async def test_commits_are_synced_to_the_disk(database: Database, store: Store, file: Path) -> None:
    await store.commit([create("a")])
    assert await pragma(database, "journal_mode") == "wal"
    assert await pragma(database, "synchronous") == 2, "FULL: an acknowledged commit survives a loss of power"
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",), "for whoever opens the file"
    connection.close()


async def test_those_who_read_cannot_write(database: Database) -> None:
    with pytest.raises(Unavailable):
        await database.read(lambda connection: connection.exec_driver_sql("DELETE FROM traces"))


async def test_a_few_rows_cannot_be_written_either(database: Database) -> None:
    with pytest.raises(Unavailable):
        await database.read_few(lambda connection: connection.exec_driver_sql("DELETE FROM traces"))


async def test_who_reads_a_few_rows_over_and_over_lets_others_have_their_turn(store: Store) -> None:
    await store.commit([create("a")])
    other = asyncio.create_task(asyncio.sleep(0))
    for _ in range(10):
        await store.get_trace("a")
    assert other.done()


@pytest.mark.parametrize(
    ("events", "body", "count", "by_thread"),
    [(20, "", 1000, 0), (120, "", 1000, 1), (120, "", 100, 0), (20, "x" * 20_000, 100, 1)],
    ids=["few", "many", "a page of many", "large"],
)
async def test_more_than_a_few_rows_are_read_by_a_thread(
    database: Database, store: Store, events: int, body: str, count: int, by_thread: int
) -> None:
    appended = [append("a", f"event-{n}", status_body={"text": body}) for n in range(2, events + 1)]
    await store.commit([create("a", "event-1"), *appended])
    assert isinstance(database, SqliteDatabase)
    readers: list[object] = []
    sa.event.listen(database._reading.sync_engine, "checkout", lambda connection, *_: readers.append(connection))
    found = await store.get_trace_and_events("a", after=0, count=count, most_bytes=1 << 30)
    assert found is not None
    assert len(readers) == by_thread
    assert [event.sequence for event in found[1]] == list(range(1, min(count, events) + 1))


async def test_what_cannot_be_read_at_once_is_read_by_a_thread(database: Database, store: Store) -> None:
    await store.commit([create("a", "one"), append("a", "two")])
    assert isinstance(database, SqliteDatabase)
    elsewhere = sa.create_engine("sqlite://", isolation_level="AUTOCOMMIT")
    database._at_hand = elsewhere.connect()  # a file without these tables stands for one that is locked
    trace = await store.get_trace("a")
    assert trace is not None
    assert trace.last_sequence == 2
    found = await store.get_trace_and_events("a", after=0, count=10, most_bytes=1000)
    assert found is not None
    assert [event.trace_event_id for event in found[1]] == ["one", "two"]
    elsewhere.dispose()


async def test_there_is_no_reader_left_that_keeps_the_log_from_being_emptied(store: Store, file: Path) -> None:
    await store.commit([create("a")])
    for _ in range(50):
        await store.commit([append("a", status_body={"text": "x" * 100_000})])
        for count in (10, 1000):  # in the loop, and by a thread
            await store.get_trace_and_events("a", after=0, count=count, most_bytes=1 << 30)
    connection = sqlite3.connect(file)
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    connection.close()
    assert busy == 0
    assert file.with_name("traces.db-wal").stat().st_size == 0


async def test_partial_indexes_and_rowids_are_those_of_the_code(database: Database, tmp_path: Path, file: Path) -> None:
    of_the_code = sqlite3.connect(tmp_path / "code.db")
    for statement in schema_statements():
        of_the_code.execute(statement)
    migrated = sqlite3.connect(file)
    question = "SELECT name, sql LIKE '%WITHOUT ROWID%', substr(sql, instr(sql, ' WHERE ')) FROM sqlite_master "
    question += "WHERE sql IS NOT NULL AND name <> 'alembic_version' ORDER BY name"
    expected = [row if row[0].startswith("traces_") else row[:2] for row in of_the_code.execute(question)]
    assert [row if row[0].startswith("traces_") else row[:2] for row in migrated.execute(question)] == expected
    of_the_code.close()
    migrated.close()


def schema_statements() -> list[str]:
    """Return the statements that make the tables of the code."""
    statements: list[str] = []
    engine = sa.create_mock_engine("sqlite://", lambda statement, *_: statements.append(str(statement.compile(engine))))
    metadata.create_all(engine, checkfirst=False)
    return statements


async def test_a_copy_of_the_files_as_a_crash_leaves_them_has_all_that_was_acknowledged(
    store: Store, file: Path, tmp_path: Path
) -> None:
    await store.commit([create("a", "one", s3_path="p")])
    await store.commit([append("a", f"e{number}") for number in range(100)])
    (tmp_path / "after").mkdir()
    for name in ("traces.db", "traces.db-wal"):
        shutil.copy(tmp_path / name, tmp_path / "after" / name)
    assert (tmp_path / "traces.db-wal").stat().st_size > 0, "the last commits are in the log alone"
    async with opened(f"sqlite+aiosqlite:///{tmp_path / 'after' / 'traces.db'}") as reopened:
        found = await Store(reopened, events_per_trace=1000).get_trace_and_events(
            "a", after=0, count=1000, most_bytes=1 << 30
        )
    assert found is not None
    assert [event.sequence for event in found[1]] == list(range(1, 102))


async def test_a_full_disk_is_unavailable_and_passes(database: Database, store: Store) -> None:
    body = {"status_body": {"text": "x" * 200_000}}
    await store.commit([create("a", "one")])
    pages = await pragma(database, "page_count")
    await pragma(database, "max_page_count", pages + 20)
    with pytest.raises(Unavailable, match="the database cannot serve this now"):
        await store.commit([append("a", "two"), append("a", "three", **body)])
    trace = await store.get_trace("a")
    assert trace is not None
    assert trace.last_sequence == 1, "all of it or nothing"
    await pragma(database, "max_page_count", 1_000_000)
    decisions = await store.commit([append("a", "two"), append("a", "three", **body)])
    assert [decision.event.sequence for decision in decisions if isinstance(decision, Recorded)] == [2, 3]


async def test_another_process_that_holds_the_file_makes_writes_unavailable_and_not_reads(
    sqlite_url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqliteDatabase, "BUSY_SECONDS", 0.1)
    async with opened(sqlite_url) as database:
        store = Store(database, events_per_trace=1000)
        await store.commit([create("a", "one")])
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable):
            await store.commit([append("a", "two")])
        assert await store.get_trace("a") is not None
        other.execute("COMMIT")
        other.close()
        (decision,) = await store.commit([append("a", "two")])
        assert isinstance(decision, Recorded)


async def test_a_commit_whose_caller_is_cancelled_does_not_hold_up_the_next(store: Store) -> None:
    await store.commit([create("a")])
    for turns in range(12):
        committing = asyncio.create_task(store.commit([append("a")]))
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.sleep(turns * 0.0001)
        committing.cancel()
        await asyncio.gather(committing, return_exceptions=True)
        (decision,) = await asyncio.wait_for(store.commit([append("a")]), 10)
        assert isinstance(decision, Recorded)
    found = await store.get_trace_and_events("a", after=0, count=1000, most_bytes=1 << 30)
    assert found is not None
    assert [event.sequence for event in found[1]] == list(range(1, found[0].last_sequence + 1))


async def test_a_folder_that_is_not_there_is_no_outage(tmp_path: Path) -> None:
    database = open_database(f"sqlite+aiosqlite:///{tmp_path / 'missing' / 'traces.db'}")
    with pytest.raises(CannotOpenError, match="there is no folder"):
        await database.open()
    await database.close()


@pytest.mark.parametrize("url", ["sqlite+aiosqlite://", "sqlite+aiosqlite:///:memory:", "mysql://localhost/x"])
def test_a_database_that_is_not_supported_is_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(ValueError, match=r"sqlite\+aiosqlite:///"):
        open_database(url)


_STARTING = """
import asyncio, sys
from status_grpc.storage.dialects import open_database
from status_grpc.storage.schema import upgrade

async def start(url):
    database = open_database(url)
    await database.open()
    await database.write(upgrade)
    await database.close()

print("ready", flush=True)
for line in sys.stdin:
    asyncio.run(start(line.strip()))
    print("started", flush=True)
"""


def test_servers_that_start_at_once_on_a_new_file_do_not_collide(tmp_path: Path) -> None:
    servers = [
        subprocess.Popen([sys.executable, "-c", _STARTING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]

    def answers() -> list[str]:
        return [server.stdout.readline().strip() for server in servers if server.stdout]

    try:
        assert answers() == ["ready"] * 3
        for number in range(8):
            for server in servers:
                assert server.stdin is not None
                server.stdin.write(f"sqlite+aiosqlite:///{tmp_path / f'{number}.db'}\n")
                server.stdin.flush()
            assert answers() == ["started"] * 3
    finally:
        for server in servers:
            server.kill()
            server.communicate()


_RECOVERING = """
import fcntl, sys, time
with open(sys.argv[1], "r+b") as index:
    # The log's index is in use and not valid, and the locks of who writes and of who recovers are taken:
    # https://www.sqlite.org/walformat.html#wal_locks
    fcntl.lockf(index, fcntl.LOCK_SH, 1, 128)
    fcntl.lockf(index, fcntl.LOCK_EX, 3, 120)
    index.write(bytes(136))
    index.flush()
    print("recovering", flush=True)
    time.sleep(0.5)
"""


async def test_a_server_that_starts_while_another_recovers_the_file_waits_for_it(tmp_path: Path) -> None:
    file = tmp_path / "traces.db"
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("CREATE TABLE kept (value)")
        for suffix in ["", "-wal", "-shm"]:  # as a process leaves them that is killed
            shutil.copy(f"{tmp_path / 'other.db'}{suffix}", f"{file}{suffix}")
    arguments = [sys.executable, "-c", _RECOVERING, f"{file}-shm"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as recovering:
        assert recovering.stdout is not None
        assert recovering.stdout.readline() == "recovering\n"
        with closing(sqlite3.connect(file, timeout=0)) as impatient:
            with pytest.raises(sqlite3.OperationalError) as refused:
                impatient.execute("PRAGMA journal_mode = WAL")
            assert refused.value.sqlite_errorname == "SQLITE_BUSY_RECOVERY"
            database = open_database(f"sqlite+aiosqlite:///{file}")
            await database.open()
            await database.close()


@given(datetimes(timezones=just(UTC)))
def test_times_are_iso_8601_with_microseconds_whatever_they_are(time: datetime) -> None:
    assert SqliteDatabase.codec.time_in(time) == time.isoformat(timespec="microseconds")
