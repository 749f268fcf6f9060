"""A server that is killed and restarted all the time, while many write and many follow.

Short by default; `make test-long` makes it a minute with 50 writers and 50 followers, and prints its figures.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from dataclasses import dataclass, field

from patience import in_threads
from real_server import RealServer

from status_grpc import AsyncStatusClient, Reconnect, StatusClient, TraceEventStatus, TraceHistory, TraceStatus

LONG = bool(os.environ.get("STATUS_GRPC_LONG_TESTS"))
SECONDS, PAIRS = (60.0, 50) if LONG else (4.0, 10)


@dataclass
class Pair:
    """A trace, what its writer was acknowledged and what its follower saw."""

    acknowledged: list[tuple[int, str]] = field(default_factory=list)
    seen: list[tuple[int, str]] = field(default_factory=list)


def test_nothing_is_lost_doubled_or_out_of_order(mortal: RealServer):
    pairs = [Pair() for _ in range(PAIRS)]
    counts: Counter[str] = Counter()
    end = time.monotonic() + SECONDS

    def reconnected(_: Reconnect) -> None:
        counts["broken streams"] += 1

    def write(pair: Pair, client: StatusClient, trace_id: str) -> None:
        count = 0
        while time.monotonic() < end:
            count += 1
            event = client.update(trace_id=trace_id, component="c", operation=f"op-{count}").event
            pair.acknowledged.append((event.sequence, event.operation))
            time.sleep(0.01)
        event = client.update(
            trace_id=trace_id,
            component="c",
            trace_status=TraceStatus.FINISHED,
            trace_event_status=TraceEventStatus.OK,
        ).event
        pair.acknowledged.append((event.sequence, event.operation))

    def follow(pair: Pair, client: StatusClient, trace_id: str) -> None:
        pair.seen.extend(
            (event.sequence, event.operation) for event in client.follow(trace_id, on_reconnect=reconnected)
        )

    async def follow_async(pair: Pair, trace_id: str) -> None:
        client = AsyncStatusClient(mortal.address, timeout=120)
        async with client, client.follow(trace_id, on_reconnect=reconnected) as events:
            pair.seen.extend([(event.sequence, event.operation) async for event in events])

    with StatusClient(mortal.address, timeout=120) as client:
        ids = [client.create(domain="d", domain_id="x", component="c").trace.trace_id for _ in pairs]

        def work(number: int) -> None:
            if number == 0:
                counts["restarts"] = restart_until(end, mortal)
            elif number <= PAIRS:
                write(pairs[number - 1], client, ids[number - 1])
            else:
                index = number - PAIRS - 1
                if index % 2:
                    follow(pairs[index], client, ids[index])
                else:
                    asyncio.run(follow_async(pairs[index], ids[index]))

        in_threads(1 + 2 * PAIRS, work)
        for pair, trace_id in zip(pairs, ids, strict=True):
            counts["events"] += check(pair, client.get_trace(trace_id))
    print(f"{SECONDS:g} s, {PAIRS} writers, {PAIRS} followers: {dict(counts)}")


def restart_until(end: float, server: RealServer) -> int:
    restarts = 0
    while time.monotonic() < end:
        time.sleep(1.0)
        server.kill()
        server.start()
        restarts += 1
    return restarts


def check(pair: Pair, history: TraceHistory) -> int:
    events = [(event.sequence, event.operation) for event in history.events]
    assert [sequence for sequence, _ in events] == list(range(1, len(events) + 1))
    assert events[1:] == pair.acknowledged, "acknowledged is what is recorded: once each, nothing lost"
    assert pair.seen == events, "each follower saw every event, once, in order"
    return len(events)
