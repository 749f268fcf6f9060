"""AWS as moto's server is, on this machine, and a real status-grpc server. Nothing here ever talks to AWS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pipeline_example import moto_server, run

from status_grpc import StatusClient, configure
from status_grpc.client.reporting.once import forget_warnings


@pytest.fixture(scope="session")
def moto() -> Iterator[dict[str, str]]:
    """The environment in which boto3 finds moto's server."""
    with moto_server() as environment:
        yield environment


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run.status_server(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture(scope="session")
def client(address: str) -> Iterator[StatusClient]:
    with StatusClient(address) as client:
        yield client


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, address: str) -> Iterator[None]:
    """Without moto there is no AWS: whatever asks for it finds a closed port."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "STATUS_GRPC_TRACE_ID", "SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("STATUS_GRPC_SERVER", address)
    forget_warnings()
    configure(server=address, flush_timeout=30)
    yield
    configure(reporting=False)


@pytest.fixture
def aws(moto: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in moto.items():
        monkeypatch.setenv(name, value)
