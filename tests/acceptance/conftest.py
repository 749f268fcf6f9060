"""Real servers for the tests here, and channels to them. Nothing below imports the application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import grpc
import pytest
from calls import CHANNEL_OPTIONS, Stub
from server_process import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that the tests of one process share: for those that neither stop it nor need settings of their own."""
    shared = Server(
        tmp_path_factory.mktemp("server"),
        "--checkpoint-seconds",
        "0.5",
        "--poll-seconds",
        "0.3",
        "--drain-seconds",
        "1",
    )
    shared.start()
    yield shared
    assert shared.stop() == 0, "a drained server ends with exit code 0"


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a server of the test's own, with these flags; several of one test have a folder each."""
    servers: list[Server] = []

    def start(*flags: str) -> Server:
        folder = tmp_path / f"server{len(servers)}"
        folder.mkdir()
        servers.append(Server(folder, *flags))
        return servers[-1].start()

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Stub]]:
    """Return a stub for a server, on a connection of its own."""
    channels: list[grpc.aio.Channel] = []

    def stub_for(server: Server, *options: tuple[str, int]) -> Stub:
        channels.append(grpc.aio.insecure_channel(server.address, options=[*CHANNEL_OPTIONS, *options]))
        return Stub(channels[-1])

    yield stub_for
    for channel in channels:
        await channel.close()


@pytest.fixture
def stub(server: Server, connect: Callable[..., Stub]) -> Stub:
    """A stub for the shared server."""
    return connect(server)
