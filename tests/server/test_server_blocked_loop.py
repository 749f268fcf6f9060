"""A server whose event loop is blocked while the process lives, and what systemd gets from a real server."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from server_process import Server
from warm import PATIENCE

from status_grpc.cli.main import main

HANG_SECONDS = 3
#: A module that lets SIGUSR1 block the main thread, and with it the event loop. gRPC's own threads go on.
BLOCKING = "import signal, time; signal.signal(signal.SIGUSR1, lambda *_: time.sleep(1_000))"


def main_with_blocking_workers() -> None:
    """Run `status-grpc` with workers that import the sitecustomize module of the folder."""
    os.environ["PYTHONPATH"] = str(Path.cwd())
    main()


def main_with_blocking() -> None:
    """Run `status-grpc` in a process whose loop SIGUSR1 blocks for two seconds."""
    signal.signal(signal.SIGUSR1, lambda *_: time.sleep(2))
    main()


def main_under_systemd() -> None:
    """Run `status-grpc` with the environment that systemd gives to a unit with WatchdogSec=10."""
    os.environ["NOTIFY_SOCKET"] = str(Path.cwd() / "notify")
    os.environ["WATCHDOG_USEC"] = "10000000"
    main()


class BlockingWorkers(Server):
    program = staticmethod(main_with_blocking_workers)


class BlockingServer(Server):
    program = staticmethod(main_with_blocking)


class SystemdServer(Server):
    program = staticmethod(main_under_systemd)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_worker_with_a_blocked_loop_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKING)
    server = BlockingWorkers(tmp_path, "--workers", "2", "--hang-seconds", str(HANG_SECONDS)).start()
    try:
        before = set(server.workers())
        blocked = min(before)
        os.kill(blocked, signal.SIGUSR1)
        until(lambda: "a worker was replaced" in server.log, "the blocked worker was not replaced")
        after = set(server.workers())
        assert len(after) == 2
        assert after & before == before - {blocked}
        assert server.log.count("a worker hangs") == 1
    finally:
        assert server.stop() == 0


def test_liveness_of_a_single_server_stops_while_its_loop_is_blocked(tmp_path: Path) -> None:
    server = BlockingServer(tmp_path, "--http", "127.0.0.1:0").start()
    try:
        with grpc.insecure_channel(server.address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest(service="liveness")
            assert health.Check(request, timeout=PATIENCE).status == health_pb2.HealthCheckResponse.SERVING
            assert server.process is not None
            server.process.send_signal(signal.SIGUSR1)
            until(lambda: not _answers(server.http, 0.5), "liveness was answered all the time")
            with pytest.raises(grpc.RpcError) as silent:
                health.Check(request, timeout=0.2)
            assert silent.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert _answers(server.http, PATIENCE)  # once the loop runs again
            assert health.Check(request, timeout=PATIENCE).status == health_pb2.HealthCheckResponse.SERVING
    finally:
        assert server.stop() == 0


def _answers(url: str, seconds: float) -> bool:
    try:
        with urlopen(f"{url}/healthz", timeout=seconds) as response:
            return bool(response.status == 200)
    except (TimeoutError, URLError):
        return False


@pytest.mark.parametrize("workers", ["1", "2"])
def test_systemd_gets_ready_pulses_and_the_end_of_a_server(tmp_path: Path, workers: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE)
        server = SystemdServer(tmp_path, "--workers", workers).start()
        try:
            states = [systemd.recv(100)]
            while b"READY=1" not in states or states[-1] != b"WATCHDOG=1":
                states.append(systemd.recv(100))
        finally:
            assert server.stop() == 0
        while states[-1] != b"STOPPING=1":
            states.append(systemd.recv(100))
    assert set(states) == {b"READY=1", b"WATCHDOG=1", b"STOPPING=1"}
    assert states.count(b"READY=1") == 1
