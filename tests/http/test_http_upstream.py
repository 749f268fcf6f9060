"""Moving while traffic flows: traces that only the older service knows."""

import json

import httpx
import pytest
from gateway import PATIENCE, Gateway
from old_bodies import created, encoded, events, update, updated
from old_service import OldService


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
