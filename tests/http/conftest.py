"""Servers with both edges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from gateway import PATIENCE, Gateway

from status_grpc import StatusClient


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A server that the tests of one process share: for those that leave it as it is."""
    flags = ["--http-prefix", "/status-api", "--http-origins", "https://a.example", "--drain-seconds", "1"]
    server = Gateway(tmp_path_factory.mktemp("gateway"), *flags).start()
    yield server
    server.kill()


@pytest.fixture
def new_gateway(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Start a server of the test's own, with these flags; several of one test have a folder each."""
    servers: list[Gateway] = []

    def start(*flags: str) -> Gateway:
        folder = tmp_path / f"gateway{len(servers)}"
        folder.mkdir()
        servers.append(Gateway(folder, "--drain-seconds", "2", *flags))
        return servers[-1].start()

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    """Requests to the shared server."""
    with httpx.Client(base_url=gateway.url, timeout=PATIENCE) as client:
        yield client


@pytest.fixture
def rpc(gateway: Gateway) -> Iterator[StatusClient]:
    """gRPC calls to the shared server."""
    with StatusClient(gateway.grpc) as client:
        yield client
