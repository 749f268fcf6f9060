"""Fills a database as years of use would, through the service's own way of writing."""

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, datetime

from status_grpc.domain.decisions import AppendEvent, Command, CreateTrace
from status_grpc.domain.events import EventDraft, TraceEventStatus, TraceStatus
from status_grpc.storage.dialects import open_database
from status_grpc.storage.schema import upgrade
from status_grpc.storage.store import Store

EVENTS_PER_TRACE = 10
#: How often a dataset is uploaded: it has as many traces in a small database as in a large one.
TRACES_PER_DATASET = 100
_TRACES_PER_TRANSACTION = 50
_START = datetime(2026, 1, 1, tzinfo=UTC)
_HASH = "0" * 32
STEPS = ("pipeline-router", "csv-validator", "csv-to-parquet", "s3-writer", "catalog")


def trace_id(number: int) -> str:
    return f"benchmark-dataset-{number:09d}"


def path(number: int) -> str:
    return f"raw/green/{domain_id(number)}/edition={number:09d}/test.json"


def domain_id(number: int) -> str:
    return f"benchmark-dataset-{number // TRACES_PER_DATASET}/1"


def seed(url: str, events: int) -> None:
    """Write so many events, ten to a trace; one trace in twenty has failed, one in a hundred is still running."""
    asyncio.run(_seed(url, events // EVENTS_PER_TRACE))


async def _seed(url: str, traces: int) -> None:
    database = open_database(url)
    await database.open()
    await database.write(upgrade)
    store = Store(database, events_per_trace=100_000)
    for first in range(0, traces, _TRACES_PER_TRANSACTION):
        numbers = range(first, min(traces, first + _TRACES_PER_TRANSACTION))
        await store.commit([command for number in numbers for command in _trace(number)])
    await database.close()


def _trace(number: int) -> Iterator[Command]:
    random.seed(number)
    failed, running = number % 20 == 7, number % 100 == 3
    for sequence in range(1, EVENTS_PER_TRACE + 1):
        last = sequence == EVENTS_PER_TRACE and not running
        draft = EventDraft(
            domain="dataset",
            domain_id=domain_id(number),
            start_time=_START,
            end_time=_START,
            trace_status=TraceStatus.FINISHED if last else None,
            trace_event_status=TraceEventStatus.FAILED if last and failed else TraceEventStatus.OK,
            user=f"user-{number % 50}",
            component=STEPS[sequence % len(STEPS)],
            operation="copy",
            s3_path=path(number),
            status_body={"files": 12, "bytes": random.randrange(10**9), "format": "parquet"},
            meta={"git_rev": "5f2c1d0", "region": "eu-west-1"},
            encoded_bytes=300,
        )
        event_id = f"{random.getrandbits(128):032x}"
        if sequence == 1:
            yield CreateTrace(trace_id(number), event_id, draft, _HASH)
        else:
            yield AppendEvent(trace_id(number), event_id, draft, _HASH)
