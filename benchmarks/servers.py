"""Server processes of a run: the service on a database of its own, and the baseline."""

import os
import select
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from benchmarks.payloads import Stub

BASELINE = [sys.executable, "-m", "benchmarks.baseline"]


class Server:
    """A server process in a temporary folder, from its readiness line to its end."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str] | None = None) -> None:
        self._folder = folder
        self._log = (folder / "stderr").open("w+")
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=Path.cwd(),
            env=None if env is None else os.environ | env,
        )
        try:
            line = self._ready(command)
            self.address = line[0]
            #: The URL of its HTTP edge; empty without one.
            self.http = line[1] if len(line) > 1 else ""
        except BaseException:
            self._stop()
            raise
        self.channel = grpc.insecure_channel(self.address)
        self.stub: Stub = Stub(self.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.channel.close()
        if exc is not None:
            print(f"the server's last words:\n{self.last_words()}", file=sys.stderr)
        self._stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def cpu(self) -> float:
        """The seconds of CPU that the server has used, all its processes; 0 where /proc does not tell."""
        try:
            stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self._pids()]
        except OSError:
            return 0.0
        return sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")

    def last_words(self) -> str:
        return (self._folder / "stderr").read_text(errors="replace")[-3000:].strip() or "(none)"

    @property
    def memory(self) -> int:
        """The bytes that the server's processes hold in memory; 0 where /proc does not tell."""
        try:
            pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self._pids()]
        except OSError:
            return 0
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")

    def _pids(self) -> list[int]:
        """The process and those it has started."""
        found = [self._process.pid]
        for pid in found:
            for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, tasks.read_text().split())
        return found

    def _ready(self, command: list[str], timeout: float = 30) -> list[str]:
        """Return the addresses in the readiness line."""
        deadline = time.monotonic() + timeout
        assert self._process.stdout is not None
        while not select.select([self._process.stdout], [], [], 0.1)[0]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"not ready after {timeout} s: {shlex.join(command)}\n{self.last_words()}")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"ended at once: {shlex.join(command)}\n{self.last_words()}")
        return line.rpartition(" listening on ")[2].strip().split(" and ")

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def start_service(serve: list[str], database_url: str, workers: int = 1, env: dict[str, str] | None = None) -> Server:
    """The service on a database."""
    command = [*serve, "--listen", "127.0.0.1:0", "--database-url", database_url, "--log-level", "warning"]
    if workers > 1:
        command += ["--workers", str(workers)]
    return Server(command, _folder(), env)


def start_baseline(workers: int = 1) -> Server:
    return Server([*BASELINE, "--listen", "127.0.0.1:0", "--workers", str(workers)], _folder())


def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="status-grpc-bench-"))
