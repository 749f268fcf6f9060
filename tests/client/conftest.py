from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_server import FakeServer
from hypothesis import settings
from real_server import RealServer

from status_grpc import AsyncStatusClient, StatusClient, configure
from status_grpc.client.reporting.once import forget_warnings

# How long an example takes says more about the machine than about the code.
settings.register_profile("client", deadline=None)
settings.load_profile("client")


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """The real server, for tests that leave it as it is."""
    server = RealServer(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[RealServer]:
    """The real server, for tests that kill it."""
    server = RealServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def client(real: RealServer) -> Iterator[StatusClient]:
    with StatusClient(real.address) as client:
        yield client


@pytest.fixture
async def aio_client(real: RealServer):
    async with AsyncStatusClient(real.address) as client:
        yield client


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    """A service that fails on demand."""
    server = FakeServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def fake_client(fake: FakeServer) -> Iterator[StatusClient]:
    with StatusClient(fake.address, timeout=20) as client:
        yield client


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Each test has its own reporting and its own spool.

    None reports to whatever listens on the default port.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    for name in ("SERVER", "TRACE_ID", "COMPONENT", "SPOOL", "ATTEMPT", "TOKEN"):
        monkeypatch.delenv(f"STATUS_GRPC_{name}", raising=False)
    for name in ("SERVICE_NAME", "GIT_REV", "GIT_BRANCH"):
        monkeypatch.delenv(name, raising=False)
    forget_warnings()
    configure(reporting=False)
    yield
    configure(reporting=False)


@pytest.fixture
def reporting(real: RealServer) -> None:
    """Steps report to the real server."""
    configure(server=real.address, component="tests", flush_timeout=30)
