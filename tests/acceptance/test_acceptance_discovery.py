"""What a stranger finds without any file of this project: reflection, health checks, and `buf curl` by both alone."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from calls import CHANNEL_OPTIONS, ENDED_OK, Code, Stub, all_events, get, unique, update
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from server_process import BIN, Server

SERVICE = "tracestatus.v1.StatusService"
METHODS = (
    "Create",
    "Update",
    "BatchUpdate",
    "Heartbeat",
    "GetTrace",
    "GetByPath",
    "StreamTrace",
    "WaitTrace",
    "ListTraces",
    "GetLineage",
)


class Curl:
    """`buf curl` in an empty folder: what it knows it has from the server's reflection."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server = server
        self._folder = folder

    async def __call__(self, method: str, *flags: str, **request: Any) -> tuple[int, list[Any], str]:
        """Return the exit code, the JSON messages and what was written to standard error."""
        command = [BIN / "buf", "curl", "--http2-prior-knowledge", "--protocol", "grpc", *flags]
        command += ["--data", json.dumps(request), f"http://{self._server.address}/{method}"]
        done = await asyncio.to_thread(subprocess.run, command, cwd=self._folder, capture_output=True, text=True)
        return done.returncode, messages(done.stdout), done.stderr


def messages(text: str) -> list[Any]:
    """Return the JSON values in a text, which stand one after the other."""
    found, decoder = [], json.JSONDecoder()
    while text := text.strip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


@pytest.fixture
def curl(server: Server, tmp_path: Path) -> Curl:
    return Curl(server, tmp_path)


