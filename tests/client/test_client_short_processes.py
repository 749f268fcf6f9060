"""Short-lived processes that report to a server that is killed.

Nothing is lost, and every trace ends. The test with random kills is short by default. `make test-long` makes it 1,000
events, and prints its figures.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from real_server import RealServer
from short_steps import OPERATIONS, PARTS, main
from warm import WarmProcess

from status_grpc import StatusClient, TraceStatus

LONG = bool(os.environ.get("STATUS_GRPC_LONG_TESTS"))
PIPELINES = 100 if LONG else 10
AT_ONCE = 6 if LONG else 10
#: What docs/client.md promises for the end of a step, and what a loaded machine may add to it, in seconds.
BOUND, SLACK = 2.0, 3.0


def test_nothing_is_lost_though_the_server_is_killed_at_random(
    mortal: RealServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seed = int(os.environ.get("STATUS_GRPC_SEED", time.time()))
    print(f"seed {seed}")
    monkeypatch.setenv("STATUS_GRPC_SERVER", mortal.address)
    over = threading.Event()
    counts: Counter[str] = Counter()
    killer = threading.Thread(target=kill_at_random, args=(mortal, random.Random(seed), over, counts))
    killer.start()
    ids = [f"kills-{uuid.uuid4()}" for _ in range(PIPELINES)]
    began = time.monotonic()
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            slowest = max(pool.map(lambda trace_id: run_pipeline(trace_id, tmp_path, counts), ids))
    finally:
        over.set()
        killer.join()
    took = time.monotonic() - began
    delivered = deliver(tmp_path)
    with StatusClient(mortal.address) as client:
        histories = [client.get_trace(trace_id) for trace_id in ids]
    print(
        f"{len(OPERATIONS) * PIPELINES} events of {3 * PIPELINES} processes in {took:.0f} s, {dict(counts)}, "
        f"{delivered} from the spool at the end; the slowest step took {slowest:.2f} s"
    )
    for history in histories:
        assert sorted(event.operation for event in history.events) == sorted(OPERATIONS)
        assert history.trace.trace_status is TraceStatus.FINISHED
    assert counts["kills"] > 0
    assert slowest < BOUND + SLACK


@pytest.mark.parametrize("delivered_by", ["the next process", "spool deliver"])
def test_a_pipeline_outlives_an_outage(
    mortal: RealServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delivered_by: str
):
    monkeypatch.setenv("STATUS_GRPC_SERVER", mortal.address)
    monkeypatch.setenv("STATUS_GRPC_FLUSH_TIMEOUT", "0.5")  # only to save time
    trace_id = f"outage-{uuid.uuid4()}"
    mortal.kill()
    said = [run_part(part, trace_id, tmp_path)[1] for part in ("first", "middle")]
    if delivered_by == "spool deliver":
        said.append(run_part("last", trace_id, tmp_path)[1])
        mortal.start()
        assert deliver(tmp_path) == len(OPERATIONS)
    else:
        mortal.start()
        assert run_part("last", trace_id, tmp_path)[1] == []
        assert deliver(tmp_path) == 0
    # Each process has said how many events are kept where, in one line.
    assert [len(lines) for lines in said] == [1] * len(said)
    assert said[0][0].startswith(f"status-grpc: 4 events for {mortal.address} are kept in")
    with StatusClient(mortal.address) as client:
        history = client.get_trace(trace_id)
    assert [event.operation for event in history.events] == OPERATIONS
    assert history.trace.done


def run_pipeline(trace_id: str, folder: Path, counts: Counter[str]) -> float:
    """Run the processes of a pipeline. Return the time of the slowest step."""
    slowest = 0.0
    for part in PARTS:
        took, said = run_part(part, trace_id, folder)
        slowest = max(slowest, took)
        assert len(said) <= 1, said
        counts["processes with events left"] += len(said)
    return slowest


def run_part(part: str, trace_id: str, folder: Path) -> tuple[float, list[str]]:
    """Run a process. Return the time of its slowest step, and its lines about events left."""
    log = folder / f"{trace_id}-{part}.log"
    process = WarmProcess([part, trace_id], log=log, program=main)
    slowest = json.loads(process.communicate())["slowest"]
    said = log.read_text()
    assert "lost" not in said
    assert "Traceback" not in said
    return slowest, [line for line in said.splitlines() if "kept in" in line]


def kill_at_random(server: RealServer, chance: random.Random, over: threading.Event, counts: Counter[str]) -> None:
    """Kill and start the server until it is over. It runs at the end."""
    while not over.wait(chance.uniform(0.1, 0.8)):
        server.kill()
        counts["kills"] += 1
        over.wait(chance.uniform(0.2, 2.5))
        server.start()


def deliver(folder: Path) -> int:
    """Run `status-grpc spool deliver` once. Return how many events it delivered."""
    log = folder / "deliver.log"
    process = WarmProcess(["spool", "deliver", "--format", "json"], log=log)
    (told,) = json.loads(process.communicate())["servers"]
    assert (process.wait(), told["remaining"], told["lost"]) == (0, 0, 0), told
    return told["delivered"]
