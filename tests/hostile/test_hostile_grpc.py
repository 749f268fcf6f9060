"""What a stranger can send to the gRPC port: it neither takes the server down nor disturbs those who call meanwhile.

The bars are those of docs/operations.md. Latencies are asserted by `make hostile` only.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from bystander import Bystander
from http2_attacks import hold_streams
from tracestatus.v1 import status_service_pb2 as pb
from victims import MEASURED, Peak, Victim

HERE = Path(__file__).parent
REFUSED_REQUESTS = 100
BATCH = "/tracestatus.v1.StatusService/BatchUpdate"


def attack(name: str, victim: Victim, connections: int, seconds: float) -> int:
    """Run an attack in a process of its own; return how many streams it has opened."""
    command = [sys.executable, str(HERE / "http2_attacks.py"), name, victim.address, str(connections), str(seconds)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)


def assert_undisturbed(bystander: Bystander, worst: float) -> None:
    assert not bystander.seen.failures
    assert bystander.seen.calls
    print(f"worst calls of the bystander, in seconds: {bystander.seen.worst}")
    if MEASURED:
        assert max(bystander.seen.worst.values()) < worst


@pytest.mark.parametrize("connections", [1, 8])
def test_rapid_reset_costs_no_memory_and_disturbs_nobody(victim: Victim, connections: int) -> None:
    with Peak(victim) as peak, Bystander(victim.address, victim.url) as bystander:
        streams = attack("rapid_reset", victim, connections, 3)
    print(f"{streams} streams; memory grew by {peak.growth:.0f} MB")
    assert streams > 1_000
    assert peak.growth < 100
    assert_undisturbed(bystander, 0.15)
    assert len(victim.log_lines()) < 50


def test_header_bomb_is_bounded_and_its_memory_comes_back(victim: Victim) -> None:
    with Peak(victim) as peak, Bystander(victim.address, victim.url) as bystander:
        streams = attack("header_bomb", victim, 1, 2)
    print(f"{streams} streams; memory grew by {peak.growth:.0f} MB")
    assert streams > 100
    assert peak.growth < 300
    assert victim.comes_back(100)
    assert_undisturbed(bystander, 0.5)
    assert len(victim.log_lines()) < 50


def test_refused_requests_leave_no_memory_behind(victim: Victim) -> None:
    request = b"\x0a\x00" * 2_000_000
    with grpc.insecure_channel(victim.address) as channel:
        call = channel.unary_unary(BATCH, request_serializer=None)
        with Bystander(victim.address, victim.url) as bystander:
            for _ in range(REFUSED_REQUESTS):
                with pytest.raises(grpc.RpcError) as refused:
                    call(request, timeout=60)
                assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert "requests: has more than 1000 entries" in refused.value.details()
    print(f"memory grew by {victim.growth():.0f} MB")
    assert victim.comes_back(150)
    assert_undisturbed(bystander, 0.5)


@pytest.mark.parametrize("kind", ["proto", "json"])
def test_refused_connect_requests_leave_no_memory_behind(victim: Victim, kind: str) -> None:
    body = b"\x0a\x00" * 2_000_000 if kind == "proto" else b'{"requests":[' + b"{}," * 1_300_000 + b"{}]}"
    with Bystander(victim.address, victim.url) as bystander:
        connection = http.client.HTTPConnection(urlsplit(victim.url).netloc, timeout=60)
        for _ in range(REFUSED_REQUESTS):
            connection.request("POST", BATCH, body, {"Content-Type": f"application/{kind}"})
            response = connection.getresponse()
            assert (response.status, json.load(response)["code"]) == (400, "invalid_argument")
        connection.close()
    print(f"memory grew by {victim.growth():.0f} MB")
    assert victim.comes_back(150)
    assert_undisturbed(bystander, 0.5)


def test_call_beyond_the_fiftieth_waits_for_another_to_end(victim: Victim) -> None:
    with grpc.insecure_channel(victim.address) as channel:
        stream = channel.unary_stream(
            "/tracestatus.v1.StatusService/StreamTrace",
            request_serializer=pb.StreamTraceRequest.SerializeToString,
            response_deserializer=pb.StreamTraceResponse.FromString,
        )
        request = pb.StreamTraceRequest(trace_id="not-yet", wait_for_trace=True)
        open_streams = [stream(request, timeout=60) for _ in range(50)]
        for one in open_streams:
            assert next(one).HasField("checkpoint")
        waiting = stream(request, timeout=60)
        # The connection is full: nothing is answered until another call on it ends.
        get = channel.unary_unary("/tracestatus.v1.StatusService/GetTrace", request_serializer=None)
        with pytest.raises(grpc.RpcError) as silent:
            get(b"", timeout=1)
        assert silent.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        open_streams[0].cancel()
        assert next(waiting).HasField("checkpoint")
        for one in [*open_streams, waiting]:
            one.cancel()


@pytest.mark.parametrize("victim", [("--max-streams-per-caller", "20")], indirect=True)
def test_caller_at_its_limit_leaves_others_unaffected(victim: Victim) -> None:
    request = pb.StreamTraceRequest(trace_id="not-yet", wait_for_trace=True)
    # Another loopback address is another caller.
    held = hold_streams(victim.address, "127.0.0.2", 20, request.SerializeToString())
    with grpc.insecure_channel(victim.address) as channel:
        stream = channel.unary_stream(
            "/tracestatus.v1.StatusService/StreamTrace",
            request_serializer=pb.StreamTraceRequest.SerializeToString,
            response_deserializer=pb.StreamTraceResponse.FromString,
        )
        open_streams = [stream(request, timeout=60) for _ in range(20)]
        for one in open_streams:
            assert next(one).HasField("checkpoint")
        with pytest.raises(grpc.RpcError) as refused:
            next(stream(request, timeout=10))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        get = channel.unary_unary("/tracestatus.v1.StatusService/GetTrace", request_serializer=None)
        with pytest.raises(grpc.RpcError) as answered:
            get(pb.GetTraceRequest(trace_id="unknown").SerializeToString(), timeout=10)
        assert answered.value.code() is grpc.StatusCode.NOT_FOUND
        for one in open_streams:
            one.cancel()
    held.close()


def many(flags: tuple[str, ...], count: int) -> Any:
    return pytest.param(flags, count, id=f"{count} followers")


#: A connection serves 50 calls, so more followers than that show that the client opens others.
FOLLOWERS = [many((), 5_000), many(("--max-streams-per-caller", "10000"), 10_000)] if MEASURED else [many((), 300)]


@pytest.mark.parametrize(("victim", "count"), FOLLOWERS, indirect=["victim"])
def test_one_client_follows_more_traces_than_a_connection_serves(victim: Victim, count: int) -> None:
    command = [sys.executable, str(HERE / "many_followers.py"), victim.address, str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as followers:
        assert followers.stdout is not None
        assert followers.stdin is not None
        assert followers.stdout.readline() == "following\n"
        with Bystander(victim.address, victim.url) as bystander:
            time.sleep(0.5)
        print(f"{count} followers; memory grew by {victim.growth():.0f} MB")
        assert_undisturbed(bystander, 0.15)
        followers.stdin.close()
        assert followers.wait(60) == 0
