"""Whatever arrives is answered: a 4xx with a message, in bounded time and memory, and nothing is lost."""

import json
import socket
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from gateway import PATIENCE
from hypothesis import given, settings
from hypothesis import strategies as st
from old_bodies import created, creation, events, update, updated
from strategies import old_ends

from status_grpc import StatusClient

MEGABYTE = 1024 * 1024


def message(answer: httpx.Response) -> str:
    """What a refusal says; it says nothing else."""
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert list(told) == ["message"]
    assert told["message"]
    assert "Traceback" not in told["message"]
    return str(told["message"])


@pytest.mark.parametrize(
    "path",
    ["/", "/nothing", "/status/", "/status-from-path", "/status-from-path/", "/status%00", "/status/a%00b", "//status"],
)
def test_unknown_routes(http, path):
    message(http.get(path))


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "QUERY", "X-SOMETHING"])
@pytest.mark.parametrize("path", ["/status", "/status/x", "/status-from-path/eA==", "/healthz"])
def test_wrong_methods(http, method, path):
    answer = http.request(method, path)
    message(answer)
    assert answer.status_code == 405
    assert answer.headers["allow"]


def test_a_method_that_fits_another_route(http):
    assert http.get("/status").status_code == 405
    assert http.post("/status-from-path/eA==").status_code == 405


@pytest.mark.parametrize(
    "path", ["!!!", "eA", "eA=", "eA===", "e A==", "_-8=", "%F0%9F%98%80", "/w==", "AA==", "x" * 9000]
)
def test_bad_base64(http, path):
    answer = http.get(f"/status-from-path/{path}")
    assert answer.status_code == 400
    message(answer)


BAD_JSON = [
    (b"", "not JSON"),
    (b"{", "not JSON"),
    (b'{"a": 1,}', "not JSON"),
    (b"[1]", "must be a JSON object"),
    (b'"text"', "must be a JSON object"),
    (b"null", "must be a JSON object"),
    (b"[" * 100_000, "nested too deep"),
    (b'{"a":' * 100_000, "nested too deep"),
    ("{}".encode("utf-16"), "not JSON"),
    (b"\0", "not JSON"),
]


@pytest.mark.parametrize(("body", "why"), BAD_JSON, ids=range(len(BAD_JSON)))
def test_bad_json(http, body, why):
    for path in ("/status", f"/status/{created(http)}"):
        answer = http.post(path, content=body)
        assert answer.status_code == 400
        assert why in message(answer)


BAD_FIELDS = [
    ("start_time", None),
    ("end_time", ""),
    ("trace_status", "DONE"),
    ("trace_status", 3),
    ("trace_event_status", "MAYBE"),
    ("domain", ["dataset"]),
    ("domain", ""),
    ("component", {"name": "c"}),
]


@pytest.mark.parametrize(("name", "value"), BAD_FIELDS, ids=range(len(BAD_FIELDS)))
def test_a_bad_field_that_identifies_the_write_is_named_and_nothing_is_recorded(http, name, value):
    trace_id = created(http)
    answer = http.post(f"/status/{trace_id}", json=update(**{name: value}))
    assert answer.status_code == 400
    assert message(answer).startswith(name)
    assert len(events(http, trace_id)) == 1
    if name not in ("trace_status", "trace_event_status"):
        answer = http.post("/status", json=creation(**{name: value}))
        assert answer.status_code == 400
        assert message(answer).startswith(name)
    else:  # a creation ignores them
        created(http, **{name: value})


