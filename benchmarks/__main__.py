"""`make bench`, or `python -m benchmarks --help`."""

import argparse
import shlex
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median

import grpc

from benchmarks import environment, load, pictures, report, workloads
from benchmarks.bench import Bench, NotDoneError, Row, Settings
from benchmarks.databases import Engines
from benchmarks.servers import start_baseline

WRITES = "events of about 300 bytes without trace_event_id (the server mints it), over min(8, concurrency) connections"
EXTENTS = {
    "quick": Settings("quick", seconds=0.6, repetitions=3),
    "full": Settings("full", seconds=1.0, repetitions=3),
    "long": Settings("long", seconds=3.0, repetitions=5),
}


def arguments() -> argparse.Namespace:
    names = ", ".join(dict.fromkeys(workload.NAME for workload in (*workloads.ALL, *workloads.PEERS)))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure the service beside its baselines."
    )
    parser.add_argument(
        "--extent",
        choices=EXTENTS,
        default="full",
        help="quick: the main workloads in two minutes; long: up to 10 million events",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write everything, raw repetitions included, to FILE"
    )
    parser.add_argument(
        "--document",
        type=Path,
        metavar="FILE",
        help="put the table into this, pictures into its folder",
    )
    parser.add_argument(
        "--only", metavar="NAMES", default="", help=f"only these workloads, with commas between ({names})"
    )
    parser.add_argument(
        "--driver", choices=("auto", "h2load", "python"), default="auto", help="the load generator of W1"
    )
    serve = shlex.join([str(Path(sys.executable).with_name("status-grpc")), "serve"])
    parser.add_argument(
        "--serve", metavar="COMMAND", default=serve, help="starts the service; gets --listen and --database-url"
    )
    return parser.parse_args()


def explain(exc: Exception) -> str:
    """In one line."""
    if isinstance(exc, grpc.Call):
        return f"{exc.code().name}: {exc.details()}"
    return str(exc).strip().splitlines()[-1]


def main() -> int:
    """Run; 1 if a workload could not be verified (a bar that was missed is no failure: machines differ)."""
    given = arguments()
    settings = EXTENTS[given.extent]
    wanted = [name.strip().lower() for name in given.only.split(",") if name.strip()]
    named = [one for one in (*workloads.ALL, *workloads.PEERS) if one.NAME.lower() in wanted]
    chosen = named if wanted else list(workloads.ALL)
    if not chosen:
        raise SystemExit(f"no workload is named {given.only}")
    begin = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - begin:4.0f} s] {text}", file=sys.stderr, flush=True)

    facts = environment.describe()
    if (facts["load before"] or 0) > 0.5:
        say(f"others are using this machine (load {facts['load before']}): trust the ratios less")
    rows: list[Row] = []
    failures: dict[str, str] = {}
    with ExitStack() as stack:
        driver = stack.enter_context(load.choose(given.driver))
        baseline = stack.enter_context(start_baseline())
        facts |= {"load generator": driver.name, "writes": WRITES, **asdict(settings)}
        bench = Bench(settings, driver, baseline, shlex.split(given.serve), Engines(stack), facts)
        for workload in chosen:
            say(f"{workload.NAME} {workload.TITLE}")
            try:
                for row in workload.run(bench):
                    rows.append(row)
                    say(f"  {row.what}: {report.number(row.value)} {row.unit}".rstrip())
            except (NotDoneError, RuntimeError, OSError, grpc.RpcError) as exc:
                failures[workload.NAME] = explain(exc)
                say(f"  {workload.NAME} FAILED: {exc}")
    if bench.others:
        facts["cores busy with other work"] = (
            f"{median(bench.others):.2f} in the median, {max(bench.others):.2f} at most"
        )
    print("\n" + report.table(rows) + "\n")
    for name, value in facts.items():
        print(f"{name}: {value}")
    for name, reason in failures.items():
        print(f"\n{name} FAILED, its figures do not count: {reason}")
    if given.json:
        report.write_json(given.json, facts, rows, failures)
    if given.document:
        report.insert(given.document, report.markdown(rows, facts))
        pictures.draw(given.document.with_suffix(""), rows)
    return 1 if failures or any(row.must and not row.met for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
