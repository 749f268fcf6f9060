"""Short-lived processes report to a server that is killed at random moments: nothing is lost, every trace ends.

Short by default; `make test-long` makes it 1,000 events, and prints its figures.
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
PIPELINES = 100 if LONG else 12
AT_ONCE = 6
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


def run_pipeline(trace_id: str, folder: Path, counts: Counter[str]) -> float:
    """Run the processes of a pipeline one after the other; return the time of the slowest step."""
    slowest = 0.0
    for part in PARTS:
        log = folder / f"{trace_id}-{part}.log"
        process = WarmProcess([part, trace_id], log=log, program=main)
        slowest = max(slowest, json.loads(process.communicate())["slowest"])
        said = [line for line in log.read_text().splitlines() if "kept in" in line or "lost" in line]
        assert len(said) <= 1, said
        assert not any("lost" in line for line in said), said
        counts["processes with events left"] += len(said)
    return slowest


def kill_at_random(server: RealServer, chance: random.Random, over: threading.Event, counts: Counter[str]) -> None:
    """Kill and start the server until it is over; it runs at the end."""
    while not over.wait(chance.uniform(0.1, 0.8)):
        server.kill()
        counts["kills"] += 1
        over.wait(chance.uniform(0.2, 2.5))
        server.start()


def deliver(folder: Path) -> int:
    """Run `status-grpc spool deliver` once; nothing is left after it. Return how many events it delivered."""
    log = folder / "deliver.log"
    process = WarmProcess(["spool", "deliver", "--format", "json"], log=log)
    (told,) = json.loads(process.communicate())["servers"]
    assert (process.wait(), told["remaining"], told["lost"]) == (0, 0, 0), told
    return told["delivered"]
