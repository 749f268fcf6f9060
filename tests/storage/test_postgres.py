"""What holds for PostgreSQL alone: writers that meet, waits that have an end, a server that comes and goes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from builders import append, create
from postgres import Cluster
from stores import EVENTS_PER_TRACE, opened, opened_as

from status_grpc.domain.decisions import Command, Decision, Recorded, Replayed
from status_grpc.domain.errors import Unavailable
from status_grpc.storage.dialects import Database, PostgresDatabase, PostgresSettings, open_database
from status_grpc.storage.store import Store

ALL: dict[str, Any] = {"after": 0, "count": 100_000, "most_bytes": 1 << 30}


@pytest.fixture
async def database(postgresql_url: str) -> AsyncIterator[Database]:
    async with opened(postgresql_url) as database:
        yield database


@pytest.fixture
async def store(database: Database) -> Store:
    return Store(database, events_per_trace=EVENTS_PER_TRACE)


@asynccontextmanager
async def another_store(url: str, **settings: Any) -> AsyncIterator[Store]:
    """A store as another process has it."""
    async with opened_as(open_database(url, PostgresSettings(**settings))) as database:
        yield Store(database, events_per_trace=EVENTS_PER_TRACE)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of someone else."""
    connection = await asyncpg.connect(plain(url))
    yield connection
    await connection.close()


def plain(url: str) -> str:
    return sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


async def sequences(store: Store, trace_id: str) -> list[int]:
    found = await store.get_trace_and_events(trace_id, **ALL)
    assert found is not None
    return [event.sequence for event in found[1]]


async def test_writers_of_two_processes_share_traces_without_a_gap_or_a_loss(store: Store, postgresql_url: str) -> None:
    names = ["a", "b", "c"]
    await store.commit([create(name) for name in names])

    async def write(store: Store, names: list[str]) -> list[Decision]:
        decisions: list[Decision] = []
        for _ in range(30):
            decisions += await store.commit([append(name) for name in names])
        return decisions

    async with another_store(postgresql_url) as other:
        both = await asyncio.gather(write(store, names), write(other, names[::-1]))
    assert all(isinstance(decision, Recorded) for decisions in both for decision in decisions)
    for name in names:
        assert await sequences(store, name) == list(range(1, 62))


async def test_the_first_events_of_one_trace_meet_and_one_of_them_is_first(store: Store, postgresql_url: str) -> None:
    async with another_store(postgresql_url) as other:
        for number in range(30):
            same = [create(f"t{number}", "one")]
            decisions = await asyncio.gather(store.commit(same), other.commit(same), other.commit(same))
            kinds = sorted(type(decision).__name__ for (decision,) in decisions)
            assert kinds == ["Recorded", "Replayed", "Replayed"]
            assert await sequences(store, f"t{number}") == [1]


async def test_a_transaction_that_loses_again_and_again_gives_up(
    database: Database, store: Store, postgresql_url: str
) -> None:
    await store.commit([create("a")])
    async with connected(postgresql_url) as connection:
        await connection.execute("""
            CREATE FUNCTION lose() RETURNS trigger AS $$ BEGIN
              PERFORM nextval('tried'); RAISE 'lost' USING ERRCODE = 'serialization_failure';
            END $$ LANGUAGE plpgsql;
            CREATE SEQUENCE tried;
            CREATE TRIGGER lose BEFORE INSERT ON trace_events FOR EACH ROW WHEN (NEW.component = 'loser')
              EXECUTE FUNCTION lose();
        """)
        with pytest.raises(Unavailable):
            await store.commit([append("a", component="loser")])
        assert await connection.fetchval("SELECT last_value FROM tried") == PostgresDatabase.ATTEMPTS
    (decision,) = await store.commit([append("a")])
    assert isinstance(decision, Recorded)
    assert decision.event.sequence == 2


async def test_writers_that_wait_for_each_other_in_a_circle_are_set_apart(
    database: Database, store: Store, postgresql_url: str
) -> None:
    await store.commit([create("a"), create("b")])
    async with connected(postgresql_url) as other:
        await other.execute("BEGIN; SET LOCAL deadlock_timeout = '10s'; UPDATE traces SET run = 1 WHERE trace_id = 'b'")
        committing = asyncio.create_task(store.commit([append("a"), append("b")]))
        while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
        # The store has a and waits for b: it finds the circle first, lets go of a, and tries again.
        await other.execute("UPDATE traces SET run = 1 WHERE trace_id = 'a'; COMMIT")
        assert [type(decision) for decision in await committing] == [Recorded, Recorded]


async def test_a_process_that_freezes_in_its_transaction_does_not_hold_others_up_for_long(
    store: Store, postgresql_url: str
) -> None:
    await store.commit([create("a", "one"), create("b")])
    async with another_store(postgresql_url, lock_seconds=0.5) as frozen:
        held, woken = asyncio.Event(), asyncio.Event()
        database = frozen._database
        assert isinstance(database, PostgresDatabase)
        async with database._writing.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            await driver.execute("BEGIN; SELECT FROM traces WHERE trace_id = 'a' FOR UPDATE")
            held.set()
            # Nothing more comes from it: the server ends it, and the lock with it.
            (decision,) = await asyncio.wait_for(store.commit([append("a", "two")]), 30)
            assert isinstance(decision, Recorded)
            woken.set()
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
                await driver.execute("COMMIT")
            await connection.invalidate()
        (decision,) = await frozen.commit([append("a", "two")])
        assert isinstance(decision, Replayed)
        assert await sequences(frozen, "a") == [1, 2]


