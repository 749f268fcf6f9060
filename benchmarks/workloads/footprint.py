"""W6: what it takes to be there: memory of a follower to whom nothing happens, time to start, time to import."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from benchmarks.bench import Bench, Pair, Row, Sample
from benchmarks.databases import SQLITE
from benchmarks.load.follow import READY, FollowJob, follow
from benchmarks.payloads import finish, new_traces
from benchmarks.processes import Worker
from benchmarks.servers import Server, start_baseline, start_service

NAME = "W6"
TITLE = "footprint"
FOLLOWERS = 1_000
STARTS = 5


def run(bench: Bench) -> Iterator[Row]:
    yield memory(bench)
    yield start(bench)
    yield importing()


def memory(bench: Bench) -> Row:
    """How much the server grows with followers of one trace, beside the bare fan-out; each on a fresh process."""

    def growth(server: Server) -> float:
        (trace,) = new_traces(server.stub, 1)
        with Worker() as worker:
            for followers in (FOLLOWERS // 10, FOLLOWERS):  # the first ones pay for what is there once
                before = server.memory
                worker.start(follow, FollowJob(server.address, (trace,), followers, 60))
                worker.hear(READY)
                time.sleep(1)
                grown = server.memory - before
                server.stub.Update(finish(trace))
                worker.result()
                (trace,) = new_traces(server.stub, 1)
        return grown / FOLLOWERS

    def service() -> Sample:
        with bench.service() as server:
            return Sample(growth(server))

    def bare() -> Sample:
        with start_baseline() as server:
            return Sample(growth(server))

    pairs = bench.take_turns(service, bare, min(3, bench.settings.repetitions))
    what = f"memory of an idle follower, {FOLLOWERS:,} of one trace"
    return Row(NAME, what, "B", pairs, "bare stream", bar=2.0, higher_is_better=False, note="aim 1.2")


def start(bench: Bench) -> Row:
    """From the start of the process to its readiness line."""

    def timed(begin: Callable[[], Server]) -> Sample:
        began = time.perf_counter()
        with begin():
            return Sample((time.perf_counter() - began) * 1e3)

    with bench.engines.database(SQLITE) as url:
        start_service(bench.serve, url).__exit__(None, None, None)  # makes the tables
        pairs = bench.take_turns(
            lambda: timed(lambda: start_service(bench.serve, url)), lambda: timed(start_baseline), STARTS
        )
    return Row(NAME, "start of a server, to its readiness", "ms", pairs, "echo", higher_is_better=False)


def importing() -> Row:
    """What a program pays that imports the library, beside one that imports nothing."""

    def timed(statement: str) -> Sample:
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", statement], check=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        )
        return Sample((time.perf_counter() - began) * 1e3)

    timed("import status_grpc")
    pairs = [Pair(timed("import status_grpc"), timed("pass")) for _ in range(STARTS * 2)]
    return Row(NAME, "python -c 'import status_grpc'", "ms", pairs, "python -c pass", higher_is_better=False)