#: A field that only decorates an event, a value that cannot be stored, and what is recorded instead (None: nothing).
DECORATIONS = [
    ("domain_id", ["x"], None),
    ("domain_id", "x" * 1025, "x" * 1024),
    ("domain", "x" * 257, "x" * 256),
    ("component", "x" * 257, "x" * 256),
    ("component", "a\0b", "a\\x00b"),
    ("user", {"name": "me"}, None),
    ("user", True, None),
    ("user", "\ud800x", "\\ud800x"),
    ("operation", "x" * 1000, "x" * 256),
    ("end_time", {}, "N/A"),
    ("end_time", "soon", "N/A"),
    ("end_time", "2026-11-23T12:00:60", "N/A"),
    ("duration", "12", None),
    ("duration", -1, None),
    ("duration", True, None),
    ("duration", 1e300, None),
    ("duration", 10**300, None),
    ("duration", 10**400, None),
    ("duration", float("nan"), None),
    ("s3_path", "x" * 2049, None),
    ("s3_path", "å\udcff", "å\\xff"),
    ("s3_path", ["a"], None),
    ("trace_event_id", ["x"], ...),
    ("trace_id", {"x": 1}, ...),
    ("sequence", "x", None),
    ("exception", {"type": "ValueError"}, '{"type": "ValueError"}'),
    ("exception", "no\0price\udc80", "no\\x00price\\x80"),
    ("errors", "wrong", [{"message": {"en": "wrong"}}]),
    ("errors", ["wrong", None], [{"message": {"en": "wrong"}}]),
    ("errors", [{"message": "wrong", "row": 3}], [{"message": {"en": "wrong"}, "row": 3}]),
    ("errors", [{"message": {}}], [{"message": {"en": '{"message": {}}'}}]),
    ("errors", [{"message": {"nb": 1, "en": None}}], [{"message": {"nb": "1"}}]),
    ("errors", [{"message": {"": "x", "a\nb": "y", "nb": "z"}}], [{"message": {"nb": "z"}}]),
    ("errors", [{"message": {"nb": "x" * 5000}}], [{"message": {"nb": "x" * 4096}}]),
    ("errors", [{"message": {"nb": "x"}}] * 101, [{"message": {"nb": "x"}}] * 100),
    ("errors", [{"message": {"nb": "x"}, "all": [0] * 300_000}], [{"message": {"nb": "x"}}]),
    ("errors", [{"message": {str(n): "x" for n in range(30)}}], [{"message": {str(n): "x" for n in range(20)}}]),
    ("errors", [{"message": {"a": ""}}] * 150_000, [{"message": {"a": ""}}] * 100),
    ("status_body", {"a\0": "b\0"}, {"a\\x00": "b\\x00"}),
    ("status_body", {"a": [10**400, 1.5]}, {"a": [str(10**400), 1.5]}),
    ("status_body", {"a": [float("nan"), float("-inf")]}, {"a": ["NaN", "-Infinity"]}),
    ("status_body", {"a": [0] * 300_000}, None),
    ("status_body", {"zeros": [0] * 200_000}, None),  # less than a megabyte of JSON, and more as an event
    ("meta", ["x" * 2_000_000], None),
]


@pytest.mark.parametrize(("name", "value", "kept"), DECORATIONS, ids=range(len(DECORATIONS)))
def test_a_decoration_never_keeps_an_end_from_being_recorded(http, rpc, name, value, kept):
    trace_id = created(http)
    end = update(trace_status="FINISHED", trace_event_status="FAILED", **{name: value})
    answer = http.post(f"/status/{trace_id}", content=json.dumps(end))
    assert answer.status_code == 200, answer.text
    assert answer.json() == events(http, trace_id)[-1]
    if kept is not ...:
        assert answer.json().get(name) == kept
    assert rpc.get_trace(trace_id).trace.done
    assert http.post(
        "/status", content=json.dumps(creation(**({name: value} if name != "domain_id" else {})))
    ).is_success


def test_json_that_no_parser_takes_does_not_keep_an_end_from_being_recorded(http, rpc):
    end = json.dumps(update(trace_status="FINISHED", trace_event_status="OK"))[:-1].encode()
    for decoration in (
        b'"user": "\xff\xfe"',
        b'"duration": 1e999',
        b'"status_body": ' + b"9" * 5000,
        b'"status_body": ' + b"[" * 100_000 + b"]" * 100_000,
        b'"status_body": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b', "user": "me"',
    ):
        trace_id = created(http)
        answer = http.post(f"/status/{trace_id}", content=end + b", " + decoration + b"}")
        assert answer.status_code == 200, (decoration[:40], answer.text)
        assert rpc.get_trace(trace_id).trace.done
    assert answer.json()["user"] == "me"


def test_a_start_that_cannot_be_read_is_the_time_of_arrival(http, rpc):
    for start in ("yesterday", 17, "N/A", "0001-01-01T00:00:00+14:00", {}):
        trace_id = created(http)
        event = updated(http, trace_id, start_time=start, end_time="N/A")
        recorded = rpc.get_trace(trace_id).events[-1]
        assert recorded.start_time == recorded.record_time
        assert event["start_time"] == recorded.record_time.isoformat(timespec="microseconds")


def test_what_is_cleaned_is_logged_once_for_each_kind(new_gateway):
    server = new_gateway()
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as http:
        for body in (update(duration=-1), update(duration=-2, user=["x"])):
            assert http.post(f"/status/{created(http)}", json=body).is_success
    lines = [line for line in server.log.splitlines() if "part of an event was cleaned" in line]
    assert ["duration" in line for line in lines] == [True, False]
    assert all("was left out" in line for line in lines)


