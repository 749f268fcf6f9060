"""Silent connections from one address, under few file descriptors: health is answered, and others are served."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from bystander import Bystander
from victims import Victim

SILENT, DESCRIPTORS = 400, 300


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Victim]:
    server = Victim(tmp_path, descriptors=DESCRIPTORS)
    try:
        yield server
    finally:
        assert server.stop() == 0


def status(url: str) -> int:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return int(answer.status)


@pytest.mark.parametrize("edge", ["grpc", "http", "metrics"])
def test_silent_connections_leave_health_and_others_alone(limited: Victim, edge: str) -> None:
    addresses = {"grpc": limited.address, "http": limited.url.rpartition("/")[2], "metrics": limited.metrics}
    host, port = addresses[edge].split(":")
    with ExitStack() as stack, Bystander(limited.address, limited.url) as bystander:
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
