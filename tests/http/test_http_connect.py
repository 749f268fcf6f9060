"""Connect and gRPC-Web: every call, in both encodings, with the errors of gRPC; hostile requests get no 500."""

from __future__ import annotations

import base64
import gzip
import json
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any
from urllib.parse import quote, unquote

import grpc
import httpx
import pytest
from connecting import FINISHED, METHODS, SERVICE, Caller, envelope, envelopes, refused, wait_until
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.protocol import ProtocolType
from gateway import PATIENCE, Gateway
from google.rpc import status_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from old_bodies import unique
from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1 import trace_pb2
from tracestatus.v1.status_service_pb2_grpc import StatusServiceStub

from status_grpc import StatusClient

PATH = f"/{SERVICE.full_name}"

WAYS = {
    "connect-binary": (ProtocolType.CONNECT, False),
    "connect-json": (ProtocolType.CONNECT, True),
    "grpc-web-binary": (ProtocolType.GRPC_WEB, False),
    "grpc-web-json": (ProtocolType.GRPC_WEB, True),
}


@pytest.fixture(params=WAYS)
def caller(request: pytest.FixtureRequest, gateway: Gateway) -> Caller:
    return caller_by(request.param, gateway)


def caller_by(way: str, gateway: Gateway) -> Caller:
    protocol, as_json = WAYS[way]
    return Caller(gateway.url, protocol=protocol, as_json=as_json)


def kinds(messages: list[pb.StreamTraceResponse]) -> list[str]:
    return [message.WhichOneof("message") for message in messages]


def test_every_call_works(caller: Caller) -> None:
    trace_id, path = unique("every-call"), unique("path")
    created = caller.create(trace_id, s3_path=path)
    assert (created.trace.trace_id, created.event.sequence) == (trace_id, 1)
    updated = caller.update(trace_id, operation="validate", duration={"seconds": 1, "nanos": 500_000_000})
    assert (updated.event.sequence, updated.event.duration.nanos) == (2, 500_000_000)
    batch = pb.BatchUpdateRequest()
    batch.requests.add().event.MergeFrom(trace_pb2.TraceEvent(trace_id=trace_id, component="a"))
    batch.requests.add().event.MergeFrom(trace_pb2.TraceEvent(trace_id=trace_id))
    first, second = caller.call("BatchUpdate", batch).results
    assert first.sequence == 3
    assert second.error.message == "requests[1].event.component: is required"
    assert second.reason == "INVALID_FIELD"
    assert second.field_violations[0].field == "requests[1].event.component"
    assert len(second.error.details) == (0 if caller.as_json else 2)
    assert caller.call("Heartbeat", pb.HeartbeatRequest(trace_id=trace_id)).trace.last_sequence == 3
    page = caller.call("GetTrace", pb.GetTraceRequest(trace_id=trace_id, page_size=2))
    assert [event.sequence for event in page.events] == [1, 2]
    rest = pb.GetTraceRequest(trace_id=trace_id, page_size=2, page_token=page.next_page_token)
    assert [event.sequence for event in caller.call("GetTrace", rest).events] == [3]
    assert list(caller.call("GetByPath", pb.GetByPathRequest(s3_path=path)).trace_ids) == [trace_id]
    listed = caller.call("ListTraces", pb.ListTracesRequest(domain_id="bike-trips/1", page_size=500))
    assert trace_id in [trace.trace_id for trace in listed.traces]
    caller.update(trace_id, **FINISHED)
    assert caller.call("WaitTrace", pb.WaitTraceRequest(trace_id=trace_id)).trace.done
    messages = list(caller.stream(trace_id=trace_id, after_sequence=1))
    assert kinds(messages) == ["checkpoint", "event", "event", "event", "checkpoint"]
    assert messages[-1].checkpoint.done


def test_what_is_written_by_one_way_reads_the_same_by_all_others(gateway: Gateway) -> None:
    trace_id = unique("one-meaning")
    event: dict[str, Any] = {
        "user": "ola",
        "status_body": {"rows": 7, "price": 1.25, "nested": [{"x": None}, True, "å"]},
        "exception": {"type": "ValueError", "message": "bad"},
        "errors": [{"message": {"nb": "Rad 3", "en": "Row 3"}, "details": {"row": 3}}],
        "inputs": [{"uri": "s3://raw/x", "version": "v1"}],
        "duration": {"seconds": 2, "nanos": 1000},
        "attempt": 2,
        "step_id": "s",
    }
    Caller(gateway.url, as_json=True).create(trace_id, **event)
    with grpc.insecure_channel(gateway.grpc) as channel:
        told = StatusServiceStub(channel).GetTrace(pb.GetTraceRequest(trace_id=trace_id), timeout=PATIENCE)
    for way in WAYS:
        caller = caller_by(way, gateway)
        assert caller.call("GetTrace", pb.GetTraceRequest(trace_id=trace_id)) == told
        assert [m.event for m in islice(caller.stream(trace_id=trace_id), 1, 2)] == list(told.events)


