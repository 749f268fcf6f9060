"""Log lines of failed calls name the peer and are limited."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from status_grpc.domain.errors import Internal, TraceNotFound
from status_grpc.edge import incidents
from status_grpc.edge.incidents import log_failed, unforeseen
from status_grpc.edge.line_limit import OTHERS, LineLimit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reports() -> list[tuple[str, int]]:
    return []


@pytest.fixture
def limit(clock: Clock, reports: list[tuple[str, int]]) -> LineLimit:
    return LineLimit(lambda *report: reports.append(report), most=3, seconds=10, peers=5, clock=clock)


def test_failed_calls_of_one_peer_are_limited_and_counted(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(incidents, "_limit", LineLimit(incidents._report_left_out, clock=clock))
    with capture_logs() as lines:
        for _ in range(1_000):
            log_failed(TraceNotFound(), "/x/GetTrace", "t", peer="ipv4:192.0.2.1")
        log_failed(TraceNotFound(), "/x/GetTrace", "t", peer="ipv4:192.0.2.2")
        clock.now = 10.0
        log_failed(TraceNotFound(), "/x/GetTrace", None, peer="ipv4:192.0.2.1")
    assert [line["peer"] for line in lines[:21]] == ["ipv4:192.0.2.1"] * 20 + ["ipv4:192.0.2.2"]
    told = {"event": "calls failed, lines left out", "peer": "ipv4:192.0.2.1", "left_out": 980, "log_level": "info"}
    assert lines[21] == told
    assert lines[22]["peer"] == "ipv4:192.0.2.1"
    assert len(lines) == 23


def test_incidents_name_the_peer_and_are_all_logged() -> None:
    with capture_logs() as lines:
        errors = [unforeseen(ValueError(), "/x/Update", trace_id="t", peer="192.0.2.1") for _ in range(50)]
    assert [(line["peer"], line["incident"]) for line in lines] == [("192.0.2.1", error.incident) for error in errors]
    assert all(isinstance(error, Internal) for error in errors)


def test_peers_beyond_the_table_share_one_allowance(
    limit: LineLimit, clock: Clock, reports: list[tuple[str, int]]
) -> None:
    allowed = [limit.allows(f"peer {number}") for number in range(10_000)]
    assert sum(allowed) == 5 + 3
    assert len(limit._windows) == 6
    clock.now = 10.0
    limit.close_windows()
    assert reports == [(OTHERS, 9_992)]
    assert not limit._windows


def test_peer_has_its_lines_again_after_its_time(
    limit: LineLimit, clock: Clock, reports: list[tuple[str, int]]
) -> None:
    assert [limit.allows("a") for _ in range(4)] == [True, True, True, False]
    clock.now = 5.0
    assert [limit.allows("b") for _ in range(4)] == [True, True, True, False]
    clock.now = 10.0
    assert limit.allows("a")
    assert reports == [("a", 1)]
    clock.now = 15.0
    assert limit.allows("b")
    assert reports == [("a", 1), ("b", 1)]


async def test_lines_left_out_are_reported_without_a_further_call() -> None:
    reported = asyncio.Event()
    limit = LineLimit(lambda *_: reported.set(), most=1, seconds=0.05)
    assert [limit.allows("a"), limit.allows("a")] == [True, False]
    await asyncio.wait_for(reported.wait(), 10)
