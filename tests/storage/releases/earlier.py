"""What an earlier release does with a database. It runs with that release's own code, from its archive in this folder.

It reads one command after another from standard input, and answers each with a line of JSON. Only what every release
has is used here.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from status_grpc.domain.decisions import AppendEvent, CreateTrace
from status_grpc.domain.events import (
    Dataset,
    ErrorDetail,
    EventDraft,
    ExceptionDetail,
    TraceEventStatus,
    TraceStatus,
)
from status_grpc.storage import dialects
from status_grpc.storage.store import Store
from status_grpc.storage.tables import SCHEMA_REVISION

TIME = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
FULL: dict[str, Any] = {
    "start_time": TIME,
    "end_time": TIME + timedelta(seconds=1),
    "trace_status": TraceStatus.CONTINUE,
    "trace_event_status": TraceEventStatus.FAILED,
    "user": "kari",
    "operation": "validate",
    "status_body": {"rows": 2**60, "share": 0.1, "nested": [{"æ": None}], "files_written": ["s3://bucket/b"]},
    "meta": {"git_rev": "abc"},
    "s3_path": "raw/green/x.csv",
    "duration": timedelta(microseconds=1234567),
    "exception": ExceptionDetail("ValueError", "no price", "Traceback ..."),
    "errors": (ErrorDetail({"nb": "Ingen pris", "en": "No price"}, {"row": 3}),),
    "inputs": (Dataset("s3://bucket/a", "7"),),
    "outputs": (Dataset("s3://bucket/b"),),
    "step_id": "step",
    "attempt": 2,
}


def draft(trace_id: str, event_id: str, **fields: Any) -> EventDraft:
    given = {"domain": "dataset", "domain_id": "cycling/1", "component": "c"} | fields
    return EventDraft(trace_id=trace_id, trace_event_id=event_id, **given)


async def create(store: Store, trace_id: str) -> list[str]:
    """Start a trace."""
    event = draft(trace_id, "one", s3_path="raw/green/x.csv")
    return [type(each).__name__ for each in await store.commit([CreateTrace(trace_id, "one", event, "hash-one")])]


async def append(store: Store, trace_id: str, event_id: str) -> list[str]:
    """Append an event that says everything there is to say."""
    event = draft(trace_id, event_id, **FULL)
    return [type(each).__name__ for each in await store.commit([AppendEvent(trace_id, event_id, event, event_id)])]


async def read(store: Store, trace_id: str) -> list[dict[str, Any]]:
    """Return the events of a trace."""
    found = await store.get_trace_and_events(trace_id, after=0, count=1000, most_bytes=1 << 20)
    assert found is not None
    by_path = await store.find_by_path("raw/green/x.csv", domain="", domain_id="", count=100)
    assert trace_id in by_path
    return [json.loads(json.dumps(dataclasses.asdict(event), default=str)) for event in found[1]]


async def main(url: str) -> None:
    database = dialects.open_database(url)
    await database.open()
    store = Store(database, events_per_trace=1000)
    calls: dict[str, Any] = {"create": create, "append": append, "read": read}
    print(json.dumps(SCHEMA_REVISION), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, *arguments = json.loads(line)
        print(json.dumps(await calls[name](store, *arguments)), flush=True)
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
