"""A run: its servers, its repetitions, and the fairness between the service and its baseline."""

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from benchmarks.databases import SQLITE, Engines
from benchmarks.environment import busy
from benchmarks.load import Driver, Job
from benchmarks.servers import Server, start_service


class NotDoneError(Exception):
    """What was answered is not what was recorded: no figure of this workload counts."""


@dataclass(frozen=True)
class Settings:
    """How long and how often."""

    extent: Literal["quick", "full", "long"]  # how large databases get, and how many follow
    seconds: float  # per repetition
    repetitions: int


@dataclass
class Sample:
    """One repetition of one side."""

    value: float
    detail: dict[str, float] = field(default_factory=dict)


@dataclass
class Pair:
    """One repetition of both sides, one right after the other."""

    service: Sample
    baseline: Sample


@dataclass
class Row:
    """One line of the report."""

    workload: str
    what: str
    unit: str
    pairs: list[Pair]
    baseline_name: str
    bar: float | None = None
    bar_is: str = "ratio"  # what the bar is held against: the "ratio" or the "value"
    higher_is_better: bool = True
    must: bool = False  # a bar that has nothing to do with speed: when it is missed, the run has failed
    note: str = ""

    @property
    def value(self) -> float:
        if self.must:
            return max(pair.service.value for pair in self.pairs)
        return statistics.median(pair.service.value for pair in self.pairs)

    @property
    def baseline(self) -> float:
        return statistics.median(pair.baseline.value for pair in self.pairs)

    @property
    def ratios(self) -> list[float]:
        """Per pair: what disturbs the machine for longer than a pair disturbs both sides."""
        return [pair.service.value / pair.baseline.value for pair in self.pairs if pair.baseline.value]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios) if self.ratios else float("nan")

    @property
    def met(self) -> bool | None:
        if self.bar is None:
            return None
        figure = self.ratio if self.bar_is == "ratio" else self.value
        return figure >= self.bar if self.higher_is_better else figure <= self.bar

    def as_json(self) -> dict[str, Any]:
        figures = {"value": self.value, "baseline": self.baseline, "ratio": self.ratio, "ratios": self.ratios}
        return {**asdict(self), **figures, "met": self.met}


@dataclass
class Bench:
    """What a workload has at its disposal."""

    settings: Settings
    driver: Driver
    baseline: Server
    serve: list[str]  # the command of the service
    engines: Engines
    environment: dict[str, Any]
    others: list[float] = field(default_factory=list)  # cores that were busy with something else, per repetition

    @contextmanager
    def service(self, engine: str = SQLITE, workers: int = 1) -> Iterator[Server]:
        """The service on an empty database: no workload inherits another's rows."""
        with self.engines.database(engine) as url, start_service(self.serve, url, workers) as server:
            yield server

    def take_turns(self, service: Callable[[], Sample], baseline: Callable[[], Sample], repetitions: int) -> list[Pair]:
        """Repeat both, now one first and now the other."""
        pairs = []
        for repetition in range(repetitions):
            if repetition % 2:
                base = baseline()
                pairs.append(Pair(service(), base))
            else:
                value = service()
                pairs.append(Pair(value, baseline()))
        return pairs

    def sized(self, job: Job) -> Job:
        """The job with as many calls as take one repetition's time; finding out also warms the server up."""
        calls = 8 * job.concurrency
        while True:
            outcome = self.driver.run(job.sized(calls))
            if outcome.failed:
                raise NotDoneError(f"{outcome.failed} of {calls} calls of {job.path} failed while warming up")
            if outcome.seconds >= self.settings.seconds / 4:
                return job.sized(max(job.concurrency, int(outcome.rate * self.settings.seconds)))
            calls *= 4

    def measure(self, server: Server, job: Job, per_call: int = 1) -> Sample:
        """One repetition: the rate, and what it cost. per_call: how many of what is counted one call carries."""
        cpu, everyone = server.cpu, busy()
        outcome = self.driver.run(job)
        cpu, everyone = server.cpu - cpu, busy() - everyone
        others = max(0.0, everyone - cpu - outcome.generator_cpu) / outcome.seconds
        self.others.append(others)
        if outcome.failed:
            raise NotDoneError(f"{outcome.failed} calls of {job.path} failed\n{server.last_words()}")
        detail = {
            "calls": outcome.answered,
            "seconds": outcome.seconds,
            "p50_ms": outcome.latency(0.5),
            "p99_ms": outcome.latency(0.99),
            "max_ms": outcome.latency(1),
            "server_cpu_us_each": cpu / outcome.answered / per_call * 1e6,
            "generator_busy": outcome.generator_cpu / outcome.seconds,
            "others_busy": others,
        }
        return Sample(outcome.rate * per_call, detail)


def middle(pairs: list[Pair], side: Literal["service", "baseline"], name: str) -> float:
    """The median of a detail over the repetitions of one side."""
    samples = [pair.service if side == "service" else pair.baseline for pair in pairs]
    return statistics.median(sample.detail[name] for sample in samples)