async def test_a_row_that_others_keep_is_waited_for_and_then_unavailable(postgresql_url: str) -> None:
    async with another_store(postgresql_url, lock_seconds=0.2) as store, connected(postgresql_url) as other:
        await store.commit([create("a")])
        await other.execute("BEGIN; SELECT FROM traces FOR UPDATE")
        with pytest.raises(Unavailable):
            await store.commit([append("a")])
        await other.execute("COMMIT")
        (decision,) = await store.commit([append("a")])
        assert isinstance(decision, Recorded)


async def test_a_change_of_the_schema_holds_nobody_up_for_long(
    database: Database, store: Store, postgresql_url: str
) -> None:
    await store.commit([create("a"), create("b")])

    def alter(connection: sa.Connection) -> None:
        connection.execute(sa.text("ALTER TABLE traces ADD COLUMN later TEXT"))

    async with connected(postgresql_url) as other:
        await other.execute("BEGIN; SELECT FROM traces WHERE trace_id = 'b' FOR UPDATE")
        altering = asyncio.create_task(database.change_schema(alter))
        while not altering.done():  # it waits for the other, and writes wait behind it, but not for longer than it does
            (decision,) = await store.commit([append("a")])
            assert isinstance(decision, Recorded)
        with pytest.raises(Unavailable):
            await altering
        await other.execute("COMMIT")
    await database.change_schema(alter)
    (decision,) = await store.commit([append("a")])
    assert isinstance(decision, Recorded), "statements that were prepared before are prepared again"


async def test_a_statement_that_takes_too_long_is_unavailable(postgresql_url: str) -> None:
    async with another_store(postgresql_url, statement_seconds=0.2) as store:
        database = store._database
        for run in (database.read, database.write):
            with pytest.raises(Unavailable):
                await run(lambda connection: connection.exec_driver_sql("SELECT pg_sleep(60)").all())
        await store.commit([create("a")])


async def test_numbers_texts_and_times_come_back_exactly(store: Store, postgresql_url: str) -> None:
    body = {
        "large": 2**53 + 1,
        "larger": 10**40,
        "float": 1e22,
        "small": 5e-324,
        "one": 1.0,
        "zero": -0.0,
        "nb": "æøå 🎉",
    }
    time = datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
    late = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    given = {"status_body": body, "start_time": time, "end_time": late, "duration": timedelta(microseconds=1)}
    (recorded,) = await store.commit([create("a", **given)])
    assert isinstance(recorded, Recorded)
    found = await store.get_trace_and_events("a", **ALL)
    assert found is not None
    (event,) = found[1]
    assert event == recorded.event
    assert {name: type(value) for name, value in (event.status_body or {}).items()} == {
        name: type(value) for name, value in body.items()
    }
    async with connected(postgresql_url) as connection:
        row = await connection.fetchrow("SELECT start_time, status_body->>'larger' AS larger FROM trace_events")
        assert tuple(row) == (time, str(10**40)), "and are what they are in SQL"


async def test_connections_that_were_lost_are_not_noticed_by_callers(
    database: Database, store: Store, postgresql_url: str
) -> None:
    await store.commit([create("a")])
    await asyncio.gather(*(store.get_trace("a") for _ in range(5)))
    async with connected(postgresql_url) as other:
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid()"
        )
    await asyncio.gather(*(store.get_trace("a") for _ in range(5)))
    (decision,) = await store.commit([append("a")])
    assert isinstance(decision, Recorded)


@pytest.mark.parametrize("way", [signal.SIGQUIT, signal.SIGINT])
async def test_a_server_that_restarts_under_load_loses_nothing_that_was_acknowledged(
    postgresql_cluster: Cluster, way: signal.Signals
) -> None:
    async with another_store(postgresql_cluster.url.render_as_string(hide_password=False)) as store:
        await store.commit([create(f"t{number}") for number in range(4)])
        acknowledged: list[tuple[str, str]] = []
        stopping = False

        async def write(number: int) -> None:
            for count in range(100_000):
                command = append(f"t{number}", f"e{count}")
                while not await tried(command):
                    await asyncio.sleep(0.01)
                acknowledged.append((command.trace_id, command.trace_event_id))
                if stopping:
                    return

        async def tried(command: Command) -> bool:
            try:
                (decision,) = await store.commit([command])
            except Unavailable:
                return False
            assert isinstance(decision, Recorded | Replayed)
            return True

        async def more() -> None:
            enough = len(acknowledged) + 100
            while len(acknowledged) < enough:
                await asyncio.sleep(0.01)

        writers = [asyncio.create_task(write(number)) for number in range(4)]
        await more()
        for _ in range(3):
            await asyncio.to_thread(postgresql_cluster.stop, way)
            await asyncio.to_thread(postgresql_cluster.start)
            await more()
        stopping = True
        await asyncio.gather(*writers)
        for number in range(4):
            found = await store.get_trace_and_events(f"t{number}", **ALL)
            assert found is not None
            stored = [event.trace_event_id for event in found[1][1:]]
            assert stored == [event_id for trace_id, event_id in acknowledged if trace_id == f"t{number}"]
            assert [event.sequence for event in found[1]] == list(range(1, len(found[1]) + 1))


async def test_a_server_that_is_away_is_unavailable(postgresql_cluster: Cluster) -> None:
    async with another_store(postgresql_cluster.url.render_as_string(hide_password=False)) as store:
        await store.commit([create("a")])
        await asyncio.to_thread(postgresql_cluster.stop)
        for _ in range(2):
            with pytest.raises(Unavailable):
                await store.commit([append("a")])
            with pytest.raises(Unavailable):
                await store.get_trace("a")
        await asyncio.to_thread(postgresql_cluster.start)
        (decision,) = await store.commit([append("a")])
        assert isinstance(decision, Recorded)
