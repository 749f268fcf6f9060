"""Server processes of a run: the service on a database of its own, and the baseline."""

import os
import select
import shlex
import shutil
import sqlite3
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

    def __init__(self, command: list[str], folder: Path) -> None:
        self._folder = folder
        self._log = (folder / "stderr").open("w+")
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, text=True, cwd=Path.cwd())
        try:
            self.address = self._ready(command)
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
    def cpu(self) -> float:
        """The seconds of CPU that the server has used, all its threads; 0 where /proc does not tell."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def last_words(self) -> str:
        return (self._folder / "stderr").read_text(errors="replace")[-3000:].strip() or "(none)"

    def journal_mode(self) -> str:
        """How the database file is journaled, as the file itself says."""
        for path in self._folder.glob("*.db"):
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
                return str(database.execute("pragma journal_mode").fetchone()[0])
        return "unknown"

    def _ready(self, command: list[str], timeout: float = 30) -> str:
        deadline = time.monotonic() + timeout
        assert self._process.stdout is not None
        while not select.select([self._process.stdout], [], [], 0.1)[0]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"not ready after {timeout} s: {shlex.join(command)}\n{self.last_words()}")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"ended at once: {shlex.join(command)}\n{self.last_words()}")
        return line.split()[-1]

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


def start_service(serve: list[str]) -> Server:
    """The service on a new database."""
    folder = Path(tempfile.mkdtemp(prefix="status-grpc-bench-"))
    database = f"sqlite+aiosqlite:///{folder / 'bench.db'}"
    return Server([*serve, "--listen", "127.0.0.1:0", "--database-url", database], folder)


def start_baseline() -> Server:
    return Server([*BASELINE, "--listen", "127.0.0.1:0"], Path(tempfile.mkdtemp(prefix="status-grpc-bench-")))