def test_a_stream_tells_what_happens_as_it_happens(caller: Caller) -> None:
    trace_id = unique("as-it-happens")
    caller.create(trace_id)
    stream = iter(caller.stream(trace_id=trace_id))
    assert kinds([next(stream) for _ in range(3)]) == ["checkpoint", "event", "checkpoint"]
    for sequence in (2, 3):
        caller.update(trace_id, **(FINISHED if sequence == 3 else {}))
        assert next(stream).event.sequence == sequence
    assert next(stream).checkpoint.done
    assert list(stream) == []


def test_errors_have_the_codes_and_details_of_grpc(caller: Caller) -> None:
    trace_id = unique("errors")
    with refused() as told:
        caller.call("GetTrace", pb.GetTraceRequest(trace_id="nobody's"))
    assert told == ["not_found", "TRACE_NOT_FOUND", 'there is no trace "nobody\'s"']
    with refused() as told:
        caller.create(trace_id, domain="", attempt=-1)
    assert told[:2] == ["invalid_argument", "INVALID_FIELD"]
    assert told[2] == "event.domain: is required; event.attempt: must not be negative"
    caller.create(trace_id)
    with refused() as told:
        caller.create(trace_id)
    assert told[:2] == ["already_exists", "TRACE_EXISTS"]
    with refused() as told:
        event = trace_pb2.TraceEvent(trace_id=trace_id, component="c")
        caller.call("Update", pb.UpdateRequest(event=event, expected_sequence=7))
    assert told[:2] == ["aborted", "SEQUENCE_MISMATCH"]
    with refused() as told:
        list(caller.stream(trace_id=trace_id, after_sequence=5))
    assert told[:2] == ["out_of_range", "CURSOR_AHEAD"]
    with refused() as told:
        list(caller.stream())
    assert told[:2] == ["invalid_argument", "INVALID_FIELD"]


def test_a_wait_ends_in_time_with_what_there_is(caller: Caller) -> None:
    trace_id = unique("wait")
    caller.create(trace_id)
    for timeout_ms in (700, 5_000, 30_000):  # a tenth is left for the answer, which a busy machine may exceed
        try:
            answer = caller.call("WaitTrace", pb.WaitTraceRequest(trace_id=trace_id), timeout_ms=timeout_ms)
            break
        except ConnectError as error:
            if error.code is not Code.DEADLINE_EXCEEDED:
                raise
    assert answer.trace.trace_id == trace_id
    assert not answer.trace.done


def post(http: httpx.Client, method: str, content: Any, kind: str = "application/json", **headers: str) -> Any:
    content = content if isinstance(content, bytes | str) else json.dumps(content)
    return http.post(f"{PATH}/{method}", content=content, headers={"content-type": kind} | headers)


def test_curl_needs_no_more_than_json(http: httpx.Client) -> None:
    trace_id = unique("curl")
    event = {"domain": "dataset", "domain_id": "a/1", "component": "c", "statusBody": {"rows": 3}}
    created = post(http, "Create", {"traceId": trace_id, "event": event}, "application/json; charset=UTF-8").json()
    assert created["event"]["statusBody"] == {"rows": 3}
    assert created["event"]["sequence"] == "1"
    query = f"encoding=json&message={quote(json.dumps({'traceId': trace_id}))}"
    answer = http.get(f"{PATH}/GetTrace?{query}")
    assert answer.json()["trace"]["traceId"] == trace_id
    assert answer.headers["cache-control"] == "no-store"
    body = envelope(json.dumps({"trace_id": trace_id}).encode())
    with http.stream(
        "POST", f"{PATH}/StreamTrace", content=body, headers={"content-type": "application/connect+json"}
    ) as stream:
        flags, data = envelopes(next(stream.iter_raw()))[0]
        assert (flags, list(json.loads(data))) == (0, ["checkpoint"])


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ("", "request"),
        ("{", "request"),
        ("[]", "request"),
        (b"\xff", "request"),
        ('{"event": {"domain": 3}}', "event.domain"),
        ('{"event": {"traceStatus": "FINISHD"}}', "event.trace_status"),
        ('{"event": {"status_body": {"x": 1, "x": 2}}}', "request"),
        ('{"event": {"statusBody": {"x": NaN}, "domain":"d", "domainId":"e", "component":"c"}}', "event.status_body.x"),
        ('{"event": {"statusBody": {"x": %s}}}' % ("[" * 50_000 + "]" * 50_000), "request"),
        ('{"event": {"componen": "c"}}', "event.componen"),
    ],
)
def test_json_that_is_no_request_is_told_by_its_field(http: httpx.Client, content: Any, field: str) -> None:
    answer = post(http, "Create", content)
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_argument"
    assert answer.json()["message"].startswith(f"{field}: ")


