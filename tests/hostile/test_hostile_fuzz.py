"""Random frames and requests for a bounded time: the server answers the next call, and its log names no surprise."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from bystander import Bystander
from http2_attacks import PREFACE, SETTINGS, frame, request_block
from victims import MEASURED, Victim

SECONDS = 120.0 if MEASURED else 2.0
SEED = int(os.environ.get("STATUS_GRPC_FUZZ_SEED", "20261201"))
REQUESTS = [
    b"POST /status HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"GET /status/x HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /api/v1/lineage HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"POST /tracestatus.v1.StatusService/Update HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab",
    b"GET /v1/traces/x/events?after_sequence=1 HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n",
]


def send(address: str, data: bytes) -> None:
    """Send bytes on a connection of their own, read what comes at once, and hang up."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        try:
            connection.sendall(data)
            connection.settimeout(0.02)
            connection.recv(65536)
        except OSError:
            pass


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Replace, repeat or leave out some bytes."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 5)):
        start = chance.randint(0, len(changed))
        changed[start : start + chance.randint(0, 6)] = chance.randbytes(chance.randint(0, 6)) * chance.randint(1, 3)
    return bytes(changed)


def frames(chance: random.Random) -> bytes:
    """Return a preface and some random frames, most of them of known types."""
    data = PREFACE + frame(SETTINGS, 0, 0, b"")
    for _ in range(chance.randint(1, 20)):
        payload = request_block() if chance.random() < 0.3 else chance.randbytes(chance.randint(0, 64))
        stream = chance.choice([0, 1, 3, 5, 2**31 - 1])
        data += frame(chance.randint(0, 12), chance.randint(0, 255), stream, payload)
    return data if chance.random() < 0.8 else mutated(data, chance)


@pytest.mark.parametrize("edge", ["grpc", "http"])
def test_server_survives_random_input(victim: Victim, edge: str) -> None:
    chance = random.Random(SEED)
    until, sent = time.monotonic() + SECONDS, 0
    with Bystander(victim.address, victim.url) as bystander:
        while time.monotonic() < until:
            if edge == "grpc":
                send(victim.address, frames(chance))
            else:
                send(victim.url.rpartition("/")[2], mutated(chance.choice(REQUESTS), chance))
            sent += 1
    print(f"{sent} connections, seed {SEED}; memory grew by {victim.growth():.0f} MB")
    assert not bystander.seen.failures
    assert not [line for line in victim.log_lines() if "unexpectedly" in str(line["event"])]
    assert victim.comes_back(100)


@pytest.mark.skipif(not (MEASURED and find_spec("atheris")), reason="long form, where atheris is installed")
def test_guided_fuzzing_finds_nothing_in_the_long_form_with_atheris(tmp_path: Path) -> None:
    program = Path(__file__).parent / "guided_fuzzing.py"
    command = [sys.executable, str(program), f"-max_total_time={SECONDS:.0f}", "-max_len=4096", f"-seed={SEED}"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=10 * SECONDS, cwd=tmp_path, check=False)
    assert run.returncode == 0, run.stderr[-4000:]
    print(run.stderr[-300:])
