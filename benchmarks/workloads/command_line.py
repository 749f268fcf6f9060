"""W6: how long a command takes from its start to its end, beside the command line it replaces."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import Bench, NotDoneError, Row, Sample
from benchmarks.old import CLI, installed
from benchmarks.payloads import new_traces

NAME = "W6"
TITLE = "status-grpc"
RUNS = 5


def run(bench: Bench) -> Iterator[Row]:
    ours, old = Path(sys.executable).with_name("status-grpc"), installed(CLI) / "okdata"
    with bench.service() as service:
        (trace_id,) = new_traces(service.stub, 1)
        for arguments in (["--help"], ["status", trace_id]):
            yield measure(bench, arguments[0], [str(ours), *arguments], [str(old), "--help"], service.address)


def measure(bench: Bench, what: str, command: list[str], old: list[str], server: str) -> Row:
    environment = {**os.environ, "STATUS_GRPC_SERVER": server}

    def sample(words: list[str]) -> Sample:
        began = time.perf_counter()
        for _ in range(RUNS):
            done = subprocess.run(words, capture_output=True, env=environment, check=False)
            if done.returncode != 0:
                raise NotDoneError(f"{Path(words[0]).name} ended with {done.returncode}: {done.stderr.decode()}")
        return Sample((time.perf_counter() - began) / RUNS * 1e3)

    sample(command), sample(old)  # what is compiled or read for the first time
    pairs = bench.take_turns(lambda: sample(command), lambda: sample(old), bench.settings.repetitions)
    return Row(NAME, f"{TITLE} {what}", "ms", pairs, f"okdata --help ({CLI})", 1.0, higher_is_better=False)
