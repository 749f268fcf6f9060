"""What is sent: events like those that real components report, about 300 bytes each, encoded once.

They carry no trace_event_id, since h2load can only repeat one body: the server mints one, which is a write as durable
as any other but one that is not safe to retry, so the look-up of an id that is already there is not measured.
"""

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from tracestatus.v1 import status_service_pb2 as service_pb2
from tracestatus.v1 import status_service_pb2_grpc, trace_pb2

DOMAIN = "dataset"
DATASET = "benchmark-dataset/1"
SERVICE = "/tracestatus.v1.StatusService/"
UPDATE, BATCH_UPDATE, CREATE = (SERVICE + method for method in ("Update", "BatchUpdate", "Create"))
GET_TRACE, GET_BY_PATH, LIST_TRACES, STREAM = (
    SERVICE + method for method in ("GetTrace", "GetByPath", "ListTraces", "StreamTrace")
)

Stub = status_service_pb2_grpc.StatusServiceStub


#: What some steps say in their status_body: a report of 16 KB.
LARGE = {"report": "x" * 16_000}


def event(trace_id: str = "", domain_id: str = DATASET, *, large: bool = False) -> trace_pb2.TraceEvent:
    """An event of about 300 bytes, or one with a status_body of 16 KB."""
    made = trace_pb2.TraceEvent(
        trace_id=trace_id,
        domain=DOMAIN,
        domain_id=domain_id,
        start_time=Timestamp(seconds=1_750_000_000, nanos=123_456_000),
        end_time=Timestamp(seconds=1_750_000_001, nanos=654_321_000),
        user="benchmark",
        component="s3-writer",
        operation="copy",
    )
    made.status_body.update({"files": 12, "bytes": 48_213_377, "format": "parquet", "target": "processed"})
    if large:
        made.status_body.update(LARGE)
    made.meta.update({"git_rev": "5f2c1d0", "git_branch": "main", "region": "eu-west-1"})
    return made


def update(trace_id: str, *, large: bool = False) -> service_pb2.UpdateRequest:
    return service_pb2.UpdateRequest(event=event(trace_id, large=large))


def finish(trace_id: str) -> service_pb2.UpdateRequest:
    request = update(trace_id)
    request.event.trace_status = trace_pb2.TRACE_STATUS_FINISHED
    request.event.trace_event_status = trace_pb2.TRACE_EVENT_STATUS_OK
    return request


def batch(trace_ids: list[str], events: int) -> service_pb2.BatchUpdateRequest:
    """So many events, of each trace in turn."""
    return service_pb2.BatchUpdateRequest(requests=[update(trace_ids[n % len(trace_ids)]) for n in range(events)])


def create(domain_id: str = DATASET) -> service_pb2.CreateRequest:
    """A request that leaves the trace's id to the server."""
    return service_pb2.CreateRequest(event=event(domain_id=domain_id))


def new_traces(stub: Stub, count: int) -> list[str]:
    return [stub.Create(create()).trace.trace_id for _ in range(count)]


def recorded(stub: Stub, trace_ids: list[str]) -> int:
    """How many events the service says these traces have, all together."""
    return sum(
        stub.GetTrace(service_pb2.GetTraceRequest(trace_id=trace_id, page_size=1)).trace.last_sequence
        for trace_id in trace_ids
    )


def count_traces(stub: Stub, domain_id: str) -> int:
    """How many traces the service lists for a domain id."""
    count, request = 0, service_pb2.ListTracesRequest(domain=DOMAIN, domain_id=domain_id, page_size=500)
    while True:
        page = stub.ListTraces(request)
        count += len(page.traces)
        if not page.next_page_token:
            return count
        request.page_token = page.next_page_token


def rehearse(channel: grpc.Channel, path: str, body: bytes) -> bytes:
    """Make a call once with an ordinary client, so that a body the server refuses fails with the server's reason."""
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        path, request_serializer=None, response_deserializer=None
    )
    return call(body, timeout=30)
