"""The verdict: what the clients were told, held against what every replica says is stored."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from calls import FINISHED, all_events
from load import Follower, Load, Replicas
from tracestatus.v1 import trace_pb2


@dataclass
class Verdict:
    """Figures of one run. The first four must be 0."""

    missing: int = 0
    duplicates: int = 0
    gaps: int = 0
    wrong_ends: int = 0
    acknowledged: int = 0
    traces: int = 0
    followers: int = 0
    restarts: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    breaks: Counter[str] = field(default_factory=Counter)

    def assert_flawless(self, name: str) -> None:
        """Print the figures, and see that nothing is wrong."""
        print(f"{name}: {self.acknowledged} writes acknowledged in {self.traces} traces, {self.followers} followers")
        wrong = {
            "acknowledged but missing": self.missing,
            "duplicates": self.duplicates,
            "gaps": self.gaps,
            "followers that saw a wrong end": self.wrong_ends,
        }
        print("  " + ", ".join(f"{what} = {count}" for what, count in wrong.items()))
        print(f"  calls made again after {dict(self.failures)}; streams broken by {dict(self.breaks)}")
        assert not any(wrong.values()), wrong
        assert self.acknowledged > 0
        assert self.followers > 0


async def judge(load: Load) -> Verdict:
    """Read all traces through every replica and compare. All servers must run."""
    records = load.records
    verdict = Verdict(
        duplicates=records.answered_otherwise,
        acknowledged=records.count,
        traces=len(records.acknowledged),
        followers=len(load.followers),
        failures=records.failures,
    )
    replicas = Replicas(load.servers)
    stored: dict[str, list[trace_pb2.TraceEvent]] = {}
    for trace_id, acknowledged in records.acknowledged.items():
        told = await asyncio.gather(*[all_events(stub, trace_id) for stub in replicas.stubs])
        stored[trace_id] = events = told[0]
        verdict.missing += sum(other != events for other in told)
        sequences = {event.trace_event_id: event.sequence for event in events}
        verdict.missing += sum(sequences.get(event_id) != sequence for event_id, sequence in acknowledged.items())
        verdict.duplicates += len(events) - len(sequences)
        verdict.gaps += [event.sequence for event in events] != list(range(1, len(events) + 1))
    await replicas.close()
    for follower in load.followers:
        events = stored.get(follower.trace_id, [])
        verdict.duplicates += len(follower.seen) - len(set(follower.seen))
        verdict.gaps += [sequence for sequence, _ in follower.seen] != list(range(1, len(follower.seen) + 1))
        verdict.wrong_ends += not _saw_the_end(follower, events, records.ends.get(follower.trace_id))
        verdict.restarts += follower.restarts
        verdict.breaks += follower.breaks
    return verdict


def _saw_the_end(follower: Follower, events: list[trace_pb2.TraceEvent], end: tuple[str, int] | None) -> bool:
    """Return whether what it was given is what is stored, up to the end that the trace was given by its client."""
    finished = [event for event in events if event.trace_status == FINISHED]
    if follower.end is None or end is None or not finished:
        return False
    stored = [(event.sequence, event.trace_event_id) for event in events]
    last = follower.end.sequence
    return (
        follower.end.done
        and follower.seen == stored[:last]
        and last >= finished[0].sequence
        and (finished[0].trace_event_id, finished[0].trace_event_status) == end
        and follower.end.trace.trace_event_status == end[1]
    )