@pytest.mark.parametrize("method", sorted(METHODS))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_body_of_any_type_is_answered_and_never_an_internal_error(
    http: httpx.Client, method: str, data: st.DataObject
) -> None:
    body = data.draw(st.binary(max_size=80) | st.text(max_size=40).map(str.encode))
    if data.draw(st.booleans()):
        body = envelope(body, data.draw(st.sampled_from([0, 0, 1, 2, 0x80, 0xFF])))
    encoding = data.draw(st.sampled_from(["", "identity", "gzip", "br", "\xe6"]))
    headers = {"content-encoding": encoding, "connect-content-encoding": encoding, "grpc-encoding": encoding}
    kind = data.draw(
        st.sampled_from(["", "text/plain", "application/grpc", "application/grpc-web-text"])
        | st.sampled_from(["application/json", "application/proto", "application/grpc-web+proto"])
        | st.sampled_from(["application/connect+json", "application/connect+proto", "application/grpc-web+json"])
    )
    timeout = data.draw(st.sampled_from([{}, {"connect-timeout-ms": "x"}, {"grpc-timeout": "9"}]))
    answer = post(http, method, body, kind, **{k: v.encode("latin-1") for k, v in (headers | timeout).items() if v})
    # An encoding that nobody knows is "unimplemented" (501) to Connect; nothing else is the server's fault.
    assert answer.status_code < 500 or answer.json()["code"] == "unimplemented", answer.text
    if answer.status_code != 200:
        assert answer.json()["message"]
    elif kind.startswith("application/connect"):
        error = json.loads(envelopes(answer.content)[-1][1]).get("error", {})
        assert error.get("code") not in ("unknown", "internal") or "protocol error" in error["message"]
    elif kind.startswith("application/grpc-web"):
        told = str(answer.headers) + answer.content.decode("latin-1")
        assert "grpc-status: 2\r" not in told
        assert "grpc-status: 13\r" not in told or "protocol%20error" in told


@pytest.mark.parametrize(
    ("verb", "path", "headers", "status"),
    [
        ("GET", "/Create", {}, 405),
        ("GET", "/StreamTrace", {}, 405),
        ("PUT", "/Create", {"content-type": "application/json"}, 405),
        ("DELETE", "/GetTrace", {}, 405),
        ("POST", "/Create", {}, 415),
        ("POST", "/Create", {"content-type": "application/xml"}, 415),
        ("POST", "/Create", {"content-type": "application/connect+json"}, 415),
        ("POST", "/StreamTrace", {"content-type": "application/json"}, 415),
        ("POST", "/Create", {"content-type": "application/grpc"}, 415),
        ("POST", "/Create", {"content-type": "application/json", "x-name": b"\xff"}, 400),
        ("GET", "/GetTrace?encoding=json", {}, 400),
        ("GET", "/GetTrace?encoding=json&message=x&base64=1", {}, 400),
        ("POST", "/Destroy", {"content-type": "application/json"}, 404),
    ],
)
def test_what_is_no_request_of_connect_is_refused_with_a_message(
    http: httpx.Client, verb: str, path: str, headers: dict[str, Any], status: int
) -> None:
    answer = http.request(verb, f"{PATH}{path}", headers=headers, content=b"{}" if verb == "POST" else None)
    assert answer.status_code == status
    assert answer.json()["message"]


def test_a_body_that_is_too_large_is_read_to_its_end_and_refused(http: httpx.Client) -> None:
    answer = post(http, "Create", b" " * 50_000_000)
    assert answer.status_code == 413
    assert answer.json()["code"] == "resource_exhausted"


