"""`make bench-ab BASE=<commit>`, or `python -m benchmarks.ab --help`."""

import argparse
import json
import statistics
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import environment, load
from benchmarks.ab.builds import Build, unpacked, working_tree
from benchmarks.ab.paired import Difference, interval_rank, relative_difference
from benchmarks.ab.rows import Comparison, Generators, Round
from benchmarks.databases import Engines

#: How much more server CPU per call counts as nothing.
CPU_TOLERANCE = 0.03


@dataclass(frozen=True)
class Result:
    """A row of the report."""

    name: str
    unit: str
    rounds: list[tuple[Round, Round]]  # base, new
    throughput: Difference
    cpu: Difference

    @property
    def slower(self) -> bool:
        """Whether throughput fell beyond doubt and CPU per call grew."""
        return self.throughput.high < 0 and self.cpu.median > CPU_TOLERANCE


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ab", description="Compare two builds in turns.")
    parser.add_argument("base", help="the commit to compare the working tree with")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of each build per row (default 10)")
    parser.add_argument("--seconds", type=float, default=1.5, help="length of a round in seconds (default 1.5)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows whose name contains this")
    parser.add_argument("--driver", choices=("auto", "h2load", "python"), default="auto", help="the load generator")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every round to FILE")
    return parser.parse_args()


def compare(row: Comparison, base: Build, new: Build, rounds: int) -> Result:
    """Measure a row on both builds in turns.

    Both servers run throughout, and the build that goes first alternates.
    """
    with ExitStack() as stack:
        engines = Engines(stack)
        servers = [stack.enter_context(build.service(engines)) for build in (base, new)]
        runs = [row.prepare(server) for server in servers]
        pairs = []
        for number in range(-1, rounds):
            order = (0, 1) if number % 2 else (1, 0)
            measured = {which: runs[which](servers[which], number) for which in order}
            if number >= 0:  # the first round warms up
                pairs.append((measured[0], measured[1]))
    return Result(
        row.name,
        row.unit,
        pairs,
        relative_difference([(before.throughput, after.throughput) for before, after in pairs]),
        relative_difference([(before.cpu, after.cpu) for before, after in pairs]),
    )


def report(results: list[Result]) -> str:
    """Return the table."""
    lines = [
        "| row | base | new | throughput | CPU per call | p50 ms | p99 ms | |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for result in results:
        base, new = zip(*result.rounds, strict=True)
        lines.append(
            f"| {result.name} ({result.unit}) | {_middle(base, 'throughput'):,.0f} | {_middle(new, 'throughput'):,.0f}"
            f" | {_percent(result.throughput)} | {_middle(new, 'cpu') * 1e6:.0f} us, {_percent(result.cpu)}"
            f" | {_middle(base, 'p50'):.2f} -> {_middle(new, 'p50'):.2f}"
            f" | {_middle(base, 'p99'):.2f} -> {_middle(new, 'p99'):.2f}"
            f" | {'slower' if result.slower else 'ok'} |"
        )
    return "\n".join(lines)


def _middle(rounds: tuple[Round, ...], name: str) -> float:
    return statistics.median(getattr(one, name) for one in rounds)


def _percent(difference: Difference) -> str:
    return f"{difference.median:+.1%} ({difference.low:+.1%} to {difference.high:+.1%})"


def main() -> int:
    """Compare the builds and return 1 if a row is slower."""
    given = arguments()
    interval_rank(given.rounds)
    base, new = unpacked(given.base, Path(".cache/ab").resolve()), working_tree()
    for build in (base, new):
        build.check()
    results: list[Result] = []
    with ExitStack() as stack:
        driver = stack.enter_context(load.choose(given.driver))
        for row in Generators(stack, driver, given.seconds).rows():
            if given.only.lower() in row.name.lower():
                print(f"{row.name} ...", file=sys.stderr, flush=True)
                results.append(compare(row, base, new, given.rounds))
    facts: dict[str, Any] = environment.describe() | {
        "base": base.folder.name[:12],
        "rounds": given.rounds,
        "seconds": given.seconds,
        "load generator": driver.name,
    }
    print(f"\n{report(results)}\n")
    print("Differences are medians of the paired rounds, new against base, with intervals of at least 95 %.")
    for name, value in facts.items():
        print(f"{name}: {value}")
    if given.json:
        given.json.write_text(json.dumps({"facts": facts, "rows": [asdict(result) for result in results]}, indent=1))
    return 1 if any(result.slower for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
