"""A pipeline service that uses everything typed: mypy --strict must accept it (test_client_installed.py)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from typing import Any, assert_type

from tracestatus.v1 import status_service_pb2, trace_pb2

from status_grpc import (
    AsyncStatusClient,
    Checkpoint,
    EventDraft,
    InvalidArgument,
    StatusClient,
    Trace,
    TraceEvent,
    TraceEventStatus,
    TraceHistory,
    TraceStatus,
    UpdateResult,
    configure,
    flush,
    status_add,
    status_step,
    status_wrapper,
    trace,
)
from status_grpc.compat.okdata import Status


@status_wrapper
def bare(number: int) -> str:
    return str(number)


@status_wrapper(component="service", on_exception="continue", meta={"git_rev": "abc"})
async def coroutine(number: int) -> float:
    status_add(status_body={"number": number})
    return number / 2


@status_wrapper(report_start=True, flush="background")
def items(count: int) -> Iterator[int]:
    yield from range(count)


@status_wrapper(on_error="raise")
async def async_items(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


class Service:
    @status_wrapper(operation="handle")
    def handle(self, event: dict[str, Any], context: object) -> bool:
        return bool(event) and context is not None


def synchronous() -> None:
    configure(server="127.0.0.1:50051", component="service", token=lambda: "secret")
    assert_type(bare(1), str)
    assert_type(items(3), Iterator[int])
    assert_type(Service().handle({}, None), bool)
    with trace("dataset", "x/1") as t, status_step("one", trace_id=t.trace_id) as step:
        step.report(status_body={"percent": 1})
    assert_type(flush(), bool)
    with StatusClient(timeout=1) as client:
        written = client.create(domain="d", domain_id="x", component="c", start_time=datetime.now().astimezone())
        assert_type(written.trace, Trace)
        assert_type(written.event.duration, timedelta | None)
        client.update(EventDraft(trace_id="t"), component="c", trace_status=TraceStatus.CONTINUE)
        assert_type(client.batch_update([EventDraft()]), list[UpdateResult])
        assert_type(client.get_trace("t"), TraceHistory)
        assert_type(client.list_traces(outcome=TraceEventStatus.FAILED), Iterator[Trace])
        with client.follow("t", on_checkpoint=show) as events:
            for event in events:
                assert_type(event, TraceEvent)
        assert_type(events.finished_trace, Trace)
        answer = client.stub.GetTrace(status_service_pb2.GetTraceRequest(trace_id="t"))
        assert_type(answer.trace, trace_pb2.Trace)
    try:
        client.wait("t")
    except InvalidArgument as error:
        assert_type(error.fields, dict[str, str])
    Status("t").add(trace_status=TraceStatus.FINISHED)


def show(checkpoint: Checkpoint) -> None:
    print(checkpoint.server_time.isoformat())


async def asynchronous() -> None:
    assert_type(await coroutine(1), float)
    async for number in async_items(2):
        assert_type(number, int)
    async with AsyncStatusClient() as client, trace("d", "x"):
        async with status_step("two"):
            assert_type((await client.wait("t")).done, bool)
        async for found in client.list_traces():
            assert_type(found, Trace)
        async with client.follow(s3_path="p", new_only=True) as events:
            assert_type(await events.start(), Checkpoint)
            async for event in events:
                assert_type(event, TraceEvent)


if __name__ == "__main__":
    synchronous()
    asyncio.run(asynchronous())
