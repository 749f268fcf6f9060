"""What a client takes from a hostile server is bounded.

The bounds are those of docs/client.md.
"""

from __future__ import annotations

import resource
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from typing import Any

import grpc
import pytest
from between import Between, Misdeed, between, says
from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1.status_service_pb2_grpc import StatusServiceServicer, add_StatusServiceServicer_to_server

from status_grpc import (
    AsyncStatusClient,
    DeadlineExceeded,
    Internal,
    LineageDirection,
    ResourceExhausted,
    StatusClient,
    StatusError,
    Unavailable,
)
from status_grpc.client.http_connection import HttpConnection
from status_grpc.client.operations import Send
from status_grpc.client.options import client_options
from status_grpc.client.reporting.once import warn_once

#: Seconds within which something ends that has half a second: the watchdog looks once a second.
SOON = 10.0
GET = Send("GetTrace", pb.GetTraceRequest(trace_id="x"), 0.5)


class Hostile(StatusServiceServicer):
    """Answers whatever a test says."""

    answer: Any = None

    def StreamTrace(self, _request: Any, context: Any) -> Iterator[pb.StreamTraceResponse]:
        while context.is_active():
            yield pb.StreamTraceResponse(checkpoint=pb.Checkpoint(trace_id="x"))

    def _answer(self, _request: Any, _context: Any) -> Any:
        return self.answer

    GetTrace = ListTraces = GetLineage = _answer


@pytest.fixture
def hostile() -> Iterator[tuple[Hostile, str]]:
    service = Hostile()
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_send_message_length", -1)])
    add_StatusServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield service, f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def proxy() -> Iterator[Between]:
    with between("127.0.0.1:1") as server:
        yield server


def endless(data: bytes, pause: float = 0.0) -> Misdeed:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        try:
            while True:
                handler.wfile.write(data)
                time.sleep(pause)
        except OSError:
            pass

    return answer


def after(head: bytes, data: bytes, pause: float = 0.0) -> Misdeed:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head)
        endless(data, pause)(handler)

    return answer


def ends_soon(work: Callable[[], object], kind: type[StatusError]) -> None:
    began = time.monotonic()
    with pytest.raises(kind):
        work()
    assert time.monotonic() - began < SOON


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_endless_checkpoints_end_at_the_timeout_and_take_no_memory(hostile: tuple[Hostile, str]) -> None:
    seen = []
    with StatusClient(hostile[1]) as client:
        follow = client.follow("x", timeout=0.2)
        with pytest.raises(DeadlineExceeded):
            list(follow)
        before = peak_megabytes()
        follow = client.follow("x", timeout=1.0, on_checkpoint=lambda _: seen.append(None))
        ends_soon(lambda: list(follow), DeadlineExceeded)
    assert len(seen) > 100
    assert peak_megabytes() - before < 30


async def test_endless_checkpoints_end_for_coroutines_too(hostile: tuple[Hostile, str]) -> None:
    async with AsyncStatusClient(hostile[1]) as client:
        with pytest.raises(DeadlineExceeded):
            async for _ in client.follow("x", timeout=0.3):
                pass


CHECKPOINT = b'{"checkpoint": {"traceId": "x"}}'
ENVELOPE = struct.pack(">BI", 0, len(CHECKPOINT)) + CHECKPOINT
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: application/connect+json\r\n\r\n"


@pytest.mark.parametrize(
    "misdeed",
    [
        after(STREAM, ENVELOPE),
        after(STREAM + struct.pack(">BI", 0, 1_000_000), b" ", 0.02),
        after(b"HTTP/1.1 200 OK\r\n", b"x", 0.02),
        after(b"HTTP/1.1 503 Away\r\ncontent-length: 99999\r\n\r\n", b"x", 0.02),
    ],
    ids=["checkpoints", "bytes of a message", "bytes of the head", "bytes of an error"],
)
def test_http_stream_that_never_ends_ends_at_the_timeout(proxy: Between, misdeed: Misdeed) -> None:
    proxy.always = misdeed
    with StatusClient(proxy.url) as client:
        ends_soon(lambda: list(client.follow("x", timeout=0.5)), DeadlineExceeded)


OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


