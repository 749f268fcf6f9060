"""With --otel a server sends a span of each call to a collector, and keeps the trace context of its callers."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from calls import ENDED_OK, Code, Stub, all_events, first_event, new_trace, next_event, refusal, unique
from followers import PATIENCE, follow
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2 as otel_pb2
from server_process import Server
from tracestatus.v1 import status_service_pb2 as pb

Connect = Callable[..., Stub]

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CONTEXT = (("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01"), ("tracestate", "vendor=1"))
KEPT = dict(CONTEXT)


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """What an OpenTelemetry collector is to a server."""

    def __init__(self) -> None:
        self.spans: list[otel_pb2.Span] = []
        self.services: set[str] = set()

    async def Export(self, request: Any, context: Any) -> trace_service_pb2.ExportTraceServiceResponse:
        """Take spans."""
        for sent in request.resource_spans:
            self.services |= {a.value.string_value for a in sent.resource.attributes if a.key == "service.name"}
            for scope in sent.scope_spans:
                self.spans += scope.spans
        return trace_service_pb2.ExportTraceServiceResponse()

    async def until(self, count: int) -> list[otel_pb2.Span]:
        """Return the spans once there are so many, in the order of their ends."""
        async with asyncio.timeout(PATIENCE):
            while len(self.spans) < count:
                await asyncio.sleep(0.02)
        return sorted(self.spans, key=lambda span: span.end_time_unix_nano)


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    service = Collector()
    server = grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    yield service
    await server.stop(0)


def attributes(span: otel_pb2.Span) -> dict[str, str]:
    return {attribute.key: attribute.value.string_value for attribute in span.attributes}


async def test_each_call_is_a_span_of_its_callers_trace(
    collector: Collector, new_server: Callable[..., Server], connect: Connect
) -> None:
    server = new_server("--otel")
    stub = connect(server)
    answer = await stub.Create(pb.CreateRequest(event=first_event(**ENDED_OK)), metadata=CONTEXT)
    trace_id = answer.trace.trace_id
    await follow(stub, trace_id=trace_id)
    unknown = unique("nothing")
    await refusal(stub.GetTrace(pb.GetTraceRequest(trace_id=unknown), metadata=CONTEXT), Code.NOT_FOUND)

    created, followed, refused = await collector.until(3)

    assert (created.trace_id.hex(), created.parent_span_id.hex()) == (TRACE_ID, SPAN_ID)
    assert created.name == "tracestatus.v1.StatusService/Create"
    assert created.kind == otel_pb2.Span.SPAN_KIND_SERVER
    assert attributes(created)["rpc.response.status_code"] == "OK"
    assert followed.name == "tracestatus.v1.StatusService/StreamTrace"
    assert attributes(followed)["status_grpc.trace_id"] == trace_id
    assert followed.trace_id.hex() != TRACE_ID
    assert attributes(refused)["rpc.response.status_code"] == "NOT_FOUND"
    assert refused.status.code == otel_pb2.Status.STATUS_CODE_UNSET, "the caller's mistake is not the server's"
    assert collector.services == {"status-grpc"}
    logged = [json.loads(line) for line in server.log.splitlines() if unknown in line]
    assert [(line["trace_id"], line["otel_trace_id"]) for line in logged] == [(unknown, TRACE_ID)]


async def test_a_server_that_stops_sends_what_it_has(
    collector: Collector, new_server: Callable[..., Server], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    server = new_server("--otel")
    await new_trace(connect(server))
    assert await asyncio.to_thread(server.stop) == 0
    assert len(collector.spans) == 1


async def test_the_trace_context_of_callers_is_kept_in_meta_and_never_in_the_place_of_their_own(
    collector: Collector, new_server: Callable[..., Server], connect: Connect
) -> None:
    stub = connect(new_server("--otel"))
    event = first_event(meta={"git_rev": "abc"}, trace_event_id="e1")
    created = await stub.Create(pb.CreateRequest(event=event), metadata=CONTEXT)
    trace_id = created.trace.trace_id
    updates = [
        next_event(trace_id),
        next_event(trace_id, meta={"traceparent": "mine"}),
    ]
    for update in updates:
        await stub.Update(pb.UpdateRequest(event=update), metadata=CONTEXT)
    batch = pb.BatchUpdateRequest(requests=[pb.UpdateRequest(event=next_event(trace_id))])
    await stub.BatchUpdate(batch, metadata=CONTEXT)
    await stub.Update(pb.UpdateRequest(event=next_event(trace_id)), metadata=[("traceparent", "00-none-at-all")])
    await stub.Update(pb.UpdateRequest(event=next_event(trace_id)))

    kept = [dict(event.meta) for event in await all_events(stub, trace_id)]

    assert dict(created.event.meta) == kept[0]
    assert kept == [{"git_rev": "abc", **KEPT}, KEPT, {"traceparent": "mine"}, KEPT, {}, {}]


async def test_requests_over_http_are_spans_and_keep_the_context_too(
    collector: Collector, new_server: Callable[..., Server], connect: Connect
) -> None:
    server = new_server("--otel", "--http", "127.0.0.1:0")
    times = dict.fromkeys(("start_time", "end_time"), "2020-03-02T12:34:23+00:00")
    event = {"domain": "dataset", "domain_id": "d/1", "component": "uploader", "meta": {"a": 1}, **times}
    request = urllib.request.Request(
        f"{server.http}/status",
        json.dumps(event).encode(),
        {"Content-Type": "application/json", "traceparent": CONTEXT[0][1]},
    )

    def post() -> str:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            trace_id: str = json.load(answer)["trace_id"]
            return trace_id

    trace_id = await asyncio.to_thread(post)

    (span,) = await collector.until(1)
    assert span.name == "POST /status"
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE_ID, SPAN_ID)
    assert attributes(span)["http.route"] == "/status"
    (kept,) = await all_events(connect(server), trace_id)
    assert dict(kept.meta) == {"a": 1, "traceparent": CONTEXT[0][1]}


async def test_a_retry_comes_with_another_trace_context_and_is_recognised(
    collector: Collector, new_server: Callable[..., Server], connect: Connect
) -> None:
    stub = connect(new_server("--otel"))
    event = first_event(trace_id=unique("retried"), trace_event_id="e1")
    first = await stub.Create(pb.CreateRequest(event=event), metadata=CONTEXT)
    again = await stub.Create(pb.CreateRequest(event=event), metadata=[("traceparent", f"00-{TRACE_ID}-{'1' * 16}-01")])
    assert again == first
    assert dict(again.event.meta) == KEPT


async def test_a_server_that_is_not_told_to_keeps_events_as_they_came(stub: Stub) -> None:
    created = await stub.Create(pb.CreateRequest(event=first_event()), metadata=CONTEXT)
    assert not created.event.HasField("meta")