@pytest.mark.parametrize(
    ("packed", "code", "words"),
    [
        (gzip.compress(b" " * 50_000_000), "resource_exhausted", "unpacks to more"),
        (gzip.compress(b"") * 100_000, "invalid_argument", "not one whole"),
        (gzip.compress(b"{}")[:-3], "invalid_argument", "not one whole"),
        (b"{}", "invalid_argument", "is not gzip"),
    ],
    ids=["bomb", "many", "cut", "none"],
)
def test_packed_bodies_keep_nobody_busy(http: httpx.Client, packed: bytes, code: str, words: str) -> None:
    answer = post(http, "Create", packed, **{"content-encoding": "gzip"})
    assert answer.json()["code"] == code
    assert words in answer.json()["message"]


def grpc_web_status(answer: httpx.Response) -> tuple[Code, str, status_pb2.Status]:
    """The code, the message and the details of a refusal in gRPC-Web's own form."""
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/grpc-web")
    ((flags, trailers),) = envelopes(answer.content)
    assert flags == 0x80
    told = dict(line.split(": ", 1) for line in trailers.decode().splitlines())
    details = status_pb2.Status.FromString(base64.b64decode(told["grpc-status-details-bin"] + "=="))
    return _CODES[int(told["grpc-status"])], unquote(told["grpc-message"]), details


_CODES = {3: Code.INVALID_ARGUMENT, 8: Code.RESOURCE_EXHAUSTED, 12: Code.UNIMPLEMENTED, 14: Code.UNAVAILABLE}


@pytest.mark.parametrize(
    ("path", "kind", "headers", "content", "code", "words"),
    [
        ("Create", "+proto", {}, b" " * 5_000_000, Code.RESOURCE_EXHAUSTED, "more than 4194304"),
        ("StreamTrace", "+json", {}, b" " * 5_000_000, Code.RESOURCE_EXHAUSTED, "more than 4194304"),
        ("Create", "", {"x": "y" * 40_000}, b"", Code.RESOURCE_EXHAUSTED, "head"),
        ("Create", "+proto", {"x": b"\xff"}, b"", Code.INVALID_ARGUMENT, "UTF-8"),
        ("Create", "+thrift", {}, b"", Code.UNIMPLEMENTED, "this call takes: application/json"),
        ("Destroy", "+proto", {}, b"", Code.UNIMPLEMENTED, "Not Found"),
    ],
)
def test_a_request_of_grpc_web_is_refused_in_its_own_form(
    http: httpx.Client, path: str, kind: str, headers: Any, content: bytes, code: Code, words: str
) -> None:
    answer = post(http, path, content, f"application/grpc-web{kind}", origin="https://a.example", **headers)
    told, message, details = grpc_web_status(answer)
    assert (told, details.message) == (code, message)
    assert words in message
    assert answer.headers["access-control-allow-origin"] == "https://a.example"


def test_a_client_of_grpc_web_gets_the_error_of_a_request_over_the_limit(gateway: Gateway) -> None:
    caller = Caller(gateway.url, protocol=ProtocolType.GRPC_WEB)
    with refused() as told:
        caller.create(unique("large"), status_body={"x": os.urandom(4_500_000).hex()})  # more than 4 MiB, packed too
    code, reason, message = told
    assert (code, reason) == ("resource_exhausted", "LIMIT_REACHED")
    assert "more than 4194304" in message


def test_results_of_a_batch_in_json_are_read_without_a_registry_of_types(http: httpx.Client) -> None:
    trace_id = unique("batch")
    event = {"domain": "d", "domainId": "e", "component": "c"}
    post(http, "Create", {"traceId": trace_id, "event": event})
    items = [{"traceId": trace_id, "component": "a"}, {"traceId": trace_id}, {"traceId": "nobody's", "component": "a"}]
    answer = post(http, "BatchUpdate", {"requests": [{"event": item} for item in items]})
    good, bad, unknown = answer.json()["results"]
    assert good["sequence"] == "2"
    assert "reason" not in good
    violation = {"field": "requests[1].event.component", "description": "is required"}
    assert (bad["reason"], bad["fieldViolations"]) == ("INVALID_FIELD", [violation])
    assert sorted(bad["error"]) == sorted(unknown["error"]) == ["code", "message"]
    assert unknown["reason"] == "TRACE_NOT_FOUND"


