"""The command line as its users have it: a process, against a server that is another one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from command_line import CommandLine, Traces, serving

from status_grpc import StatusClient


@pytest.fixture(scope="session")
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("home")
    ours = ("STATUS_GRPC_", "LC_", "LANG", "COLUMNS", "LINES", "NO_COLOR")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")}


@pytest.fixture(scope="session")
def server(clean_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(clean_environment, tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture(scope="session")
def traces(server: str) -> Iterator[Traces]:
    with StatusClient(server) as client:
        yield Traces(client)


@pytest.fixture(scope="session")
def cli(clean_environment: dict[str, str], server: str) -> CommandLine:
    return CommandLine({**clean_environment, "STATUS_GRPC_SERVER": server})


@pytest.fixture
def offline_cli(clean_environment: dict[str, str]) -> CommandLine:
    """A command line that knows no server."""
    return CommandLine(clean_environment)
