"""What a server logs names the trace it is about, and holds nothing of what people report, nor any password."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import httpx
import pytest
import sqlalchemy as sa
from calls import Code, Stub, first_event, get, new_trace, next_event, refusal, unique, update
from server_process import Server
from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1 import trace_pb2

Connect = Callable[..., Stub]

SECRET = "a-thing-that-nobody-else-may-read"
ERROR = trace_pb2.ErrorDetail(message={"en": SECRET})
CONTENTS: dict[str, Any] = {
    "operation": SECRET,
    "meta": {SECRET: SECRET},
    "status_body": {SECRET: SECRET},
    "errors": [ERROR],
    "exception": {"type": SECRET, "message": SECRET, "traceback": SECRET},
    "user": SECRET,
    "s3_path": SECRET,
}


def lines(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.splitlines()]


async def refuse_events(server: Server) -> None:
    """Let the database refuse every event for a reason that nobody foresees."""
    if server.database_url.startswith("sqlite"):
        with sqlite3.connect(server.database) as connection:
            connection.execute(
                "CREATE TRIGGER refuse BEFORE INSERT ON trace_events BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )
        connection.close()
        return
    url = sa.make_url(server.database_url).set(drivername="postgresql")
    connection = await asyncpg.connect(url.render_as_string(hide_password=False))
    await connection.execute("ALTER TABLE trace_events ADD CHECK (component <> 'refused')")
    await connection.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, new_server: Callable[..., Server], tmp_path: Path) -> Any:
    if request.param == "sqlite":
        yield new_server("--log-level", "debug")
        return
    server = Server(tmp_path, "--log-level", "debug", database_url=request.getfixturevalue("postgresql_url")).start()
    yield server
    server.kill()


async def test_refused_and_failed_calls_are_logged_with_their_trace_and_without_what_they_report(
    server: Server, connect: Connect
) -> None:
    stub = connect(server)
    trace_id, unknown = await new_trace(stub, **CONTENTS), unique("nothing")
    await refusal(update(stub, unknown, **CONTENTS), Code.NOT_FOUND)
    await refusal(update(stub, trace_id, **CONTENTS, attempt=-1), Code.INVALID_ARGUMENT)
    await refuse_events(server)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await update(stub, trace_id, **CONTENTS | {"component": "refused"})
    item = pb.UpdateRequest(event=next_event(trace_id, **CONTENTS | {"component": "refused"}))
    await stub.BatchUpdate(pb.BatchUpdateRequest(requests=[item, item]))
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.Create(pb.CreateRequest(event=first_event(**CONTENTS | {"component": "refused"})))

    failed = [line for line in lines(server) if line["event"] == "call failed"]
    assert [(line["code"], line.get("trace_id")) for line in failed[:3]] == [
        ("NOT_FOUND", unknown),
        ("INVALID_ARGUMENT", trace_id),
        ("INTERNAL", trace_id),
    ]
    assert raised.value.code() is Code.INTERNAL
    incidents = [line for line in lines(server) if "exception" in line]
    assert incidents[0]["trace_id"] == trace_id
    assert len(incidents) >= 3
    assert SECRET not in server.log
    password = sa.make_url(server.database_url).password
    assert password is None or str(password) not in server.log


async def test_requests_over_http_are_logged_with_their_trace(new_server: Callable[..., Server]) -> None:
    server = new_server("--http", "127.0.0.1:0")
    old, connect = unique("nothing"), unique("nothing")

    def ask() -> list[int]:
        with httpx.Client(base_url=server.http) as http:
            call = http.post("/tracestatus.v1.StatusService/GetTrace", json={"traceId": connect})
            return [http.get(f"/status/{old}").status_code, call.status_code]

    assert await asyncio.to_thread(ask) == [404, 404]

    failed = [(line["reason"], line["trace_id"]) for line in lines(server) if line["event"] == "call failed"]
    assert failed == [("TRACE_NOT_FOUND", connect), ("TRACE_NOT_FOUND", old)]


async def test_logs_for_people_hold_no_more_than_those_for_programs(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    server = new_server("--log-format", "console")
    stub = connect(server)
    trace_id = await new_trace(stub)
    await refuse_events(server)
    with pytest.raises(grpc.aio.AioRpcError):
        await update(stub, trace_id, **CONTENTS)
    assert "Traceback" in server.log
    assert trace_id in server.log
    assert SECRET not in server.log


async def test_a_stream_that_a_drain_ends_is_no_failed_call(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    server = new_server("--log-level", "debug")
    stub = connect(server)
    trace_id = await new_trace(stub)
    call = stub.StreamTrace(pb.StreamTraceRequest(trace_id=trace_id))
    await call.read()
    server.terminate()

    async def rest() -> None:
        while await call.read() is not grpc.aio.EOF:
            pass

    assert (await refusal(rest(), Code.UNAVAILABLE)).reason == "DRAINING"
    assert server.wait() == 0
    said = lines(server)
    assert [line["streams"] for line in said if line["event"] == "draining"] == [1]
    assert [line["reason"] for line in said if line["event"] == "call ended"] == ["DRAINING"]
    assert "call failed" not in {line["event"] for line in said}


async def test_trace_id_with_escape_sequences_steers_no_terminal(
    new_server: Callable[..., Server], connect: Connect
) -> None:
    server = new_server("--log-format", "console")
    for evil in ("\x1b]0;owned\x07\x1b[2J", "x\n2026-01-01T00:00:00Z [info     ] forged"):
        await refusal(get(connect(server), evil), Code.INVALID_ARGUMENT)
    assert "\\x1b]0;owned\\x07\\x1b[2J" in server.log
    assert "\x1b" not in server.log
    assert not any(line.startswith("2026-01-01") for line in server.log.splitlines())
