"""docs/client.md and examples/ run as they stand."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import re
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest
from fake_server import FakeServer

import status_grpc
from status_grpc import ClientOptions, ReportingOptions, StatusClient, TraceEventStatus, TraceStatus, configure
from status_grpc.compat import okdata

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "client.md").read_text()


def test_the_guide_runs_top_to_bottom(client: StatusClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STATUS_GRPC_SERVER", client.options.server)
    okdata._client.cache_clear()
    configure(flush_timeout=30)
    namespace: dict[str, object] = {}
    for found in re.finditer(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL):
        line = GUIDE[: found.start(1)].count("\n")
        exec(compile("\n" * line + found[1], "docs/client.md", "exec"), namespace)
    okdata._client.cache_clear()


def test_the_guide_names_every_option_and_every_error():
    for field in [*fields(ClientOptions), *fields(ReportingOptions)]:
        assert f"`STATUS_GRPC_{field.name.upper()}`" in GUIDE, field.name
    for name in status_grpc.__all__:
        value = getattr(status_grpc, name)
        if isinstance(value, type) and issubclass(value, Exception) and value is not status_grpc.StatusError:
            assert f"`{name}`" in GUIDE, name


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def _server(client: StatusClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATUS_GRPC_SERVER", client.options.server)
    configure(flush_timeout=30)


pytestmark = pytest.mark.usefixtures("_server")


def test_the_pipeline(client: StatusClient):
    history = client.get_trace(example("pipeline").pipeline())
    assert [event.operation for event in history.events] == ["", "validate", "convert", "write", ""]
    assert history.trace.done


def test_the_pipeline_of_the_guide_has_at_most_eight_lines():
    code = re.search(r"## A pipeline\n\n```python\n(.*?)```", GUIDE, re.DOTALL)
    assert code is not None
    assert len(code[1].splitlines()) <= 8


def test_the_lambda_handler(client: StatusClient):
    trace_id = client.create(domain="dataset", domain_id="x/1", component="router").trace.trace_id
    event = {"execution_name": trace_id, "dataset": "x/1", "input": "s3://empty", "output": "s3://out"}
    assert example("lambda_handler").handler(event, None) == {"rows": 0}
    told = client.get_trace(trace_id).events[-1]
    assert (told.operation, told.status_body, told.errors[0].message["en"]) == (
        "handler",
        {"rows": 0},
        "The file is empty.",
    )


def test_the_asyncio_worker(client: StatusClient):
    ids = [client.create(domain="d", domain_id=f"{n}", component="c").trace.trace_id for n in range(5)]
    jobs = [(trace_id, "photo.tiff" if number % 2 else "photo.png") for number, trace_id in enumerate(ids)]
    assert len(asyncio.run(example("asyncio_worker").work(jobs))) == 5
    for number, trace_id in enumerate(ids):
        told = [(event.attempt, event.trace_event_status.value) for event in client.get_trace(trace_id).events[1:]]
        assert told == ([(1, "FAILED"), (2, "OK")] if number % 2 else [(1, "OK")])


def test_the_thread_pool(client: StatusClient):
    trace_id, results = example("thread_pool").pipeline(20)
    assert results == [part * part for part in range(20)]
    history = client.get_trace(trace_id)
    parts = {event.status_body["part"] for event in history.events if event.status_body}
    assert (parts, history.trace.done) == (set(range(20)), True)


def test_the_upload_service_returns_the_trace_id(client: StatusClient, tmp_path: Path):
    service = example("upload_service")
    service.app.config["FOLDER"] = tmp_path
    answer = service.app.test_client().post(
        "/datasets/bike-trips/1", data={"file": (io.BytesIO(b"a,b"), "trips.csv")}, headers={"X-User": "me"}
    )
    assert answer.status_code == 201
    assert (tmp_path / answer.json["s3_path"]).read_bytes() == b"a,b"
    found = client.get_by_path(answer.json["s3_path"])
    assert found.trace_ids == (answer.json["trace_id"],)
    assert (found.trace.user, found.trace.component, found.trace.done) == ("me", "data-uploader", False)


def test_an_upload_is_not_hurt_by_a_service_that_is_away(tmp_path: Path):
    fake = FakeServer()
    fake.start()
    fake.stop()
    configure(server=fake.address, flush_timeout=0.2)
    service = example("upload_service")
    service.app.config["FOLDER"] = tmp_path
    began = time.monotonic()
    answer = service.app.test_client().post("/datasets/bike-trips/1", data={"file": (io.BytesIO(b"a,b"), "trips.csv")})
    assert answer.status_code == 201
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(("outcome", "code"), [(TraceEventStatus.OK, 0), (TraceEventStatus.FAILED, 1)])
def test_the_watcher(client: StatusClient, outcome: TraceEventStatus, code: int):
    trace_id = client.create(domain="d", domain_id="x", component="c").trace.trace_id
    command = [sys.executable, str(ROOT / "examples" / "watcher.py"), trace_id]
    watcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    client.update(trace_id=trace_id, component="c", trace_status=TraceStatus.FINISHED, trace_event_status=outcome)
    output, _ = watcher.communicate(timeout=60)
    assert watcher.returncode == code
    assert output.splitlines()[-1].endswith(outcome.value)
