"""Runs `status-grpc` and a server as processes, and makes traces for the commands to find."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from warm import WarmProcess

from status_grpc import StatusClient, TraceEventStatus, TraceStatus

COMMAND = [sys.executable, "-P", "-m", "status_grpc.cli.main"]


@dataclass
class Run:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def sentence(self) -> str:
        """What the command says went wrong: one line, and nothing else."""
        assert self.out == ""
        assert self.err.startswith("Error: ")
        assert self.err.count("\n") == 1
        return self.err.removeprefix("Error: ").strip()


@dataclass
class CommandLine:
    """Runs `status-grpc` with an environment of its own."""

    environment: dict[str, str] = field(default_factory=dict)
    #: Whether the process is forked from one that has imported the program. What Python and gRPC write, and how, is
    #: decided before that.
    warm: bool = True

    def __call__(self, *arguments: str | bytes, stdin: str = "", **environment: str) -> Run:
        environment = self.environment | environment
        if not self.warm or "PYTHONIOENCODING" in environment:
            return self._from_nothing(arguments, stdin, environment)
        with tempfile.TemporaryDirectory() as folder:
            given, log = Path(folder, "stdin"), Path(folder, "stderr")
            given.write_bytes(stdin.encode())
            process = WarmProcess(arguments, log=log, stdin=given, environment=environment)
            out = process.communicate()
            return self._ended(process.wait(), out, log.read_bytes())

    def _from_nothing(self, arguments: Sequence[str | bytes], stdin: str, environment: dict[str, str]) -> Run:
        done = subprocess.run(
            [*COMMAND, *arguments], input=stdin.encode(), capture_output=True, env=environment, timeout=60, check=False
        )
        return self._ended(done.returncode, done.stdout, done.stderr)

    @staticmethod
    def _ended(code: int, out: bytes, err: bytes) -> Run:
        assert b"Traceback" not in err
        return Run(code, out.decode(), err.decode())


@dataclass
class Traces:
    """Makes what commands are to find; most tests need some, and a process for each would take its time."""

    client: StatusClient

    def create(self, **fields: Any) -> str:
        """Start a trace and return its id."""
        given = {"domain": "dataset", "domain_id": "d/1", "component": "data-uploader"} | fields
        return self.client.create(**given).trace.trace_id

    def update(self, trace_id: str, **fields: Any) -> None:
        """Append an event."""
        self.client.update(trace_id=trace_id, **{"component": "c"} | fields)

    def finish(self, trace_id: str, outcome: TraceEventStatus, **fields: Any) -> None:
        """Append the event that ends the trace."""
        self.client.update(
            trace_id=trace_id,
            component="state-machine",
            trace_status=TraceStatus.FINISHED,
            trace_event_status=outcome,
            **fields,
        )


@contextmanager
def serving(environment: dict[str, str], folder: Path, *flags: str, listen: str = "127.0.0.1:0") -> Iterator[str]:
    """Run a server in this folder; yields where it listens."""
    arguments = ["serve", "--listen", listen, "--database-url", f"sqlite+aiosqlite:///{folder / 'traces.db'}", *flags]
    process = WarmProcess(arguments, folder=folder, log=folder / "server.log", environment=environment)
    try:
        yield process.first_line().split()[-1]
    finally:
        process.terminate()
        process.communicate()
