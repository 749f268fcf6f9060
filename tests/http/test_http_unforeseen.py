"""A defect of the server, over Connect and Server-Sent Events: an id of the log's entry leaves it, and nothing else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, cast

import httpx
import pytest
from connecting import SERVICE, envelope, envelopes
from starlette.applications import Starlette

from status_grpc.domain.errors import HistoryChanged, Unavailable
from status_grpc.domain.limits import Limits
from status_grpc.http.connect import connect_routes
from status_grpc.http.edge import Edge
from status_grpc.http.events import event_routes
from status_grpc.service.following import Checkpoint


class Defective:
    """Calls that fail as nobody foresaw, or as they are told to, `later`: in the middle of a stream."""

    def __init__(self, error: Exception, *, later: bool = False) -> None:
        self._error = error
        self._later = later

    async def create(self, request: Any) -> bytes:
        raise self._error

    def __getattr__(self, name: str) -> Any:
        return self.create

    async def follow(self, request: Any, *, caller: str) -> AsyncIterator[Checkpoint]:
        if self._later:
            yield Checkpoint(trace_id="x", sequence=0, server_time=_NOON)
        raise self._error


_NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECRET = ZeroDivisionError("the password is secret")


def client(calls: Defective) -> httpx.AsyncClient:
    nothing: Any = None
    edge = Edge(
        traces=nothing,
        following=nothing,
        calls=cast(Any, calls),
        requests=nothing,
        limits=Limits(),
        is_ready=lambda: True,
        max_request_bytes=1000,
        request_seconds=60,
        write_timeout_seconds=60,
    )
    routes = [*connect_routes(edge), *event_routes(edge)]
    transport = httpx.ASGITransport(Starlette(routes=routes), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://x")


def assert_only_an_id(text: str) -> None:
    assert "secret" not in text
    assert "ZeroDivision" not in text
    assert re.search(r"the server failed; its log has the cause under [0-9a-f]{12}", text.replace("%20", " ")), text


@pytest.mark.parametrize("kind", ["application/json", "application/grpc-web+json"])
async def test_a_call(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    body = b"{}" if kind == "application/json" else envelope(b"{}")
    async with client(Defective(SECRET)) as http:
        answer = await http.post(f"/{SERVICE.full_name}/Create", content=body, headers={"content-type": kind})
    assert_only_an_id(answer.text.replace("%3B", ";"))
    assert "the password is secret" in capsys.readouterr().out


@pytest.mark.parametrize("later", [False, True])
async def test_a_stream(later: bool) -> None:
    async with client(Defective(SECRET, later=later)) as http:
        answer = await http.post(
            f"/{SERVICE.full_name}/StreamTrace",
            content=envelope(b'{"traceId":"x"}'),
            headers={"content-type": "application/connect+json"},
        )
    *told, (flags, end) = envelopes(answer.content)
    assert len(told) == later
    assert flags & 2
    assert_only_an_id(end.decode())


async def test_server_sent_events_in_the_middle() -> None:
    async with client(Defective(SECRET, later=True)) as http:
        answer = await http.get("/v1/traces/x/events")
    assert answer.status_code == 200
    assert_only_an_id(answer.text)
    async with client(Defective(HistoryChanged("another history"), later=True)) as http:
        answer = await http.get("/v1/traces/x/events")
    # Without an id a browser begins anew, which is what it has to do.
    assert answer.text.endswith('event: failed\nid:\ndata: {"code": "data_loss", "message": "another history"}\n\n')
    async with client(Defective(Unavailable("away"), later=True)) as http:
        answer = await http.get("/v1/traces/x/events")
    assert answer.text.endswith("retry: 1000\n: away\n\n")
