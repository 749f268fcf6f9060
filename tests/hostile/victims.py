"""A server under attack, and the figures that are seen of it from outside."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from pathlib import Path

from server_process import BIN

MEGABYTE = 1024 * 1024
#: `make hostile` runs the tests alone on the machine: only then do their latencies mean anything.
MEASURED = os.environ.get("STATUS_GRPC_HOSTILE") == "1"
#: The time within which memory has to be back, in seconds.
BACK_SECONDS = 60.0


class Victim:
    """A server under attack, and what is seen of it from outside.

    It is started from nothing, since gRPC reads the setting of its own log when it is imported.
    """

    def __init__(self, folder: Path, *flags: str, descriptors: int | None = None) -> None:
        self._log = folder / "server.log"
        command = [str(BIN / "status-grpc"), "serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        command += ["--metrics", "127.0.0.1:0", "--database-url", f"sqlite+aiosqlite:///{folder / 'traces.db'}", *flags]
        if descriptors is not None:
            command = ["/bin/sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "serve", *command]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert " listening on " in line, self._log.read_text()
        self.address, self.url = line.rpartition(" listening on ")[2].strip().split(" and ")
        self.before = self.resident()

    @property
    def metrics(self) -> str:
        """Return HOST:PORT of the metrics."""
        return next(str(line["address"]) for line in self.log_lines() if line["event"] == "serving metrics")

    def stop(self) -> int:
        """Drain the server and return its exit code."""
        self.process.terminate()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(60)

    def resident(self) -> int:
        """Return the memory that the process holds now, in bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def growth(self) -> float:
        """Return how much more memory it holds than before, in megabytes."""
        return (self.resident() - self.before) / MEGABYTE

    def comes_back(self, megabytes: float) -> bool:
        """Return whether its memory comes within so many megabytes of before."""
        until = time.monotonic() + BACK_SECONDS
        while self.growth() > megabytes:
            if time.monotonic() > until:
                return False
            time.sleep(0.1)
        return True

    def log_lines(self) -> list[dict[str, object]]:
        """Return the lines of its log. Raises ValueError for a line that is not JSON."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]


class Peak(threading.Thread):
    """Notes the most memory that a victim holds while this is entered."""

    def __init__(self, victim: Victim) -> None:
        super().__init__(daemon=True)
        self._victim = victim
        self._done = threading.Event()
        #: In megabytes more than before.
        self.growth = 0.0

    def __enter__(self) -> Peak:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()

    def run(self) -> None:
        while not self._done.wait(0.02):
            self.growth = max(self.growth, self._victim.growth())
