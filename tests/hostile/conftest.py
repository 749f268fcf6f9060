from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "http"))

from gateway import Gateway

MEGABYTE = 1024 * 1024
#: `make hostile` runs the tests alone on the machine: only then do their latencies mean anything.
MEASURED = os.environ.get("STATUS_GRPC_HOSTILE") == "1"
#: The time within which memory has to be back, in seconds.
BACK_SECONDS = 60.0


class Victim:
    """A server under attack, and what is seen of it from outside."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.before = self.resident()

    @property
    def address(self) -> str:
        return self.gateway.grpc

    @property
    def url(self) -> str:
        return self.gateway.url

    def resident(self) -> int:
        """Return the memory that the process holds now, in bytes."""
        assert self.gateway.process is not None
        pages = int(Path(f"/proc/{self.gateway.process.pid}/statm").read_text().split()[1])
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
        return [json.loads(line) for line in self.gateway.log.splitlines()]


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


@pytest.fixture
def victim(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Victim]:
    gateway = Gateway(tmp_path, *getattr(request, "param", ())).start()
    try:
        yield Victim(gateway)
    finally:
        assert gateway.stop() == 0
