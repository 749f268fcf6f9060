"""W9: several writing processes on one PostgreSQL, with a millisecond added to each round trip.

That is what a network between them costs. Where every commit must touch a row that all share, it decides the pace of
all writers together; where there is none, each has a pace of its own. A writer here is the service's own store, which
makes one commit of 16 events after another, to traces of its own.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import asyncpg

from benchmarks.bench import Bench, NotDoneError, Pair, Row, Sample
from benchmarks.databases import POSTGRESQL, ask
from benchmarks.processes import Line, Worker
from benchmarks.seed import trace_id
from status_grpc.domain.decisions import AppendEvent, Command, CreateTrace
from status_grpc.domain.events import EventDraft
from status_grpc.storage.dialects import open_database
from status_grpc.storage.store import Store

NAME = "W9"
TITLE = "writing processes"
WRITERS = 8
EVENTS = 16
ROUND_TRIP = 0.001
READY = "connected"


def run(bench: Bench) -> Iterator[Row]:
    with ExitStack() as stack:
        url = stack.enter_context(bench.engines.database(POSTGRESQL))
        workers = [stack.enter_context(Worker()) for _ in range(WRITERS)]
        seconds = bench.settings.seconds * 2

        def once(count: int) -> Sample:
            before = ask(url, "SELECT count(*) FROM trace_events")
            for number, worker in enumerate(workers[:count]):
                worker.start(write, url, number, seconds)
            for worker in workers[:count]:
                worker.hear(READY)
            rates = [worker.result() for worker in workers[:count]]
            written = ask(url, "SELECT count(*) FROM trace_events") - before
            if written != sum(events for events, _ in rates):
                raise NotDoneError(f"{sum(events for events, _ in rates)} events were written, {written} are there")
            return Sample(sum(events / took for events, took in rates))

        once(WRITERS)
        pairs = [Pair(many, one) for one, many in ((once(1), once(WRITERS)) for _ in range(bench.settings.repetitions))]
        what = f"events, {WRITERS} writing processes, 1 ms per round trip"
        yield Row(NAME, what, "/s", pairs, "one process", bar=4.0, note=f"commits of {EVENTS} events, aim 6")


async def write(line: Line, url: str, writer: int, seconds: float) -> tuple[int, float]:
    """Run in a worker: commit for so long; how many events, and in how many seconds."""
    database = open_database(url)
    await database.open()
    store = Store(database, events_per_trace=10**9)
    trace = f"{trace_id(writer)}-{time.time_ns()}"
    await store.commit([CreateTrace(trace, "first", _event(), "")])
    line.tell(READY)
    with _network():
        events, began = 1, time.monotonic()
        while time.monotonic() - began < seconds:
            commands: list[Command] = [AppendEvent(trace, f"{events + n}", _event(), "") for n in range(EVENTS)]
            await store.commit(commands)
            events += EVENTS
        took = time.monotonic() - began
    await database.close()
    return events, took


def _event() -> EventDraft:
    return EventDraft(domain="dataset", domain_id="benchmark/1", component="s3-writer", meta={"region": "eu-west-1"})


class _network:  # noqa: N801 - used as a function
    """Makes every call of the driver, which is a round trip, a millisecond longer."""

    def __enter__(self) -> None:
        self._execute, self._fetch = asyncpg.Connection.execute, asyncpg.Connection.fetch

        def delayed(call: Any) -> Any:
            async def delay(*args: Any, **kwargs: Any) -> Any:
                await asyncio.sleep(ROUND_TRIP)
                return await call(*args, **kwargs)

            return delay

        asyncpg.Connection.execute, asyncpg.Connection.fetch = delayed(self._execute), delayed(self._fetch)

    def __exit__(self, *_: object) -> None:
        asyncpg.Connection.execute, asyncpg.Connection.fetch = self._execute, self._fetch