async def test_reflection_names_every_service_and_method(server: Server, tmp_path: Path) -> None:
    command = [BIN / "buf", "curl", "--http2-prior-knowledge", "--protocol", "grpc", "--list-methods"]
    done = await asyncio.to_thread(
        subprocess.run, [*command, f"http://{server.address}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    listed = set(done.stdout.split())
    assert {f"{SERVICE}/{method}" for method in METHODS} <= listed
    assert {"grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch"} <= listed


async def test_a_trace_can_be_lived_from_its_beginning_to_its_end_by_reflection_alone(curl: Curl, stub: Stub) -> None:
    path = unique("raw/x")
    event = {"domain": "dataset", "domain_id": "my-dataset/1", "component": "data-uploader", "s3_path": path}
    body = {"rows": 3, "ok": [True, None]}
    code, (created,), _ = await curl(
        f"{SERVICE}/Create", event=event | {"status_body": {"rows": 3, "ok": [True, None]}}
    )
    assert code == 0
    trace_id = created["trace"]["traceId"]
    assert created["event"]["statusBody"] == body

    update_request = {"trace_id": trace_id, "component": "validator", "errors": [{"message": {"nb": "feil"}}]}
    _, (updated,), _ = await curl(f"{SERVICE}/Update", event=update_request)
    assert updated["event"]["sequence"] == "2"
    ended = {"trace_id": trace_id, "component": "end", "trace_status": "TRACE_STATUS_FINISHED"}
    outcome = {"trace_event_status": "TRACE_EVENT_STATUS_FAILED"}
    _, (answer,), _ = await curl(
        f"{SERVICE}/BatchUpdate", requests=[{"event": ended}, {"event": ended | outcome}, {"event": update_request}]
    )
    assert [result.get("sequence") for result in answer["results"]] == [None, "3", "4"]
    violations = answer["results"][0]["error"]["details"][1]["fieldViolations"]
    assert violations[0]["field"] == "requests[0].event.trace_event_status", "details are readable inside answers too"

    _, (heard,), _ = await curl(f"{SERVICE}/Heartbeat", trace_id=trace_id)
    _, (found,), _ = await curl(f"{SERVICE}/GetByPath", s3_path=path)
    _, (waited,), _ = await curl(f"{SERVICE}/WaitTrace", trace_id=trace_id)
    _, (page,), _ = await curl(f"{SERVICE}/GetTrace", trace_id=trace_id, page_size=2)
    assert heard["trace"] == found["trace"] == waited["trace"] == page["trace"]
    assert page["trace"]["done"] is True
    assert page["trace"]["errors"][0]["error"]["message"] == {"nb": "feil"}
    assert page["nextPageToken"]
    code, story, _ = await curl(f"{SERVICE}/StreamTrace", trace_id=trace_id, after_sequence=1)
    assert code == 0
    assert [message["event"]["sequence"] for message in story if "event" in message] == ["2", "3", "4"]
    assert story[-1]["checkpoint"]["done"] is True
    _, (listed,), _ = await curl(f"{SERVICE}/ListTraces", outcome="TRACE_EVENT_STATUS_FAILED", page_size=500)
    assert trace_id in [trace["traceId"] for trace in listed["traces"]]
    assert (await get(stub, trace_id)).trace.event_count == 4


async def test_a_follower_by_reflection_ends_when_the_trace_does(curl: Curl, stub: Stub) -> None:
    trace_id = unique("x")
    following = asyncio.create_task(curl(f"{SERVICE}/StreamTrace", trace_id=trace_id, wait_for_trace=True))
    await curl(
        f"{SERVICE}/Create", trace_id=trace_id, event={"domain": "dataset", "domain_id": "d", "component": "uploader"}
    )
    await update(stub, trace_id, **ENDED_OK)
    code, story, errors = await following
    assert code == 0, errors
    sequences = [int(message["event"]["sequence"]) for message in story if "event" in message]
    assert sequences == [event.sequence for event in await all_events(stub, trace_id)]


async def test_a_bad_create_prints_each_field_violation_readably(curl: Curl) -> None:
    code, printed, errors = await curl(
        f"{SERVICE}/Create",
        event={"component": "", "attempt": -1, "trace_status": "TRACE_STATUS_FINISHED", "errors": [{}]},
    )
    assert (code, printed) != (0, [])
    (error,) = messages(errors)
    assert error["code"] == "invalid_argument"
    for field in ("domain", "domain_id", "component", "attempt", "trace_event_status", "errors[0].message"):
        (sentence,) = [part for part in error["message"].split("; ") if part.startswith(f"event.{field}: ")]
        assert sentence != f"event.{field}: "
    assert [detail["type"] for detail in error["details"]] == ["google.rpc.ErrorInfo", "google.rpc.BadRequest"]


async def test_an_unknown_trace_is_explained_readably(curl: Curl) -> None:
    code, _, errors = await curl(f"{SERVICE}/GetTrace", trace_id="nothing")
    (error,) = messages(errors)
    assert code != 0
    assert error["code"] == "not_found"
    assert "nothing" in error["message"]
    assert [detail["type"] for detail in error["details"]] == ["google.rpc.ErrorInfo"]


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_explains_the_details_of_errors(server: Server, version: str) -> None:
    """So that a tool that has no proto files can show them."""
    names = [f"google.rpc.{name}" for name in ("Status", "ErrorInfo", "BadRequest", "RetryInfo")]
    async with grpc.aio.insecure_channel(server.address, options=CHANNEL_OPTIONS) as channel:
        call = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        questions = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in names]
        answers = [answer async for answer in call(iter_async(questions))]
    assert all(answer.file_descriptor_response.file_descriptor_proto for answer in answers)
    assert len(answers) == len(names)


async def iter_async(values: list[Any]) -> AsyncIterator[Any]:
    for value in values:
        yield value


@pytest.mark.parametrize("name", ["", "liveness", "readiness", SERVICE])
async def test_health_is_told_by_name(server: Server, curl: Curl, name: str) -> None:
    async with grpc.aio.insecure_channel(server.address, options=CHANNEL_OPTIONS) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert (await curl("grpc.health.v1.Health/Check", service=name))[1] == [{"status": "SERVING"}]


async def test_the_health_of_an_unknown_name_is_not_found(server: Server) -> None:
    async with grpc.aio.insecure_channel(server.address, options=CHANNEL_OPTIONS) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="other"))
    assert raised.value.code() is Code.NOT_FOUND
