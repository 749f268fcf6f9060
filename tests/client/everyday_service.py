"""A program that uses a little of everything, with what `pip install status-grpc` brings and nothing else."""

import asyncio
import os
import sys

import google.protobuf
from tracestatus.v1 import status_service_pb2, trace_pb2

from status_grpc import (
    AsyncStatusClient,
    EventDraft,
    StatusClient,
    TraceNotFound,
    configure,
    flush,
    status_add,
    status_step,
    status_wrapper,
    trace,
)
from status_grpc.compat.okdata import Status, TraceStatus

configure(component="everyday", flush_timeout=60)
BODY = {"rows": 7, "nested": {"list": [1, 2.5, None, True, "æ"]}}


@status_wrapper
def work() -> None:
    status_add(status_body=BODY, inputs=["s3://in"], errors=[{"message": {"nb": "feil"}, "row": 3}])
    raise RuntimeError("it broke")


async def follow(trace_id: str) -> str:
    async with AsyncStatusClient() as client, client.follow(trace_id) as events:
        return " ".join([str(event.trace_event_status) async for event in events])


def report_from_a_child(trace_id: str) -> None:
    if os.fork() == 0:
        with status_step("child", trace_id=trace_id, on_error="raise"):
            pass
        os._exit(0)
    os.wait()


with StatusClient() as client:
    try:
        with trace("d", "everyday/1") as failing:
            work()
    except RuntimeError:
        pass
    flush(60)
    trace_id = client.create(domain="d", domain_id="everyday/2", component="c").trace.trace_id
    (result,) = client.batch_update([EventDraft(trace_id=trace_id, component="c", status_body=BODY)])
    assert result.error is None
    report_from_a_child(trace_id)
    status = Status(trace_id)
    status.add(component="end", trace_status=TraceStatus.FINISHED)
    assert status.done()

    print(google.protobuf.__version__)
    print("OK", client.wait(failing.trace_id, timeout=60).trace_event_status)
    history = client.get_trace(trace_id)
    assert history.events[1].status_body == BODY
    raw = client.stub.GetTrace(status_service_pb2.GetTraceRequest(trace_id=trace_id), timeout=60)
    assert raw.trace.trace_event_status == trace_pb2.TRACE_EVENT_STATUS_OK
    try:
        client.get_trace("nowhere")
    except TraceNotFound as error:
        print(error.reason)
    print(asyncio.run(follow(trace_id)))
    print(history.events[2].operation)
print("no server code" if not {"sqlalchemy", "pydantic", "rich"} & set(sys.modules) else "server code")
