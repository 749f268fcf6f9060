"""Silent connections from one address, under few file descriptors: health is answered, and others are served."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from bystander import Bystander
from server_process import BIN

SILENT, DESCRIPTORS = 400, 300


class Limited:
    """A server with few file descriptors: a new process, since the limit is set before it starts."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "log"
        serve = [str(BIN / "status-grpc"), "serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        serve += ["--metrics", "127.0.0.1:0", "--database-url", f"sqlite+aiosqlite:///{folder / 'traces.db'}"]
        command = ["/bin/sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$@"', "serve", *serve]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._log.open("w"), text=True, cwd=folder
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert " listening on " in line, self._log.read_text()
        self.grpc, self.url = line.rpartition(" listening on ")[2].strip().split(" and ")

    @property
    def metrics(self) -> str:
        lines = [json.loads(line) for line in self._log.read_text().splitlines()]
        return next(str(line["address"]) for line in lines if line["event"] == "serving metrics")

    def stop(self) -> int:
        self.process.terminate()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(30)


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Limited]:
    server = Limited(tmp_path)
    try:
        yield server
    finally:
        assert server.stop() == 0


def status(url: str) -> int:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return int(answer.status)


@pytest.mark.parametrize("edge", ["grpc", "http", "metrics"])
def test_silent_connections_leave_health_and_others_alone(limited: Limited, edge: str) -> None:
    host, port = {"grpc": limited.grpc, "http": limited.url.rpartition("/")[2], "metrics": limited.metrics}[edge].split(
        ":"
    )
    with ExitStack() as stack, Bystander(limited.grpc, limited.url) as bystander:
        for _ in range(SILENT):
            silent = socket.socket()
            stack.enter_context(silent)
            silent.settimeout(10)
            silent.bind(("127.0.0.2", 0))
            silent.connect((host, int(port)))
        assert status(f"{limited.url}/healthz") == 200
        assert status(f"http://{limited.metrics}/healthz") == 200
        assert status(f"http://{limited.metrics}/metrics") == 200
    assert not bystander.seen.failures
