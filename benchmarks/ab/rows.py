"""Rows of the comparison, each of which measures rounds on a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.load import Driver, Job, Outcome
from benchmarks.load.http1 import Posts, post
from benchmarks.load.independent import Arrivals, arrive
from benchmarks.payloads import BATCH_UPDATE, GET_TRACE, SERVICE, UPDATE, batch, new_traces, recorded, update
from benchmarks.processes import Worker
from benchmarks.servers import Server
from benchmarks.workloads.follow import Stage
from benchmarks.workloads.read import read

CONNECTIONS = 8
BATCH, BATCHES_AT_A_TIME = 100, 4
INDEPENDENT_RATE = 1_000.0
FOLLOWERS, BURST_EVENTS, BURST_CONCURRENCY = 1_000, 40, 4


@dataclass(frozen=True)
class Round:
    """What one round on one build came to."""

    #: Higher is better: calls or messages per second; for independent callers one over the median latency.
    throughput: float
    #: Server CPU per call, or per message, in seconds.
    cpu: float
    #: In milliseconds, where it was measured.
    p50: float = float("nan")
    p99: float = float("nan")


Run = Callable[[Server, int], Round]


@dataclass(frozen=True)
class Comparison:
    """A row of the comparison.

    `prepare` fills a server and returns the function that measures one round on it.
    """

    name: str
    unit: str
    prepare: Callable[[Server], Run]


class Generators:
    """The load generators of a run."""

    def __init__(self, stack: ExitStack, driver: Driver, seconds: float) -> None:
        self.driver = driver
        self.seconds = seconds
        self.worker = stack.enter_context(Worker())
        self.stage = Stage(stack)

    def rows(self) -> list[Comparison]:
        """Return all rows."""
        return [
            Comparison("Update, 64 at a time", "calls/s", lambda server: self._updates(server, 64)),
            Comparison("Update, one at a time", "calls/s", lambda server: self._updates(server, 1)),
            Comparison(f"independent Updates, {INDEPENDENT_RATE:.0f}/s", "1/median s", self._independent),
            Comparison(f"BatchUpdate of {BATCH}, {BATCHES_AT_A_TIME} at a time", "events/s", self._batches),
            Comparison(f"burst to {FOLLOWERS:,} followers", "messages/s", self._burst),
            Comparison("GetTrace of 5 events, 8 at a time", "calls/s", lambda server: self._reads(server, 5)),
            Comparison("GetTrace of 500 events, 8 at a time", "calls/s", lambda server: self._reads(server, 500)),
            Comparison("POST /status, 8 at a time", "calls/s", self._creates_by_http),
            Comparison("Connect Update, 8 at a time", "calls/s", self._connect),
        ]

    def _closed_loop(self, server: Server, job: Job, per_call: int = 1) -> Run:
        job = self._sized(job)

        def run(_server: Server, _round: int) -> Round:
            return _measured(server, lambda: self.driver.run(job), per_call)

        return run

    def _sized(self, job: Job) -> Job:
        calls = 8 * job.concurrency
        while True:
            outcome = self.driver.run(job.sized(calls))
            if outcome.seconds >= self.seconds / 4:
                return job.sized(max(job.concurrency, int(outcome.rate * self.seconds)))
            calls *= 4

    def _updates(self, server: Server, concurrency: int) -> Run:
        traces = new_traces(server.stub, min(CONNECTIONS, concurrency))
        bodies = tuple(update(trace).SerializeToString() for trace in traces)
        return _counted(traces, self._closed_loop(server, Job(server.address, UPDATE, bodies, concurrency)))

    def _independent(self, server: Server) -> Run:
        traces = new_traces(server.stub, CONNECTIONS)
        bodies = tuple(update(trace).SerializeToString() for trace in traces)
        calls = int(INDEPENDENT_RATE * self.seconds)

        def run(_server: Server, number: int) -> Round:
            def drive() -> Outcome:
                self.worker.start(arrive, Arrivals(server.address, UPDATE, bodies, INDEPENDENT_RATE, calls, number))
                outcome: Outcome = self.worker.result()
                return outcome

            measured = _measured(server, drive)
            return Round(1000 / measured.p50, measured.cpu, measured.p50, measured.p99)

        return _counted(traces, run)

    def _batches(self, server: Server) -> Run:
        traces = new_traces(server.stub, BATCHES_AT_A_TIME)
        bodies = tuple(batch([trace], BATCH).SerializeToString() for trace in traces)
        job = Job(server.address, BATCH_UPDATE, bodies, BATCHES_AT_A_TIME)
        return _counted(traces, self._closed_loop(server, job, per_call=BATCH))

    def _burst(self, server: Server) -> Run:
        self.stage.round(server, 1, 20, 1, 0)  # warms up

        def run(_server: Server, _round: int) -> Round:
            detail = self.stage.round(server, FOLLOWERS, BURST_EVENTS, BURST_CONCURRENCY, 0).detail
            wrong = sum(detail[name] for name in ("missed", "duplicated", "disordered", "not_ended"))
            if wrong:
                raise RuntimeError(f"{wrong:.0f} messages or ends were missed, doubled or out of order")
            return Round(detail["messages_per_second"], detail["server_cpu"] / detail["messages"])

        return run

    def _reads(self, server: Server, events: int) -> Run:
        (trace,) = new_traces(server.stub, 1)
        for first in range(1, events, BATCH):
            server.stub.BatchUpdate(batch([trace], min(BATCH, events - first)))
        return self._closed_loop(server, Job(server.address, GET_TRACE, (read(trace),) * CONNECTIONS, CONNECTIONS))

    def _creates_by_http(self, server: Server) -> Run:
        body = json.dumps(
            {
                "domain": "dataset",
                "domain_id": "benchmark-dataset/1",
                "component": "data-uploader",
                "operation": "upload",
                "user": "benchmark",
                "start_time": "2026-01-01T10:00:00.123456+00:00",
                "end_time": "2026-01-01T10:00:01.654321+00:00",
                "status_body": {"files": 12, "bytes": 48213377, "format": "parquet"},
                "meta": {"git_rev": "5f2c1d0", "git_branch": "main"},
            }
        ).encode()
        return self._posts(server, "/status", "application/json", (body,) * CONNECTIONS)

    def _connect(self, server: Server) -> Run:
        traces = new_traces(server.stub, CONNECTIONS)
        bodies = tuple(update(trace).SerializeToString() for trace in traces)
        return _counted(traces, self._posts(server, f"{SERVICE}Update", "application/proto", bodies))

    def _posts(self, server: Server, path: str, content_type: str, bodies: tuple[bytes, ...]) -> Run:
        def drive(calls: int) -> Outcome:
            self.worker.start(post, Posts(server.http, path, content_type, bodies, calls))
            outcome: Outcome = self.worker.result()
            return outcome

        warm = drive(400)
        calls = max(CONNECTIONS, int(warm.rate * self.seconds))
        return lambda _server, _round: _measured(server, lambda: drive(calls))


def _measured(server: Server, drive: Callable[[], Outcome], per_call: int = 1) -> Round:
    cpu = server.cpu
    outcome = drive()
    cpu = server.cpu - cpu
    if outcome.failed:
        raise RuntimeError(f"{outcome.failed} calls failed\n{server.last_words()}")
    each = cpu / outcome.answered / per_call
    return Round(outcome.rate * per_call, each, outcome.latency(0.5), outcome.latency(0.99))


def _counted(traces: list[str], run: Run) -> Run:
    """Return `run` with a check that each round has recorded events."""

    def counted(server: Server, number: int) -> Round:
        before = recorded(server.stub, traces)
        outcome = run(server, number)
        if recorded(server.stub, traces) <= before:
            raise RuntimeError("the calls were answered, but nothing was recorded")
        return outcome

    return counted
