"""h2load, of nghttp2: the cheapest load generator there is.

It counts a gRPC error as a success, so the workloads must ask the service what was done.
"""

import resource
import subprocess
import tempfile
from pathlib import Path

from benchmarks.http2 import grpc_message
from benchmarks.load.base import Driver, Job, Outcome, Trail


class H2load(Driver):
    """Runs one h2load per connection, since one h2load sends one body."""

    name = "h2load"

    def __init__(self, path: str) -> None:
        self._path = path

    def run(self, job: Job) -> Outcome:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with tempfile.TemporaryDirectory(prefix="status-grpc-bench-") as folder:
            bodies = [Path(folder, f"body-{n}") for n in range(len(job.bodies))]
            logs = [Path(folder, f"log-{n}") for n in range(len(job.bodies))]
            for path, body in zip(bodies, job.bodies, strict=True):
                path.write_bytes(grpc_message(body))
            commands = [self._command(job, body, log) for body, log in zip(bodies, logs, strict=True)]
            running = [
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                for command in commands
            ]
            outputs = [process.communicate()[0] for process in running]
            if any(process.returncode for process in running):
                raise RuntimeError("h2load failed:\n" + "\n".join(outputs))
            trails = [self._trail(log) for log in logs]
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return Outcome(trails, cpu)

    def _command(self, job: Job, body: Path, log: Path) -> list[str]:
        return [
            *(self._path, "--clients=1", "--threads=1", f"--requests={job.calls_each}"),
            *(f"--max-concurrent-streams={job.streams}", f"--data={body}", f"--log-file={log}"),
            *("--header=content-type: application/grpc", "--header=te: trailers"),
            f"http://{job.address}{job.path}",
        ]

    @staticmethod
    def _trail(log: Path) -> Trail:
        """Read a log: start in microseconds since 1970, HTTP status (-1: no answer), microseconds to the end."""
        trail = Trail([], [])
        rows = [row.split("\t") for row in log.read_text().splitlines()]
        for start, status, duration, *_ in sorted(rows, key=lambda row: int(row[0]) + int(row[2])):
            trail.starts.append(int(start) / 1e6)
            trail.durations.append(int(duration) / 1e6)
            trail.failed += status != "200"
        return trail
