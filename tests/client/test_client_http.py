"""A server that is a URL: everything works by HTTP as it does by gRPC, without gRPC, whatever stands in between."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from datetime import timedelta
from email.message import Message as Headers
from pathlib import Path
from typing import Any

import pytest
from between import Between, between, hangs, raw, says, trickles
from certificates import Certificates
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import eventually, in_threads
from real_server import Gateway
from tracestatus.v1 import status_service_pb2 as pb

from status_grpc import (
    AlreadyExists,
    AsyncStatusClient,
    DeadlineExceeded,
    EventDraft,
    HistoryChanged,
    Internal,
    InvalidArgument,
    ResourceExhausted,
    SequenceMismatch,
    StatusClient,
    StatusError,
    TraceNotFound,
    Unauthenticated,
    Unavailable,
    configure,
    flush,
    status_add,
    status_step,
    status_wrapper,
    trace,
)
from status_grpc.client.http_answers import answered_error, connect_error, read_message
from status_grpc.client.operations import Send
from status_grpc.client.options import client_options
from status_grpc.client.retrying import NotTheService
from status_grpc.domain.errors import FieldViolation
from status_grpc.wire.errors import encode_error

END: Any = {"component": "c", "trace_status": "FINISHED", "trace_event_status": "OK"}
BOUND = 0.3


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    server = Gateway(tmp_path_factory.mktemp("gateway"), "--http-prefix", "/status-api")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def mortal_gateway(tmp_path: Path) -> Iterator[Gateway]:
    server = Gateway(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def by_http(gateway: Gateway) -> Iterator[StatusClient]:
    with StatusClient(gateway.url) as client:
        yield client


@pytest.fixture
def by_grpc(gateway: Gateway) -> Iterator[StatusClient]:
    with StatusClient(gateway.address) as client:
        yield client


@pytest.fixture
def proxy(gateway: Gateway) -> Iterator[Between]:
    with between(gateway.http) as server:
        yield server


def create(client: StatusClient, **fields: Any) -> str:
    return client.create(**{"domain": "d", "domain_id": "x/1", "component": "c"} | fields).trace.trace_id


def test_what_one_way_writes_the_other_reads(by_http: StatusClient, by_grpc: StatusClient) -> None:
    for writer, reader in ((by_http, by_grpc), (by_grpc, by_http)):
        trace_id = create(writer, s3_path="raw/same", user="ola")
        writer.update(
            trace_id=trace_id,
            component="v",
            status_body={"rows": 7, "share": 0.25, "names": ["å", None, {"x": True}]},
            duration=timedelta(milliseconds=1500.5),
            errors=[],
        )
        results = writer.batch_update([EventDraft(trace_id=trace_id, component="b"), EventDraft(trace_id=trace_id)])
        assert results[0].sequence == 3
        assert isinstance(results[1].error, InvalidArgument)
        assert results[1].error.fields == {"requests[1].event.component": "is required"}
        writer.update(trace_id=trace_id, **END)
        assert writer.heartbeat(trace_id).done
        assert reader.get_trace(trace_id).events == writer.get_trace(trace_id).events
        assert reader.get_by_path("raw/same").trace.trace_id == trace_id
        assert trace_id in [found.trace_id for found in reader.list_traces(domain="d", page_size=2)]
        assert reader.wait(trace_id).done
        with reader.follow(trace_id) as events:
            assert [event.sequence for event in events] == [1, 2, 3, 4]
            assert events.finished_trace.done


def test_errors_are_the_same(by_http: StatusClient, by_grpc: StatusClient) -> None:
    trace_id = create(by_http)
    event_id = by_http.update(trace_id=trace_id, component="c").event.trace_event_id
    wrong: list[tuple[type[StatusError], Any]] = [
        (TraceNotFound, lambda client: client.get_trace("nobody's")),
        (InvalidArgument, lambda client: client.create(domain="d")),
        (AlreadyExists, lambda client: client.update(trace_id=trace_id, trace_event_id=event_id, component="other")),
        (SequenceMismatch, lambda client: client.update(trace_id=trace_id, component="c", expected_sequence=9)),
        (HistoryChanged, lambda client: list(client.follow(trace_id, after_sequence=1, after_event_id="other"))),
        (DeadlineExceeded, lambda client: client.wait(trace_id, timeout=1)),
        (DeadlineExceeded, lambda client: list(client.follow(trace_id, timeout=1))),
    ]
    for kind, call in wrong:
        messages = []
        for client in (by_http, by_grpc):
            with pytest.raises(kind) as raised:
                call(client)
            assert type(raised.value) is kind
            messages.append(raised.value.message)
        assert messages[0] == messages[1]


async def test_coroutines_call_and_follow(gateway: Gateway) -> None:
    async with AsyncStatusClient(gateway.url) as client:
        created = [await client.create(domain="d", domain_id="x", component="c") for _ in range(40)]
        ids = [written.trace.trace_id for written in created]

        async def follow(trace_id: str) -> list[int]:
            async with client.follow(trace_id) as events:
                return [event.sequence async for event in events]

        followers = [asyncio.create_task(follow(trace_id)) for trace_id in ids]
        await asyncio.gather(*(client.update(trace_id=trace_id, component="c") for trace_id in ids))
        await asyncio.gather(*(client.update(trace_id=trace_id, **END) for trace_id in ids))
        assert await asyncio.gather(*followers) == [[1, 2, 3]] * 40
        with pytest.raises(TraceNotFound):
            await client.get_trace("nobody's")
    with pytest.raises(RuntimeError, match="closed"):
        await client.get_trace(ids[0])


async def test_a_follower_that_is_given_up_leaves_no_thread(gateway: Gateway) -> None:
    async with AsyncStatusClient(gateway.url) as client:
        trace_id = (await client.create(domain="d", domain_id="x", component="c")).trace.trace_id
        for _ in range(3):
            async with client.follow(trace_id) as events:
                await events.start()
        reading = asyncio.create_task(anext(client.follow(trace_id, after_sequence=1)))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        # A follower whose reading was cancelled goes on all the same when it is read again.
        events = client.follow(trace_id, after_sequence=1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(events), 0.2)
        await client.update(trace_id=trace_id, component="c")
        assert (await anext(events)).sequence == 2
    # The client was closed, the follower was not, but nobody has it any more.
    del events
    await asyncio.to_thread(
        eventually,
        lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("status-grpc-stream")],
        "threads of streams end",
    )


PIPELINE = """
import json, sys
from status_grpc import StatusClient, status_add, status_step, status_wrapper, trace

