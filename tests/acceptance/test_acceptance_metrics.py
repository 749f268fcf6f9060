"""What a server tells Prometheus is what happened: asked over HTTP, of a real server."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from calls import ENDED_OK, Code, Stub, create, get, new_trace, refusal, unique, update
from certificates import Certificates
from followers import PATIENCE, Following, follow
from google.protobuf.message_factory import GetMessageClass
from ports import free_ports
from server_process import Server
from tracestatus.v1 import status_service_pb2 as pb

Connect = Callable[..., Stub]


class Scrape:
    """The metrics of one moment."""

    def __init__(self, server: Server, address: str = "") -> None:
        addresses = [line["address"] for line in json_lines(server) if line["event"] == "serving metrics"]
        with urllib.request.urlopen(f"http://{address or addresses[-1]}/metrics", timeout=PATIENCE) as answer:
            lines = answer.read().decode().splitlines()
        samples = (re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line) for line in lines if not line.startswith("#"))
        self._samples = [
            (sample[1], dict(re.findall(r'(\w+)="([^"]*)"', sample[2] or "")), float(sample[3]))
            for sample in samples
            if sample
        ]

    def value(self, name: str, **labels: str) -> float:
        """Return the value of the one metric that has these labels."""
        (found,) = [value for known, had, value in self._samples if known == name and labels.items() <= had.items()]
        return found

    def calls(self, method: str, code: str) -> float:
        """Return how many calls of the method ended so."""
        return self.value("grpc_server_handled_total", grpc_method=method, grpc_code=code)


def json_lines(server: Server) -> list[dict[str, object]]:
    return [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]


async def until(server: Server, holds: Callable[[Scrape], bool]) -> Scrape:
    """Return the first scrape of which it holds."""
    async with asyncio.timeout(PATIENCE):
        while not holds(scrape := await asyncio.to_thread(Scrape, server)):
            await asyncio.sleep(0.02)
    return scrape


@pytest.fixture
def server(new_server: Callable[..., Server]) -> Server:
    return new_server("--metrics", "127.0.0.1:0", "--poll-seconds", "0.2")


async def test_calls_are_counted_by_method_and_by_how_they_ended(server: Server, connect: Connect) -> None:
    stub = connect(server)
    trace_id = await new_trace(stub)
    for _ in range(3):
        await update(stub, trace_id)
    await refusal(get(stub, unique("nothing")), Code.NOT_FOUND)
    await refusal(update(stub, trace_id, component=""), Code.INVALID_ARGUMENT)
    with pytest.raises(grpc.aio.AioRpcError):
        async for _ in stub.StreamTrace(pb.StreamTraceRequest(trace_id=trace_id), timeout=1):
            pass
    cancelled = Following(stub, trace_id=trace_id)
    await cancelled.caught_up()
    cancelled.leave()

    scrape = await until(
        server,
        lambda scrape: [scrape.calls("StreamTrace", code) for code in ("CANCELLED", "DEADLINE_EXCEEDED")] == [1, 1],
    )

    assert scrape.calls("Create", "OK") == 1
    assert scrape.calls("Update", "OK") == 3
    assert scrape.calls("GetTrace", "NOT_FOUND") == 1
    assert scrape.calls("Update", "INVALID_ARGUMENT") == 1
    assert scrape.calls("Update", "UNKNOWN") == 0
    assert scrape.value("grpc_server_started_total", grpc_method="Update") == 4
    assert scrape.value("grpc_server_handling_seconds_count", grpc_method="Update") == 4


async def test_every_method_of_the_service_is_counted(server: Server, connect: Connect) -> None:
    stub = connect(server)
    service = pb.DESCRIPTOR.services_by_name["StatusService"]
    for method in service.methods:
        call = getattr(stub, method.name)(GetMessageClass(method.input_type)())
        code = Code.OK
        try:
            await (call.read() if method.server_streaming else call)
        except grpc.aio.AioRpcError as error:
            code = error.code()
        # Counted a moment after it was answered.
        await until(server, lambda scrape, ended=(method.name, code.name): scrape.calls(*ended) == 1)


async def test_transactions_and_what_they_stored_are_counted(server: Server, connect: Connect) -> None:
    stub = connect(server)
    trace_id = await new_trace(stub)
    await asyncio.gather(*[update(stub, trace_id) for _ in range(50)])
    for _ in range(3):
        await create(stub, trace_id=unique("other"), trace_event_id="given")
    repeated = unique("repeated")
    for _ in range(4):
        await create(stub, trace_id=repeated, trace_event_id="given")

    scrape = await asyncio.to_thread(Scrape, server)

    assert scrape.value("status_grpc_events_recorded_total") == 55
    assert scrape.value("status_grpc_events_repeated_total") == 3
    assert scrape.value("status_grpc_commit_writes_sum") == 58
    assert 8 <= scrape.value("status_grpc_commit_writes_count") < 58, "writes that arrive together share transactions"
    assert scrape.value("status_grpc_commit_seconds_count") == scrape.value("status_grpc_commit_writes_count")
    assert scrape.value("status_grpc_commit_failures_total") == 0
    assert scrape.value("status_grpc_queue_writes") == 0


async def test_followers_and_how_far_they_are_behind_are_seen(server: Server, connect: Connect) -> None:
    stub = connect(server)
    trace_id = await new_trace(stub)
    reading = Following(stub, trace_id=trace_id)
    # Without this the client's window grows to megabytes, and it would be a while before it stops reading.
    stalled = Following(connect(server, ("grpc.http2.bdp_probe", 0)), trace_id=trace_id)
    for following in (reading, stalled):
        await following.caught_up()
    end = asyncio.create_task(reading.to_the_end())
    for _ in range(60):
        await update(stub, trace_id, exception={"traceback": "x" * 15_000}, s3_path="y" * 500)

    def is_behind(scrape: Scrape) -> bool:
        return scrape.value("status_grpc_followers_behind") == 1 and scrape.value("status_grpc_follower_lag_events") > 5

    scrape = await until(server, is_behind)

    assert scrape.value("status_grpc_followers") == 2
    await update(stub, trace_id, **ENDED_OK)
    await end
    await stalled.to_the_end()
    scrape = await until(server, lambda scrape: scrape.value("status_grpc_followers") == 0)
    assert scrape.value("status_grpc_follower_lag_events") == 0


async def test_what_another_server_writes_is_seen_to_have_come_by_a_hint(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    server = new_server("--metrics", "127.0.0.1:0", "--poll-seconds", "30")
    other = Server(server.folder).start()
    try:
        trace_id = await new_trace(connect(other))
        following = Following(connect(server), trace_id=trace_id)
        await following.caught_up()
        assert (await asyncio.to_thread(Scrape, server)).value("status_grpc_followed_traces") == 1
        await update(connect(other), trace_id, **ENDED_OK)
        await following.to_the_end()
    finally:
        other.kill()

    scrape = await asyncio.to_thread(Scrape, server)

    assert scrape.value("status_grpc_feed_changes_total", cause="hint") == 1
    assert scrape.value("status_grpc_feed_changes_total", cause="poll") == 0
    assert scrape.value("status_grpc_feed_reads_total", cause="hint") >= 1
    assert scrape.value("status_grpc_ready") == 1


async def test_http_requests_are_counted_by_route(new_server: Callable[..., Server]) -> None:
    server = new_server("--metrics", "127.0.0.1:0", "--http", "127.0.0.1:0")

    def get(path: str) -> int:
        try:
            with urllib.request.urlopen(server.http + path, timeout=PATIENCE) as answer:
                status: int = answer.status
                return status
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    statuses = [await asyncio.to_thread(get, path) for path in ("/status/one", "/status/two", "/nothing", "/readyz")]

    assert statuses == [404, 404, 404, 200]
    scrape = await asyncio.to_thread(Scrape, server)
    requests = "status_grpc_http_requests_total"
    assert scrape.value(requests, route="/status/{trace_id:path}", method="GET", status="404") == 2
    assert scrape.value(requests, route="other", status="404") == 1
    assert scrape.value("status_grpc_http_request_seconds_count", route="/readyz") == 1


async def test_each_worker_counts_what_it_has_served_on_a_port_of_its_own(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    port = free_ports(2)
    server = new_server("--workers", "2", "--metrics", f"127.0.0.1:{port}")
    calls = 0
    addresses = [f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}"]
    counts = [0.0, 0.0]
    while not all(counts):  # until each has been given a connection
        await new_trace(connect(server, ("grpc.primary_user_agent", unique("one"))))
        calls += 1
        scrapes = [await asyncio.to_thread(Scrape, server, address) for address in addresses]
        counts = [scrape.calls("Create", "OK") for scrape in scrapes]
    assert sum(counts) == calls
    assert sum(scrape.value("status_grpc_events_recorded_total") for scrape in scrapes) == calls


async def test_with_tls_metrics_are_for_those_who_may_call(new_server: Callable[..., Server], tmp_path: Path) -> None:
    certificates = Certificates(tmp_path / "certificates")
    server = new_server("--metrics", "127.0.0.1:0", *certificates.server_flags(asks_clients=True))
    (address,) = [line["address"] for line in json_lines(server) if line["event"] == "serving metrics"]
    tls = ssl.create_default_context(cafile=certificates.authority)

    def scrape() -> str:
        with urllib.request.urlopen(f"https://{address}/metrics", timeout=PATIENCE, context=tls) as answer:
            text: str = answer.read().decode()
            return text

    with pytest.raises(OSError):  # of TLS, or of the connection that the server has closed
        await asyncio.to_thread(scrape)
    tls.load_cert_chain(*certificates.client)
    assert "status_grpc_ready 1.0" in await asyncio.to_thread(scrape)


async def test_a_server_that_is_not_told_to_has_no_port_for_metrics(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    server = new_server()
    assert (await follow(connect(server), trace_id=await new_trace(connect(server), **ENDED_OK))).sequences == [1]
    assert "metrics" not in server.log
