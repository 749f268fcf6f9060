"""W10: beside services that record how pipelines are getting on, on SQLite: each by its own client, and at its best.

At its best is Prefect with 16 calls at a time; ML Metadata is a library without a server, which makes one at a time.

They do more than we do with a state (Prefect: orchestration rules; ML Metadata: typed properties), and their users pay
for that with every report. Each is installed in an environment of its own; `make bench` leaves them out.
"""

import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.bench import Bench, NotDoneError, Row, Sample
from benchmarks.load import Job
from benchmarks.old import installed
from benchmarks.payloads import UPDATE, new_traces, recorded, update
from status_grpc import StatusClient
from tests.ports import free_port

NAME = "W10"
TITLE = "peers"
PREFECT, MLMD = "prefect==3.8.0", "ml-metadata==1.17.1"
#: With later ones that release does not start.
PREFECT_NEEDS = "fastapi==0.139.*"
CALLS = 80
#: No traffic but to this machine, and nobody is told of it.
PREFECT_SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_UI_ENABLED": "false",
}
PROGRAMS = Path(__file__).parents[1] / "peers"

Timed = Callable[[int, int], float]


def run(bench: Bench) -> Iterator[Row]:
    with ExitStack() as stack:
        service = stack.enter_context(bench.service())
        traces = new_traces(service.stub, 8)
        bodies = tuple(update(trace_id).SerializeToString() for trace_id in traces)
        many = bench.sized(Job(service.address, UPDATE, bodies, 64))
        client = stack.enter_context(StatusClient(service.address, plaintext=True))

        def ours() -> Sample:
            before, calls = recorded(service.stub, traces), CALLS * 5
            began = time.perf_counter()
            for _ in range(calls):
                client.update(trace_id=traces[0], component="s3-writer", operation="copy", user="benchmark")
            took = time.perf_counter() - began
            if recorded(service.stub, traces) - before != calls:
                raise NotDoneError("not every Update was recorded")
            return Sample(calls / took)

        def ours_at_best() -> Sample:
            before = recorded(service.stub, traces)
            sample = bench.measure(service, many)
            if recorded(service.stub, traces) - before != sample.detail["calls"]:
                raise NotDoneError("not every Update was recorded")
            return sample

        for name, peer, at_a_time in (
            (f"{PREFECT}, set_state", prefect, 16),
            (f"{MLMD}, PutExecution", ml_metadata, 1),
        ):
            with peer() as timed:
                timed(8, 1)

                def theirs(at_a_time: int, timed: Timed = timed) -> Sample:
                    return Sample(CALLS / timed(CALLS, at_a_time))

                pairs = bench.take_turns(ours, lambda theirs=theirs: theirs(1), 3)
                at_best = bench.take_turns(ours_at_best, lambda theirs=theirs, n=at_a_time: theirs(n), 3)
            yield Row(NAME, "Update by its client, one at a time, SQLite", "calls/s", pairs, name)
            yield Row(NAME, "Update, 64 at a time, SQLite", "calls/s", at_best, f"{name}, {at_a_time} at a time")


@contextmanager
def prefect() -> Iterator[Timed]:
    programs, home = installed(PREFECT, PREFECT_NEEDS), Path(tempfile.mkdtemp(prefix="status-grpc-bench-"))
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = {**os.environ, **PREFECT_SETTINGS, "PREFECT_HOME": str(home), "PREFECT_API_URL": url}
    environment.pop("PYTHONPATH", None)
    command = [programs / "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)
    try:
        _wait(f"{url}/health")
        with _program([programs / "python", PROGRAMS / "prefect_states.py"], environment) as timed:
            yield timed
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def ml_metadata() -> Iterator[Timed]:
    programs = installed(MLMD)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with tempfile.TemporaryDirectory(prefix="status-grpc-bench-") as folder:
        command = [programs / "python", PROGRAMS / "mlmd_executions.py", Path(folder, "mlmd.db")]
        with _program(command, environment) as timed:
            yield timed


@contextmanager
def _program(command: list[Path], environment: dict[str, str]) -> Iterator[Timed]:
    with tempfile.TemporaryFile("w+") as errors:
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=errors, text=True)
        assert process.stdin is not None
        assert process.stdout is not None

        def answer() -> str:
            line = process.stdout.readline()  # type: ignore[union-attr]
            if not line:
                errors.seek(0)
                raise NotDoneError(f"{command[1].name} ended: {errors.read()[-500:]}")
            return line.strip()

        def timed(calls: int, at_a_time: int) -> float:
            process.stdin.write(f"{calls} {at_a_time}\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            return float(answer())

        try:
            while answer() != "ready":
                pass
            yield timed
        finally:
            process.kill()
            process.communicate()


def _wait(url: str, patience: float = 120) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (OSError, urllib.error.URLError):
            if time.monotonic() > deadline:
                raise NotDoneError(f"nobody answers at {url}") from None
            time.sleep(0.2)