@status_wrapper
def copy():
    status_add(status_body={"rows": 7}, inputs=["s3://raw/x"])
    return 7

with trace("dataset", "bike-trips/1", component="pipeline") as t:
    assert copy() == 7
    with status_step("validate", report_start=True):
        pass
    try:
        with status_step("convert"):
            raise ValueError("no price")
    except ValueError:
        pass
    with status_step("tight", flush="background"):
        pass
with StatusClient() as client:
    client.update(trace_id=t.trace_id, component="late")
    told = [event.operation for event in client.follow(t.trace_id)]
print(json.dumps([t.trace_id, sorted(name for name in sys.modules if name.split(".")[0] in
      ("grpc", "asyncio", "sqlalchemy", "httpx", "urllib3", "requests"))]))
"""


def run(program: str, **environment: str) -> str:
    variables = {**os.environ, "STATUS_GRPC_COMPONENT": "c", "STATUS_GRPC_FLUSH_TIMEOUT": "30", **environment}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], env=variables, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("path", ["", "/", "/status-api", "/status-api/"])
def test_a_pipeline_reports_by_http_and_never_loads_grpc(gateway: Gateway, by_grpc: StatusClient, path: str) -> None:
    trace_id, loaded = json.loads(run(PIPELINE, STATUS_GRPC_SERVER=gateway.url + path))
    assert loaded == []
    history = by_grpc.get_trace(trace_id)
    operations = [event.operation for event in history.events]
    assert operations == ["", "copy", "validate", "validate", "convert", "tight", "", ""]
    assert history.events[1].status_body == {"rows": 7}
    assert history.trace.done


def test_forked_children_report_by_http_themselves(gateway: Gateway, by_grpc: StatusClient) -> None:
    trace_id = create(by_grpc)
    program = """
    import os, signal, sys
    from status_grpc import StatusClient, status_step
    client = StatusClient()
    client.heartbeat(os.environ["STATUS_GRPC_TRACE_ID"])
    with status_step("parent"):
        pass
    children = []
    for number in range(4):
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)
            with status_step(f"child-{number}"):
                pass
            client.update(trace_id=os.environ["STATUS_GRPC_TRACE_ID"], component="c", operation=f"call-{number}")
            os._exit(0 if "grpc" not in sys.modules else 1)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    client.heartbeat(os.environ["STATUS_GRPC_TRACE_ID"])
    with status_step("parent again"):
        pass
    """
    run(program, STATUS_GRPC_SERVER=gateway.url, STATUS_GRPC_TRACE_ID=trace_id)
    told = sorted(event.operation for event in by_grpc.get_trace(trace_id).events)[1:]
    children = [f"{kind}-{number}" for kind in ("call", "child") for number in range(4)]
    assert told == [*children, "parent", "parent again"]


#: What may come instead of the service's answer, and what it means to a caller. None of it is the service's word on the
#: report: it is kept, and delivered once the way is free.
MISDEEDS = {
    "401": (says(401), Unauthenticated),
    "403": (says(403), Unauthenticated),
    "404": (says(404), NotTheService),
    "405": (says(405), NotTheService),
    "408": (says(408), Unavailable),
    "413": (says(413), ResourceExhausted),
    "429": (says(429, retry_after="1"), Unavailable),
    "500": (says(500), Internal),
    "502": (says(502), Unavailable),
    "503": (says(503), Unavailable),
    "504": (says(504), Unavailable),
    "307": (says(307, location="http://127.0.0.1:1/"), NotTheService),
    "200 of HTML": (says(200, b"<html>please log in</html>"), NotTheService),
    "200 of other JSON": (says(200, b"[1]", "application/json"), NotTheService),
    "500 of other JSON": (says(500, b'{"code": 7, "message": 3, "details": 1}', "application/json"), Internal),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), Internal),
    "broken off": (raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"), Unavailable),
    "hung up": (raw(b""), Unavailable),
    "bad chunks": (raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n"), Unavailable),
    "never": (hangs, DeadlineExceeded),
    "trickles": (trickles, DeadlineExceeded),
}


@pytest.mark.parametrize("what", MISDEEDS)
def test_whatever_comes_instead_of_an_answer_is_an_error_of_the_clients_tree(proxy: Between, what: str) -> None:
    proxy.always, kind = MISDEEDS[what]
    attempt = Send("GetTrace", pb.GetTraceRequest(trace_id="x"), 0.5 if kind is DeadlineExceeded else 60)
    with StatusClient(proxy.url) as client:
        with pytest.raises(StatusError) as raised:
            client._connection.send(attempt)
        assert type(raised.value) is kind
        assert "html" not in raised.value.message
        with pytest.raises(StatusError):
            next(client.follow("x", timeout=0.6))


@pytest.mark.parametrize(
    ("what", "after"),
    [(what, False) for what in sorted(MISDEEDS.keys() - {"413"})]
    # The worst case: it was recorded, and the answer is lost.
    + [(what, True) for what in ("503", "403", "hung up", "never")],
)
def test_steps_are_not_hurt_and_nothing_is_lost_or_twice(
    proxy: Between, by_grpc: StatusClient, what: str, after: bool, caplog: pytest.LogCaptureFixture
) -> None:
    misdeed, _ = MISDEEDS[what]
    trace_id = create(by_grpc)
    proxy.misdeeds.extend([misdeed] * 2)
    proxy.after = after
    configure(server=proxy.url, flush_timeout=BOUND, attempt_timeout=1, component="c")

    @status_wrapper(trace_id=trace_id)
    def step() -> int:
        status_add(status_body={"rows": 7})
        return 7

    assert step() == 7
    with pytest.raises(ValueError, match="own"), status_step("fails", trace_id=trace_id):
        raise ValueError("own")
    flush(60)
    configure(reporting=False)
    told = [event.operation for event in by_grpc.get_trace(trace_id).events]
    assert told == ["", "step", "fails"]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_batch_that_is_too_large_for_what_is_in_between_goes_in_parts(proxy: Between, by_grpc: StatusClient) -> None:
    trace_id = create(by_grpc)
    proxy.most_bytes = 50_000
    configure(server=proxy.url, component="c")
    for number in range(20):
        with status_step(f"{number}", trace_id=trace_id, flush="background"):
            status_add(status_body={"text": "x" * 20_000})
    assert flush(60)
    configure(reporting=False)
    assert [event.operation for event in by_grpc.get_trace(trace_id).events[1:]] == [f"{n}" for n in range(20)]


def test_a_server_that_is_away_hurts_no_step_and_gets_everything_later(mortal_gateway: Gateway) -> None:
    configure(server=mortal_gateway.url, flush_timeout=BOUND, component="c")
    with trace("d", "x/1") as t, status_step("before"):
        pass
    mortal_gateway.kill()
    for number in range(10):
        with status_step(f"during-{number}", trace_id=t.trace_id):
            pass
    mortal_gateway.start()
    assert flush(60)
    with status_step("after", trace_id=t.trace_id):
        pass
    assert flush(60)
    with StatusClient(mortal_gateway.url) as client:
        told = [event.operation for event in client.get_trace(t.trace_id).events]
    assert told == ["", "before", "", *[f"during-{number}" for number in range(10)], "after"]


def test_followers_survive_restarts_without_a_gap(mortal_gateway: Gateway) -> None:
    told: list[list[int]] = [[] for _ in range(4)]
    with StatusClient(mortal_gateway.url, timeout=60) as client:
        trace_id = create(client)

        def follow(number: int) -> None:
            for event in client.follow(trace_id):
                told[number].append(event.sequence)

        followers = [threading.Thread(target=follow, args=(number,)) for number in range(4)]
        for follower in followers:
            follower.start()
        for ending in (mortal_gateway.stop, mortal_gateway.kill):
            for _ in range(10):
                last = client.update(trace_id=trace_id, component="c").event.sequence
            eventually(lambda last=last: all(seen[-1:] == [last] for seen in told), "all followers see everything")
            ending()
            mortal_gateway.start()
        # The connections that were kept are dead by now.
        client.update(trace_id=trace_id, **END)
        for follower in followers:
            follower.join()
    assert told == [list(range(1, 23))] * 4


def test_a_stream_that_falls_silent_is_resumed(proxy: Between, by_grpc: StatusClient) -> None:
    trace_id = create(by_grpc)
    by_grpc.update(trace_id=trace_id, **END)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/connect+json\r\ntransfer-encoding: chunked\r\n\r\n"

    def falls_silent(handler: Any) -> None:
        handler.wfile.write(head)
        hangs(handler)

    proxy.misdeeds.extend([falls_silent, raw(head), says(200, b"\x00\x00\x00\x00\x02{}", "application/connect+json")])
    reconnects: list[str] = []
    with StatusClient(proxy.url, silence_timeout=0.3) as client:
        events = client.follow(trace_id, on_reconnect=lambda reconnect: reconnects.append(reconnect.error.message))
        assert [event.sequence for event in events] == [1, 2]
    assert reconnects == ["the stream fell silent", "the answer broke off", "the answer broke off"]


def test_a_call_whose_answer_is_lost_is_not_recorded_twice(proxy: Between) -> None:
    proxy.after = True
    with StatusClient(proxy.url) as client:
        proxy.misdeeds.extend([raw(b""), says(503), raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")])
        trace_id = create(client)
        proxy.misdeeds.extend([says(502)])
        assert client.update(trace_id=trace_id, component="c").event.sequence == 2
        assert len(client.get_trace(trace_id).events) == 2


def test_a_field_that_an_older_server_does_not_know_is_left_out(proxy: Between, by_grpc: StatusClient) -> None:
    refusal = encode_error(InvalidArgument([FieldViolation("requests.event.attempt", "is not a field")]))
    details = [
        {"type": detail.TypeName(), "value": base64.b64encode(detail.value).decode()} for detail in refusal.details
    ]
    content = json.dumps({"code": "invalid_argument", "message": refusal.message, "details": details})
    proxy.misdeeds.append(says(400, content.encode(), "application/json"))
    trace_id = create(by_grpc)
    configure(server=proxy.url, component="c", flush_timeout=60)
    with status_step("one", trace_id=trace_id, attempt=3):
        pass
    configure(reporting=False)
    event = by_grpc.get_trace(trace_id).events[1]
    assert (event.operation, event.attempt, event.meta) == ("one", 0, {"left_out": {"attempt": "refused"}})


def test_threads_share_a_client(gateway: Gateway) -> None:
    with StatusClient(gateway.url) as client:
        trace_id = create(client)
        in_threads(20, lambda number: [client.update(trace_id=trace_id, component=f"c{number}") for _ in range(10)])
        assert client.get_trace(trace_id).trace.last_sequence == 201
    with pytest.raises(RuntimeError, match="closed"):
        client.get_trace(trace_id)


def test_a_client_that_is_closed_ends_what_is_under_way(gateway: Gateway) -> None:
    client = StatusClient(gateway.url)
    trace_id = create(client)
    ended = threading.Event()

    def wait() -> None:
        with pytest.raises(RuntimeError, match="closed"):
            client.wait(trace_id)
        ended.set()

    threading.Thread(target=wait).start()
    eventually(lambda: "watchdog" in str(threading.enumerate()), "the wait has begun")
    client.close()
    assert ended.wait(30)


def test_the_token_goes_with_calls_and_streams_and_nowhere_else(proxy: Between, by_grpc: StatusClient) -> None:
    trace_id = create(by_grpc)
    by_grpc.update(trace_id=trace_id, **END)
    tokens = iter(["first", "second", *["third"] * 9])
    with StatusClient(proxy.url, token=lambda: next(tokens)) as client:
        client.get_trace(trace_id)
        assert len(list(client.follow(trace_id))) == 2
        proxy.always = says(307, location=f"{proxy.url}/elsewhere")
        with pytest.raises(Internal, match="redirected"):
            client.get_trace(trace_id)
    sent = [headers["authorization"] for _, headers in proxy.seen]
    assert sent == ["Bearer first", "Bearer second", *["Bearer third"] * 3]
    assert {path.rpartition("/")[2] for path, _ in proxy.seen} == {"GetTrace", "StreamTrace"}


def test_there_is_no_stub(by_http: StatusClient) -> None:
    with pytest.raises(RuntimeError, match="no stub"):
        by_http.stub  # noqa: B018


@pytest.fixture(scope="module", params=["TLS", "mutual TLS"])
def safe(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gateway, dict[str, str], Path]]:
    folder = tmp_path_factory.mktemp("safe")
    certificates = Certificates(folder / "ours")
    mutual = request.param == "mutual TLS"
    server = Gateway(folder, *certificates.server_flags(asks_clients=mutual), scheme="https")
    server.start()
    options = {"ca": certificates.authority}
    if mutual:
        options |= {"cert": certificates.client[0], "key": certificates.client[1]}
    yield server, options, folder
    server.kill()


def test_https_with_an_authority_of_ones_own(safe: tuple[Gateway, dict[str, str], Path]) -> None:
    server, options, _ = safe
    with StatusClient(server.url, **options) as client:
        trace_id = create(client)
        client.update(trace_id=trace_id, **END)
        assert len(list(client.follow(trace_id))) == 2
    variables = {f"STATUS_GRPC_{name.upper()}": value for name, value in options.items()}
    assert json.loads(run(PIPELINE, STATUS_GRPC_SERVER=server.url, **variables))[1] == []


def test_certificates_that_do_not_fit_are_errors_and_hurt_no_step(
    safe: tuple[Gateway, dict[str, str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    server, options, folder = safe
    strangers = Certificates(folder / "strangers")
    wrong = [{}, options | {"ca": strangers.authority}, options | {"ca": str(folder / "missing.pem")}]
    if "cert" in options:
        wrong += [{"ca": options["ca"]}, options | {"cert": strangers.client[0], "key": strangers.client[1]}]
    attempt = Send("GetTrace", pb.GetTraceRequest(trace_id="x"), 60)
    messages = []
    for given_options in wrong:
        with StatusClient(server.url, **given_options) as client, pytest.raises(Unavailable) as raised:
            client._connection.send(attempt)
        messages.append(raised.value.message)
    assert all("certificate verify failed" in message for message in messages[:2])
    assert "files for TLS" in messages[2]
    with StatusClient(server.url.replace("https", "http")) as client, pytest.raises(StatusError):
        client._connection.send(attempt)
    configure(server=server.url, flush_timeout=BOUND, component="c")
    with status_step("one", trace_id="t"):
        pass
    configure(reporting=False)
    assert server.url in caplog.text


@pytest.mark.parametrize(
    ("given_options", "named"),
    [
        ({"server": "https://"}, "https://HOST"),
        ({"server": "https://host/path?query"}, "https://HOST"),
        ({"server": "https://host/#fragment"}, "https://HOST"),
        ({"server": "https://user:secret@host"}, "https://HOST"),
        ({"server": "https://host:0"}, "https://HOST"),
        ({"server": "https://host:99999"}, "not a URL"),
        ({"server": "https://host:http"}, "not a URL"),
        ({"server": "http://status.example"}, "plaintext"),
        ({"server": "http://localhost.example:80"}, "plaintext"),
        ({"server": "http://127.0.0.1", "ca": "ca.pem"}, "no TLS"),
        ({"server": "http://127.0.0.1", "plaintext": False}, "http://"),
        ({"server": "https://host", "plaintext": True}, "https://"),
    ],
)
def test_urls_that_cannot_be(given_options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named) as raised:
        client_options(given_options, {})
    assert "secret" not in str(raised.value)


def test_urls_that_can_be() -> None:
    for server in ("https://host", "https://host:8443/status-api/", "https://[::1]:1", "https://HOST"):
        assert client_options({"server": server}, {}).uses_tls
    for server in ("http://localhost:8080", "http://127.0.0.1/status-api", "http://[::1]:8080"):
        assert not client_options({"server": server}, {}).uses_tls
    assert not client_options({"server": "http://status.example", "plaintext": True}, {}).uses_tls


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=6), below, max_size=3),
    max_leaves=6,
)
_ERRORS = st.fixed_dictionaries(
    {},
    optional={
        "code": st.sampled_from(["not_found", "canceled", "unknown", "ok", "CANCELLED"]) | _JSON,
        "message": st.text(max_size=9) | _JSON,
        "details": _JSON
        | st.lists(
            st.fixed_dictionaries({}, optional={"type": st.just("google.rpc.ErrorInfo") | _JSON, "value": _JSON})
        ),
    },
)


@settings(max_examples=50)
@given(st.integers(100, 999), st.binary(max_size=60) | _ERRORS.map(lambda e: json.dumps(e).encode()), st.text())
def test_any_answer_is_an_error_of_the_tree(status: int, body: bytes, retry_after: str) -> None:
    headers = Headers()
    headers["Retry-After"] = retry_after.replace("\r", "").replace("\n", "")
    assert isinstance(answered_error(status, http.client.responses.get(status, ""), headers, body), StatusError)


@settings(max_examples=50)
@given(_ERRORS)
def test_any_error_in_a_stream_is_one_of_the_tree(error: dict[str, Any]) -> None:
    assert isinstance(connect_error(error), StatusError)


@settings(max_examples=50)
@given(st.binary(max_size=60) | _JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_a_message_or_an_internal_error(body: bytes) -> None:
    try:
        assert isinstance(read_message(pb.GetTraceResponse, body), pb.GetTraceResponse)
    except Internal as error:
        assert not error.incident  # noqa: PT017