@pytest.mark.parametrize("content_type", ["application/xml", "multipart/form-data; boundary=x", "image/png", "x"])
def test_wrong_content_types(http, content_type):
    answer = http.post("/status", content=json.dumps(creation()), headers={"content-type": content_type})
    assert answer.status_code == 415
    assert "JSON" in message(answer)


def test_compressed_bodies(http):
    answer = http.post("/status", content=b"\x1f\x8b", headers={"content-encoding": "gzip"})
    assert answer.status_code == 415
    message(answer)


def test_only_the_largest_parts_of_an_event_that_is_too_large_are_left_out(http):
    trace_id = created(http)
    event = updated(http, trace_id, status_body=["x" * 600_000], meta={"x": "x" * 600_000}, errors=["a"])
    assert ("status_body" in event, "meta" in event, "errors" in event) == (True, False, True) or (
        "meta" in event and "status_body" not in event
    )
    assert http.post(f"/status/{trace_id}", json=update(status_body={"x": "x" * 1_000_000})).status_code == 200


@pytest.mark.parametrize("values", [b"0," * 2_000_000, b"[[[[]]]]," * 450_000])
def test_a_connect_request_with_very_many_values_keeps_nobody_waiting(http, values):
    body = b'{"event":{"statusBody":{"a":[' + values + b"0]}}}"
    answer = http.post(
        "/tracestatus.v1.StatusService/Create", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400
    assert "has more than 262144 values" in answer.json()["message"]


def test_a_body_of_50_megabytes_is_read_to_its_end_and_refused(gateway, http):
    created(http)
    before = gateway.memory()

    def chunks():
        for _ in range(50):
            yield b"x" * MEGABYTE

    for content in (b"x" * (50 * MEGABYTE), chunks()):
        with ThreadPoolExecutor(4) as pool:
            bodies = [content, *[b"y" * (50 * MEGABYTE)] * 3]
            answers = list(
                pool.map(lambda body: httpx.post(f"{gateway.url}/status", content=body, timeout=PATIENCE), bodies)
            )
        assert [answer.status_code for answer in answers] == [413] * 4
        assert "more than 4194304" in message(answers[0])
    assert gateway.memory() - before < 40 * MEGABYTE


def test_a_connection_goes_on_after_a_refusal(gateway):
    with httpx.Client(base_url=gateway.url, timeout=PATIENCE) as http:
        for content in (b"x" * (5 * MEGABYTE), b"[", b"{}"):
            message(http.post("/status", content=content))
            message(http.post("/nothing", content=content))
        created(http)


def raw(gateway, *parts: bytes) -> bytes:
    """Send bytes and return all that comes back until the server closes the connection."""
    host, _, port = gateway.http.partition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except (ConnectionResetError, BrokenPipeError):
            pass  # it has said enough
        answer = b""
        while True:
            try:
                part = connection.recv(65536)
            except ConnectionResetError:
                return answer
            if not part:
                return answer
            answer += part


def refused(answer: bytes) -> int:
    """Return the status of a refusal as it came over the wire."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert list(json.loads(body)) == ["message"], answer
    assert b"content-type: application/json" in head.lower()
    return int(head.split()[1])


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET /status/x HTTP/1.1\r\n\r\n",  # without a host
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /status HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nbad header\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",  # the beginning of TLS
    ],
)
def test_what_is_not_http(gateway, request_):
    assert refused(raw(gateway, request_)) == 400


def test_a_flood_of_headers(gateway, http):
    answer = http.get("/healthz", headers={"x": "a" * 40_000})  # small enough to arrive at once
    assert answer.status_code == 431
    message(answer)
    many = (f"x-{number}: {'a' * 100}\r\n".encode() for number in range(200_000))
    assert refused(raw(gateway, b"GET / HTTP/1.1\r\nHost: localhost\r\n", *many)) == 431
    assert refused(raw(gateway, b"GET / HTTP/1.1\r\nHost: localhost\r\nx: ", *[b"a" * MEGABYTE] * 20)) == 431
    assert refused(raw(gateway, b"GET /" + b"a" * MEGABYTE, *[b"a" * MEGABYTE] * 20)) == 431


def test_slow_heads_and_bodies_are_told_so_in_the_end(new_gateway):
    server = new_gateway("--http-request-seconds", "0.5")
    assert refused(raw(server, b"GET / HT")) == 408
    assert refused(raw(server, b"")) == 408
    head = b"POST /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
    assert refused(raw(server, head + b"{")) == 408
    assert refused(raw(server, b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")) == 404
    assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_many_slow_clients_keep_nobody_waiting(gateway, http):
    connections = []
    host, _, port = gateway.http.partition(":")
    for _ in range(200):
        connections.append(socket.create_connection((host, int(port)), timeout=PATIENCE))
        connections[-1].sendall(b"POST /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    try:
        created(http)
    finally:
        for connection in connections:
            connection.close()


def test_large_bodies_that_never_arrive_take_no_more_memory_than_there_is_room_for(gateway, http):
    before = gateway.memory()
    host, _, port = gateway.http.partition(":")
    head = b"POST /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000\r\n\r\n"
    connections = [socket.create_connection((host, int(port)), timeout=PATIENCE) for _ in range(60)]
    try:
        for connection in connections:
            connection.sendall(head + b" " * 3_999_999)
        created(http)  # small ones are taken all the same
        for connection in connections:
            connection.sendall(b" ")
        answers = [connection.recv(65536).split()[1] for connection in connections]
    finally:
        for connection in connections:
            connection.close()
    assert answers.count(b"400") >= 4  # which are no JSON; eight may be read or wait at once
    assert answers.count(b"503") >= 30
    assert answers.count(b"400") + answers.count(b"503") == len(answers)
    assert gateway.memory() - before < 140 * MEGABYTE
    assert http.post("/status", content=b" " * 4_000_000).status_code == 400


def test_a_client_that_does_not_read_a_large_answer_is_cut_off(new_gateway):
    server = new_gateway("--write-timeout-seconds", "0.5")
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as http:
        trace_id = created(http)
        for number in range(40):
            body = update(operation=str(number), status_body={"x": "x" * 500_000})
            assert http.post(f"/status/{trace_id}", json=body).status_code == 200
    host, _, port = server.http.partition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        connection.sendall(f"GET /status/{trace_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        while "SLOW_READER" not in server.log:
            threading.Event().wait(0.05)
    assert "unexpectedly" not in server.log


def test_a_client_that_goes_away_in_its_body_leaves_nothing_behind(gateway, http):
    trace_id = created(http)
    host, _, port = gateway.http.partition(":")
    body = json.dumps(update()).encode()
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        head = f"POST /status/{trace_id} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body) + 1}\r\n\r\n"
        connection.sendall(head.encode() + body)
    assert len(events(http, trace_id)) == 1
    assert "unexpectedly" not in gateway.log


@settings(max_examples=150)
@given(
    method=st.sampled_from(["GET", "POST", "PUT"]),
    path=st.sampled_from(["/status", "/status/{}", "/status-from-path/{}", "/{}"]),
    rest=st.binary(max_size=20) | st.sampled_from([b"..", b"%", b"%zz", b"a/b", b"\xc3\xa5"]),
    body=st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda below: (
            st.lists(below, max_size=3)
            | st.dictionaries(st.sampled_from([*creation(), *update(), "errors", "status_body", "meta", "id"]), below)
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode()),
)
def test_nothing_ends_in_a_500(http_of_module, method, path, rest, body):
    quoted = "".join(f"%{byte:02X}" for byte in rest)
    answer = http_of_module.request(method, path.format(quoted), content=body)
    assert answer.status_code == 200 or message(answer)


@settings(max_examples=40)
@given(end=old_ends())
def test_an_end_that_can_be_understood_ends_its_run_whatever_is_around_it(http_of_module, rpc_of_module, end):
    trace_id = created(http_of_module, s3_path=str(uuid.uuid4()))
    answer = http_of_module.post(f"/status/{trace_id}", content=end)
    assert answer.status_code == 200, answer.text
    assert rpc_of_module.get_trace(trace_id).trace.done
    assert json.dumps(events(http_of_module, trace_id)[-1]) == json.dumps(answer.json())


@pytest.fixture(scope="module")
def rpc_of_module(gateway):
    with StatusClient(gateway.grpc) as client:
        yield client


@pytest.fixture(scope="module")
def http_of_module(gateway):
    with httpx.Client(base_url=gateway.url, timeout=PATIENCE) as http:
        yield http


def test_nothing_went_wrong_without_a_word(gateway, http):
    created(http)
    assert "unexpectedly" not in gateway.log
    assert "Exception" not in gateway.log