def test_grpc_web_speaks_in_frames_and_ends_with_trailers(http: httpx.Client) -> None:
    trace_id = unique("frames")
    event = trace_pb2.TraceEvent(domain="d", domain_id="e", component="c")
    request = pb.CreateRequest(event=event, trace_id=trace_id).SerializeToString()
    answer = post(http, "Create", envelope(request), "application/grpc-web+proto")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/grpc-web+proto"
    (message_flags, message), (trailer_flags, trailers) = envelopes(answer.content)
    assert (message_flags, trailer_flags) == (0, 0x80)
    assert pb.CreateResponse.FromString(message).trace.trace_id == trace_id
    assert trailers == b"grpc-status: 0\r\n"
    missing = pb.GetTraceRequest(trace_id="nobody's").SerializeToString()
    answer = post(http, "GetTrace", envelope(missing), "application/grpc-web+proto")
    ((flags, trailers),) = envelopes(answer.content)
    told = dict(line.split(": ", 1) for line in trailers.decode().splitlines())
    assert (flags, told["grpc-status"]) == (0x80, "5")
    details = status_pb2.Status.FromString(base64.b64decode(told["grpc-status-details-bin"] + "=="))
    assert (details.code, len(details.details)) == (5, 1)


def follow_to_the_end(caller: Caller, trace_id: str, told: list[int]) -> None:
    """Follow as a client does: when a stream breaks, another is opened after the last event."""
    event_id, done = "", False
    while not done:
        try:
            for message in caller.stream(trace_id=trace_id, after_sequence=len(told), after_event_id=event_id):
                if message.WhichOneof("message") == "event":
                    told.append(message.event.sequence)
                    event_id = message.event.trace_event_id
                else:
                    done = message.checkpoint.done
        except ConnectError as error:
            assert error.code.value in ("unavailable", "internal", "unknown", "canceled"), error  # noqa: PT017


def test_a_stream_survives_restarts_without_a_gap(new_gateway: Callable[..., Gateway]) -> None:
    gateway = new_gateway()
    trace_id = unique("restarts")
    told: dict[str, list[int]] = {way: [] for way in WAYS}
    with StatusClient(gateway.grpc) as rpc, ThreadPoolExecutor() as pool:
        rpc.create(trace_id=trace_id, domain="d", domain_id="e", component="c")
        followers = [pool.submit(follow_to_the_end, caller_by(way, gateway), trace_id, told[way]) for way in WAYS]
        for ending in (gateway.stop, gateway.kill):
            for _ in range(10):
                sequence = rpc.update(trace_id=trace_id, component="c").event.sequence
            wait_until(lambda last=sequence: all(len(seen) == last for seen in told.values()))
            ending()
            gateway.start()
        rpc.update(trace_id=trace_id, component="c", trace_status="FINISHED", trace_event_status="OK")
        for follower in followers:
            follower.result(PATIENCE)
    assert all(seen == list(range(1, 23)) for seen in told.values())


def test_a_client_that_does_not_read_is_cut_off_and_holds_nothing(new_gateway: Callable[..., Gateway]) -> None:
    gateway = new_gateway("--write-timeout-seconds", "1", "--max-streams", "1")
    caller = Caller(gateway.url)
    trace_id = unique("stalled")
    caller.create(trace_id)
    for _ in range(16):
        caller.update(trace_id, status_body={"x": "y" * 900_000})
    host, port = gateway.http.split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as stalled:
        body = envelope(pb.StreamTraceRequest(trace_id=trace_id).SerializeToString())
        head = f"POST {PATH}/StreamTrace HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/connect+proto\r\n"
        stalled.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        assert stalled.recv(1)
        # It is let go of while it still does not read: there is room for one follower only.
        wait_until(lambda: can_follow(caller, trace_id))
        stalled.settimeout(PATIENCE)
        rest = b"".join(iter(lambda: stalled.recv(1 << 20), b""))
        assert len(rest) < 16 * 900_000
        assert not rest.endswith(b"0\r\n\r\n"), "what was cut off must not look like a whole answer"


def can_follow(caller: Caller, trace_id: str) -> bool:
    stream = iter(caller.stream(trace_id=trace_id))
    try:
        return next(stream).HasField("checkpoint")
    except ConnectError as error:
        assert "too many streams" in error.message  # noqa: PT017
        return False
    finally:
        stream.close()