@pytest.mark.parametrize(
    ("misdeed", "kind"),
    [
        (after(OK + b"content-length: 9999999\r\n\r\n", b" ", 0.02), DeadlineExceeded),
        (after(OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.02), DeadlineExceeded),
        (after(OK + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"trailer: x\r\n"), DeadlineExceeded),
        (endless(b"HTTP/1.1 100 Continue\r\n\r\n"), DeadlineExceeded),
        (after(OK, b"x-more: more\r\n"), Internal),
        (after(OK, b"x" * 65_536), Internal),
        (after(OK + b"transfer-encoding: chunked\r\n\r\n", b"1" * 65_536), StatusError),
        (after(OK + b"transfer-encoding: chunked\r\n\r\n", b"-5\r\nx\r\n"), StatusError),
    ],
    ids=[
        "body",
        "chunks",
        "trailers",
        "100 Continue",
        "headers",
        "header line",
        "chunk size",
        "negative chunk size",
    ],
)
def test_answer_without_end_ends_with_the_attempt(proxy: Between, misdeed: Misdeed, kind: type[StatusError]) -> None:
    proxy.always = misdeed
    with StatusClient(proxy.url) as client:
        ends_soon(lambda: client._connection.send(GET), kind)


def test_health_that_trickles_ends_with_its_timeout() -> None:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            after(b"HTTP/1.1 200 OK\r\n", b"x", 0.02)(self)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with between("127.0.0.1:1") as server:
        server.RequestHandlerClass = Health
        connection = HttpConnection(client_options({"server": server.url}))
        ends_soon(lambda: connection.is_fine("/healthz", 0.5), DeadlineExceeded)


def test_http_answers_are_bounded_in_bytes_and_values(proxy: Between) -> None:
    calls = Send("GetTrace", pb.GetTraceRequest(trace_id="x"), 60)
    with StatusClient(proxy.url) as client:
        proxy.always = after(OK + b"content-length: 999999999999\r\n\r\n", b" " * 65_536)
        ends_soon(lambda: client._connection.send(calls), Internal)
        proxy.always = says(200, b'{"events": [' + b"{}," * 6_000_000 + b"{}]}", "application/json")
        before = peak_megabytes()
        ends_soon(lambda: client._connection.send(calls), Internal)
        assert peak_megabytes() - before < 150
        proxy.always = after(b"HTTP/1.1 503 Away\r\ncontent-length: 999999999999\r\n\r\n", b"x" * 65_536)
        ends_soon(lambda: client._connection.send(calls), Unavailable)


def test_page_is_no_larger_than_the_service_makes_it(hostile: tuple[Hostile, str]) -> None:
    service, address = hostile
    pages: list[tuple[Any, Callable[[StatusClient], object]]] = [
        (pb.GetTraceResponse(), lambda client: client.get_trace("x")),
        (pb.ListTracesResponse(), lambda client: list(client.list_traces())),
        (pb.GetLineageResponse(), lambda client: client.get_lineage("x", direction=LineageDirection.UPSTREAM)),
    ]
    with StatusClient(address) as client:
        for answer, ask in pages:
            entries = next(f.name for f in answer.DESCRIPTOR.fields if f.message_type and f.name != "trace")
            for _ in range(1_002):
                getattr(answer, entries).add()
            service.answer = answer
            with pytest.raises(Internal, match="entries"):
                ask(client)
            answer.ClearField(entries)
            answer.next_page_token = "the same for ever"
            ends_soon(lambda ask=ask: ask(client), Internal)


def test_grpc_message_larger_than_8_mib_is_refused(hostile: tuple[Hostile, str]) -> None:
    service, address = hostile
    service.answer = pb.GetTraceResponse(next_page_token="x" * (8 * 1024 * 1024 + 1))
    with StatusClient(address) as client:
        ends_soon(lambda: client.get_trace("x"), ResourceExhausted)


def test_warnings_of_the_library_steer_no_terminal(caplog: pytest.LogCaptureFixture) -> None:
    warn_once("hostile", "status-grpc: events wait for the service at %s: %s", "x", "\x1b]0;owned\x07\n\x9b31m")
    assert caplog.messages == ["status-grpc: events wait for the service at x: \\x1b]0;owned\\x07\\x0a\\x9b31m"]
