"""Moving while traffic flows: traces that only the older service knows."""

import gzip
import json
from http.client import HTTPConnection

import httpx
import pytest
from gateway import PATIENCE, Gateway
from old_bodies import created, encoded, events, update, updated
from old_service import OldService
from starlette.requests import Request

from status_grpc.domain.errors import Unavailable
from status_grpc.http.upstream import Upstream


@pytest.fixture(scope="module")
def service():
    service = OldService()
    yield service
    service.stop()


@pytest.fixture(scope="module")
def server(service, tmp_path_factory):
    gateway = Gateway(tmp_path_factory.mktemp("gateway"), "--legacy-upstream", service.url).start()
    yield gateway
    gateway.kill()


@pytest.fixture
def old(service):
    service.reset()
    service.traces["old trace/1"] = [
        {"trace_id": "old trace/1", "trace_status": "STARTED", "anything": [1, {"a": None}]}
    ]
    service.paths["raw/å b.json"] = "old trace/1"
    return service


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
        yield client


def test_a_trace_of_the_older_service_is_read_from_it(http, old):
    assert events(http, "old%20trace%2F1") == old.traces["old trace/1"]
    assert http.get(f"/status-from-path/{encoded('raw/å b.json')}").json()["trace_id"] == "old trace/1"


def test_its_updates_are_passed_on_to_it_as_they_came(http, old):
    body = json.dumps(update(errors=["as only the older service takes it"])).encode()
    headers = {"Authorization": "Bearer secret", "Cookie": "c", "X-Other": "o"}
    answer = http.post("/status/old%20trace%2F1", content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (200, old.traces["old trace/1"][-1])
    method, path, passed_on, content = old.asked[-1]
    assert (method, path, content) == ("POST", "/status-api/status/old%20trace%2F1", body)
    assert passed_on["authorization"] == "Bearer secret"
    assert not {"cookie", "x-other"} & set(passed_on)


def test_our_own_traces_stay_ours(http, old):
    trace_id = created(http, s3_path="raw/å b.json")
    updated(http, trace_id)
    assert len(events(http, trace_id)) == 2
    assert http.get(f"/status-from-path/{encoded('raw/å b.json')}").json()["trace_id"] == trace_id
    assert http.post(f"/status/{trace_id}", json=update(component=["wrong"])).status_code == 400
    assert old.asked == []


def test_what_neither_knows_is_not_found(http):
    for answer in (http.get("/status/nobody-knows"), http.post("/status/nobody-knows", json=update())):
        assert (answer.status_code, answer.json()) == (404, {"message": "Not here either"})
    assert http.get(f"/status-from-path/{encoded('nothing')}").json() == {"message": "No such path"}


@pytest.mark.parametrize(
    ("trouble", "code", "message"),
    [
        ((403, b'{"message": "Forbidden"}'), 403, "Forbidden"),
        ((500, b'{"message": "Internal"}'), 502, "Internal"),
        ((502, b"<html>"), 502, "the older status service answered 502"),
        ((301, b""), 502, "the older status service answered 301"),
        ((400, b"[]"), 400, "the older status service answered 400"),
    ],
)
def test_what_the_older_service_refuses_is_told(http, old, trouble, code, message):
    old.trouble = trouble
    answer = http.get("/status/old%20trace%2F1")
    assert (answer.status_code, answer.json()) == (code, {"message": message})


def test_cookie_of_one_caller_never_goes_with_another(http, old):
    old.headers = {"Set-Cookie": "session=first-caller; Path=/"}
    for token in ("first", "second", "third"):
        assert http.get("/status/old%20trace%2F1", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert [passed_on["authorization"] for _, _, passed_on, _ in old.asked] == [
        "Bearer first",
        "Bearer second",
        "Bearer third",
    ]
    assert not any("cookie" in passed_on for _, _, passed_on, _ in old.asked)


DOTS = ["..", "%2e%2e", ".%2E", ".", "%2e", "..%2f", "..%2Fadmin", "a%2f..%2f..%2fadmin", "..%5cadmin", "a%5c..%5cb"]
DOTS += ["%252e%252e", "%25252e%25252e%25252fadmin", "..;%2fadmin", "..%20%2fadmin", "%252525252525252e"]


@pytest.mark.parametrize("trace_id", DOTS)
def test_dot_segments_are_refused_before_anything_is_sent(server, old, trace_id):
    body = json.dumps(update()).encode()
    for method, content in (("GET", None), ("POST", body)):
        # Not httpx, which resolves dot segments itself.
        connection = HTTPConnection(server.http, timeout=PATIENCE)
        connection.request(method, f"/status/{trace_id}", content, {"Authorization": "Bearer secret"})
        answer = connection.getresponse()
        assert answer.status == 404, answer.read()
        connection.close()
    assert old.asked == []


def test_redirect_is_not_followed(http, old):
    old.trouble, old.headers = (302, b""), {"Location": f"{old.url}/status/elsewhere"}
    answer = http.get("/status/old%20trace%2F1", headers={"Authorization": "Bearer secret"})
    assert answer.status_code == 502
    assert len(old.asked) == 1


def test_answer_that_is_too_large_is_a_bad_gateway(http, old):
    old.trouble = 200, b"x" * (10 * 1024 * 1024)
    assert len(http.get("/status/old%20trace%2F1").content) == 10 * 1024 * 1024
    old.trouble = 200, b"x" * (10 * 1024 * 1024 + 1)
    answer = http.get("/status/old%20trace%2F1")
    assert answer.status_code == 502
    assert "more than 10485760 bytes" in answer.json()["message"]


def test_compressed_answer_is_not_unpacked(http, old):
    old.trouble, old.headers = (200, gzip.compress(b"x" * 100_000_000, 1)), {"Content-Encoding": "gzip"}
    answer = http.get("/status/old%20trace%2F1")
    assert (answer.status_code, "compressed" in answer.json()["message"]) == (502, True)
    assert old.asked[-1][2]["accept-encoding"] == "identity"


async def test_answer_that_trickles_ends_within_its_time(old):
    old.trickle = 0.1
    old.trouble = 200, b"x" * 300
    upstream = Upstream(old.url, seconds=0.5)
    with pytest.raises(Unavailable):
        await upstream.pass_on(Request({"type": "http", "headers": []}), "/status/old%20trace%2F1")
    await upstream.close()


def test_an_older_service_that_is_away_takes_nothing_else_with_it(new_gateway):
    server = new_gateway("--legacy-upstream", "http://127.0.0.1:1/status-api")
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as http:
        trace_id = created(http)
        assert len(events(http, trace_id)) == 1
        answer = http.get("/status/old")
    assert answer.status_code == 503
    assert answer.json() == {"message": "the older status service cannot be reached; try again shortly"}
    assert "retry-after" in answer.headers
    assert "unexpectedly" not in server.log


def test_a_service_that_asks_itself_stops(tmp_path):
    server = Gateway(tmp_path)
    server.flags += ("--legacy-upstream", server.url)
    server.start()
    try:
        assert httpx.get(f"{server.url}/status/nobody-knows", timeout=PATIENCE).status_code == 404
    finally:
        server.kill()
