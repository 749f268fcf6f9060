"""Server-Sent Events: what a browser's EventSource sees, and what it does about it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import httpx
import pytest
from connecting import wait_until
from event_source import EventSource, Told
from gateway import PATIENCE, Gateway
from google.protobuf import json_format
from old_bodies import unique
from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1 import trace_pb2

from status_grpc import StatusClient

FINISHED: Any = {"trace_status": "FINISHED", "trace_event_status": "OK"}


def create(rpc: StatusClient, name: str, **fields: Any) -> str:
    return rpc.create(trace_id=unique(name), domain="d", domain_id="e/1", component="c", **fields).trace.trace_id


def events_url(gateway: Gateway, trace_id: str, query: str = "") -> str:
    return f"{gateway.url}/v1/traces/{trace_id}/events{query}"


def sequences(told: list[Told]) -> list[int]:
    return [int(message.data["sequence"]) for message in told if message.kind == "message"]


def test_an_event_source_sees_the_history_what_happens_and_the_end(gateway: Gateway, rpc: StatusClient) -> None:
    trace_id = create(rpc, "history", status_body={"text": "two\nlines\u2028å", "rows": 3})
    source = EventSource(events_url(gateway, trace_id))
    messages = iter(source)
    told = list(islice(messages, 3))
    assert [message.kind for message in told] == ["checkpoint", "message", "checkpoint"]
    assert told[1].data["statusBody"] == {"text": "two\nlines\u2028å", "rows": 3}
    assert told[2].data["caughtUp"]
    rpc.update(trace_id=trace_id, component="c", user="ola")
    told.append(next(messages))
    rpc.update(trace_id=trace_id, component="c", **FINISHED)
    # It is not closed: after `done` the browser asks once more, and the answer makes it stop.
    told += list(messages)
    assert source.statuses == [200, 204]
    assert sequences(told) == [1, 2, 3]
    assert all(message.last_id.isascii() for message in told)
    assert told[-1].kind == "done"
    assert told[-1].data["trace"]["traceEventStatus"] == "TRACE_EVENT_STATUS_OK"


def test_the_data_are_the_messages_of_the_protocol(gateway: Gateway, rpc: StatusClient) -> None:
    trace_id = create(rpc, "messages", **FINISHED)
    point, event, done = islice(EventSource(events_url(gateway, trace_id)), 3)
    assert json_format.ParseDict(event.data, trace_pb2.TraceEvent()).trace_id == trace_id
    assert json_format.ParseDict(point.data, pb.Checkpoint()).trace.done
    assert json_format.ParseDict(done.data, pb.Checkpoint()).done


def test_the_last_id_is_where_it_goes_on(http: httpx.Client, gateway: Gateway, rpc: StatusClient) -> None:
    trace_id = create(rpc, "resume")
    rpc.update(trace_id=trace_id, component="c")
    rpc.update(trace_id=trace_id, component="c", **FINISHED)
    source = EventSource(events_url(gateway, trace_id, "?after_sequence=1&after_event_id=not-that"))
    source.last_id = "2"
    assert sequences(list(source)) == [3]
    source = EventSource(events_url(gateway, trace_id, "?after_sequence=1"))
    assert sequences(list(source)) == [2, 3]
    source = EventSource(events_url(gateway, trace_id))
    source.last_id = "3"
    assert [message.kind for message in source] == ["checkpoint", "done"]


@pytest.mark.parametrize(
    ("path", "headers", "status", "names"),
    [
        ("/v1/traces/nobody's/events", {}, 404, "nobody's"),
        ("/v1/events?s3_path=nowhere", {}, 404, "nowhere"),
        ("/v1/events", {}, 400, "trace_id"),
        ("/v1/events?s3_path=a&trace_id=b", {}, 400, "request"),
        ("/v1/events?s3_path=a&s3_path=b", {}, 400, "s3_path: is given twice"),
        ("/v1/events?s3_path=a&after_sequence=1", {}, 400, "after_sequence"),
        ("/v1/traces/x/events?s3_path=a", {}, 400, "request"),
        ("/v1/traces/x/events?trace_id=y", {}, 400, "trace_id: is given twice"),
        ("/v1/traces/x/events?after_sequence=one", {}, 400, "after_sequence"),
        ("/v1/traces/x/events?after_sequence=-1", {}, 400, "after_sequence"),
        ("/v1/traces/x/events?after_sequence=99999999999999999999", {}, 400, "after_sequence"),
        ("/v1/traces/x/events?wait_for_trace=perhaps", {}, 400, "wait_for_trace"),
        ("/v1/traces/x/events?wait_for_trce=true", {}, 400, "wait_for_trce"),
        ("/v1/traces/x/events?created_after=yesterday", {}, 400, "created_after"),
        (f"/v1/traces/{'x' * 200}/events", {}, 400, "trace_id"),
        ("/v1/traces//events", {}, 400, "trace_id"),
    ],
)
def test_what_cannot_be_followed_is_told_by_its_field(
    http: httpx.Client, path: str, headers: Any, status: int, names: str
) -> None:
    answer = http.get(path, headers={"accept": "text/event-stream"} | headers)
    assert answer.status_code == status, answer.text
    assert names in answer.json()["message"]


def test_only_get_is_allowed(http: httpx.Client) -> None:
    for verb in ("HEAD", "POST", "PUT", "DELETE"):
        assert http.request(verb, "/v1/traces/x/events").status_code == 405


def test_a_cursor_ahead_of_the_trace_in_the_url_is_refused(http: httpx.Client, rpc: StatusClient) -> None:
    answer = http.get(f"/v1/traces/{create(rpc, 'ahead')}/events?after_sequence=7")
    assert (answer.status_code, answer.json()["message"]) == (
        400,
        "after_sequence is 7, but the trace's last is 1",
    )


@pytest.mark.parametrize(
    ("last_id", "code"),
    [
        ("7", "out_of_range"),
        ("7.ZXZlbnQ", "out_of_range"),
        ("1.YW5vdGhlcg", "data_loss"),
        ("one", "invalid_argument"),
        ("9999999999999999999", "invalid_argument"),
        ("1.%", "invalid_argument"),
        ("1._w", "invalid_argument"),
        ("@yesterday", "invalid_argument"),
        ("\u00ff", "invalid_argument"),
    ],
)
def test_a_last_id_of_another_history_fails_and_the_next_request_begins_anew(
    gateway: Gateway, rpc: StatusClient, last_id: str, code: str
) -> None:
    trace_id = create(rpc, "restored", **FINISHED)
    source = EventSource(events_url(gateway, trace_id))
    source.last_id = last_id
    failed, *rest = source
    assert (failed.kind, failed.last_id, failed.data["code"]) == ("failed", "", code)
    assert sequences(rest) == [1]
    assert source.statuses == [200, 200, 204]


def test_a_restored_history_that_has_grown_past_the_last_id_is_noticed(
    new_gateway: Callable[..., Gateway],
) -> None:
    gateway = new_gateway()
    with StatusClient(gateway.grpc) as rpc:
        trace_id = create(rpc, "backup", trace_event_id="first å")
        gateway.stop()
        database = gateway.folder / "traces.db"
        backup = database.read_bytes()
        gateway.start()
        rpc.update(trace_id=trace_id, component="c", trace_event_id="lost: ø")
        source = EventSource(events_url(gateway, trace_id))
        for message in islice(source, 3):
            seen = message.last_id
        source.last_id = seen
        gateway.stop()
        for file in gateway.folder.glob("traces.db*"):
            file.unlink()
        database.write_bytes(backup)
        gateway.start()
        rpc.update(trace_id=trace_id, component="c", trace_event_id="another")
        rpc.update(trace_id=trace_id, component="c", **FINISHED)
        failed, *rest = source
    assert (failed.kind, failed.last_id, failed.data["code"]) == ("failed", "", "data_loss")
    assert sequences(rest) == [1, 2, 3]


def test_a_trace_that_does_not_exist_yet_is_waited_for(gateway: Gateway, rpc: StatusClient) -> None:
    trace_id = unique("later")
    messages = iter(EventSource(events_url(gateway, trace_id, "?wait_for_trace=true")))
    assert "traceId" not in next(messages).data
    rpc.create(trace_id=trace_id, domain="d", domain_id="e", component="c", **FINISHED)
    told = list(messages)
    assert sequences(told) == [1]
    assert told[-1].kind == "done"


def test_by_path_the_trace_once_found_is_gone_on_with(gateway: Gateway, rpc: StatusClient) -> None:
    path = unique("raw/trips")
    earlier = create(rpc, "earlier", s3_path=path, **FINISHED)
    source = EventSource(f"{gateway.url}/v1/events?s3_path={path}&new_only")
    messages = iter(source)
    assert "traceId" not in next(messages).data
    # What it would come back with, if it broke here: the time from which on a trace counts as new.
    assert source.last_id.startswith("@2")
    again = EventSource(source.url)
    again.last_id = source.last_id
    resumed = iter(again)
    assert "traceId" not in next(resumed).data
    trace_id = create(rpc, "new", s3_path=path)
    for waiting in (messages, resumed):
        found = next(message for message in waiting if message.kind == "message")
        assert found.data["traceId"] == trace_id != earlier
        again.last_id = found.last_id
        assert found.last_id.isascii()
    create(rpc, "newer", s3_path=path)
    rpc.update(trace_id=trace_id, component="c", **FINISHED)
    later = EventSource(source.url)
    for last_id in (again.last_id, f"1@{trace_id}"):  # also as an earlier release has sent it
        later.last_id = last_id
        told = [message.data["traceId"] for message in later if message.kind == "message"]
        assert told == [trace_id]


def test_ids_of_any_kind_are_followed(gateway: Gateway, rpc: StatusClient) -> None:
    for name in ("with space", "with/slash", "with@at", "with%percent", "dot/./dot", "æøå"):
        trace_id = unique(name)
        rpc.create(trace_id=trace_id, domain="d", domain_id="e", component="c", s3_path=trace_id, **FINISHED)
        quoted = httpx.QueryParams({"x": trace_id})
        path = str(quoted).removeprefix("x=").replace("+", "%20")
        assert sequences(list(EventSource(events_url(gateway, path)))) == [1]
        source = EventSource(f"{gateway.url}/v1/events?s3_path={path}")
        told = list(source)
        assert sequences(told) == [1]
        source.last_id = next(message.last_id for message in told if message.kind == "message")
        assert [message.kind for message in source] == ["checkpoint", "done"]


def test_a_stream_with_nothing_to_tell_shows_that_it_is_alive(new_gateway: Callable[..., Gateway]) -> None:
    gateway = new_gateway("--checkpoint-seconds", "0.2")
    with StatusClient(gateway.grpc) as rpc:
        trace_id = create(rpc, "alive")
        kinds = [message.kind for message in islice(EventSource(events_url(gateway, trace_id)), 6)]
    assert kinds == ["checkpoint", "message", *["checkpoint"] * 4]


def test_an_event_source_that_comes_too_early_is_told_when_to_come_back(new_gateway: Callable[..., Gateway]) -> None:
    gateway = new_gateway("--max-streams", "1")
    with StatusClient(gateway.grpc) as rpc, httpx.Client(timeout=PATIENCE) as http:
        trace_id = create(rpc, "crowded")
        messages = iter(EventSource(events_url(gateway, trace_id)))
        next(messages)
        answer = http.get(events_url(gateway, trace_id), headers={"accept": "text/event-stream"})
        assert (answer.status_code, answer.text.splitlines()[0]) == (200, "retry: 5000")
        # Others, who do not come back by themselves, get an error that they can see.
        assert http.get(events_url(gateway, trace_id)).status_code == 503


def test_event_sources_survive_restarts_without_a_gap(new_gateway: Callable[..., Gateway]) -> None:
    gateway = new_gateway()
    told: list[list[Told]] = [[], [], []]

    def read(source: EventSource, into: list[Told]) -> list[int]:
        for message in source:
            into.append(message)
        return source.statuses

    with StatusClient(gateway.grpc) as rpc, ThreadPoolExecutor() as pool:
        trace_id = create(rpc, "restarts", s3_path="raw/x")
        urls = [events_url(gateway, trace_id), events_url(gateway, trace_id), f"{gateway.url}/v1/events?s3_path=raw/x"]
        readers = [pool.submit(read, EventSource(url), into) for url, into in zip(urls, told, strict=True)]
        for ending in (gateway.stop, gateway.kill):
            for _ in range(10):
                last = rpc.update(trace_id=trace_id, component="c").event.sequence
            wait_until(lambda last=last: all(sequences(seen)[-1:] == [last] for seen in told))
            ending()
            gateway.start()
        rpc.update(trace_id=trace_id, component="c", **FINISHED)
        for reader in readers:
            assert set(reader.result(PATIENCE)[:-1]) == {200}
    assert [sequences(seen) for seen in told] == [list(range(1, 23))] * 3
    assert [seen[-1].kind for seen in told] == ["done"] * 3


def test_a_reader_that_has_gone_is_noticed(new_gateway: Callable[..., Gateway]) -> None:
    gateway = new_gateway("--max-streams", "1")
    host, port = gateway.http.split(":")
    with StatusClient(gateway.grpc) as rpc:
        trace_id = create(rpc, "gone")
        request = f"GET /v1/traces/{trace_id}/events HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()

        def has_room() -> bool:
            # The answer is not read to its end: the connection is closed in the middle of it.
            with socket.create_connection((host, int(port)), timeout=PATIENCE) as reader:
                reader.sendall(request)
                return reader.recv(100).startswith(b"HTTP/1.1 200")

        for _ in range(5):
            wait_until(has_room)


def test_an_answer_is_not_kept_back_by_proxies_or_caches(gateway: Gateway, rpc: StatusClient) -> None:
    answer = httpx.get(events_url(gateway, create(rpc, "headers", **FINISHED)), timeout=PATIENCE)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    assert json.loads(answer.text.split("data: ")[1].split("\n")[0])["trace"]["done"]
