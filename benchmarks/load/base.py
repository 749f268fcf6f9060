"""What every load generator takes and gives."""

import statistics
from abc import ABC, abstractmethod
from bisect import bisect_right
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Job:
    """Calls of one method, all in flight that may be, over one connection per body."""

    address: str
    path: str
    bodies: tuple[bytes, ...]  # encoded requests, without gRPC's prefix
    concurrency: int  # calls in flight, over all connections; a multiple of their number
    calls: int = 0

    @property
    def streams(self) -> int:
        """Calls in flight on each connection."""
        return max(1, self.concurrency // len(self.bodies))

    @property
    def calls_each(self) -> int:
        """Calls on each connection."""
        return max(self.streams, -(-self.calls // len(self.bodies)))

    def sized(self, calls: int) -> "Job":
        return replace(self, calls=calls)


@dataclass
class Trail:
    """What one connection saw: when each call began and how long it took, in seconds; the answers in order."""

    starts: list[float]
    durations: list[float]
    failed: int = 0


@dataclass
class Outcome:
    """What a job came to."""

    trails: list[Trail]
    generator_cpu: float  # seconds, over all generating processes

    @property
    def answered(self) -> int:
        return sum(len(trail.durations) - trail.failed for trail in self.trails)

    @property
    def failed(self) -> int:
        return sum(trail.failed for trail in self.trails)

    @property
    def span(self) -> tuple[float, float]:
        """The time in which every connection was busy: the ragged start and end of separate processes left out."""
        return (
            max(trail.starts[0] for trail in self.trails),
            min(trail.starts[-1] + trail.durations[-1] for trail in self.trails),
        )

    @property
    def rate(self) -> float:
        """Answers per second while every connection was busy."""
        begin, end = self.span
        counted = 0
        for trail in self.trails:
            ends = sorted(start + duration for start, duration in zip(trail.starts, trail.durations, strict=True))
            counted += bisect_right(ends, end) - bisect_right(ends, begin)
        return counted / (end - begin)

    @property
    def seconds(self) -> float:
        """From the first call to the last answer."""
        first = min(trail.starts[0] for trail in self.trails)
        return max(trail.starts[-1] + trail.durations[-1] for trail in self.trails) - first

    def latency(self, share: float) -> float:
        """The time that this share of the calls did not exceed, in milliseconds."""
        return percentile([duration for trail in self.trails for duration in trail.durations], share) * 1000


def percentile(values: list[float], share: float) -> float:
    if not values:
        return float("nan")
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def median(values: list[float]) -> float:
    return statistics.median(values) if values else float("nan")


class Driver(ABC):
    """A load generator."""

    name: str

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        return None

    @abstractmethod
    def run(self, job: Job) -> Outcome:
        """Make the calls; each must have been answered when this returns."""
