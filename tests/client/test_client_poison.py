"""An event that cannot be encoded costs no other event."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from real_server import Gateway

from status_grpc import (
    AsyncStatusClient,
    Dataset,
    ErrorDetail,
    EventDraft,
    ExceptionDetail,
    InvalidArgument,
    StatusClient,
    TraceEventStatus,
    Update,
    configure,
    flush,
    status_add,
    status_step,
    trace,
)
from status_grpc.domain.lineage import LineageDirection

#: The name of a file in Latin-1, as Python gives it, and as it is sent.
NAME, SENT = os.fsdecode(b"raw/caf\xe9.csv"), "raw/caf\\xe9.csv"
BACKSLASHES = "C:\\temp\\x80.csv"
#: In UTC this time is in the year 10000.
BEYOND = datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-12)))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    server = Gateway(tmp_path_factory.mktemp("gateway"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["gRPC", "HTTP"])
def server(request: pytest.FixtureRequest, gateway: Gateway) -> str:
    return gateway.address if request.param == "gRPC" else gateway.url


@pytest.fixture
def client(server: str) -> Iterator[StatusClient]:
    with StatusClient(server) as client:
        yield client


def new_trace(client: StatusClient, **fields: Any) -> str:
    return client.create(**{"domain": "d", "domain_id": "poison/1", "component": "c"} | fields).trace.trace_id


def test_surrogates_are_escaped_when_written_and_looked_up(client: StatusClient) -> None:
    texts = {"domain": f"d-{NAME}", "domain_id": NAME, "user": NAME, "component": NAME}
    created = client.create(**texts, trace_id=f"{NAME}-{os.urandom(4).hex()}", trace_event_id=NAME, s3_path=NAME)
    event = client.update(
        trace_id=created.trace.trace_id,
        component="c",
        operation=BACKSLASHES,
        step_id=NAME,
        status_body={NAME: [NAME, {"half": "\ud800"}]},
        meta={"path": NAME},
        exception=ExceptionDetail(NAME, NAME, NAME),
        errors=[ErrorDetail({"en": NAME}, {NAME: NAME})],
        inputs=[Dataset(NAME, NAME)],
        outputs=[Dataset(BACKSLASHES)],
    ).event
    assert (created.event.domain_id, created.event.user, created.event.s3_path) == (SENT, SENT, SENT)
    assert event.status_body == {SENT: [SENT, {"half": "\\ud800"}]}
    assert (event.meta, event.exception) == ({"path": SENT}, ExceptionDetail(SENT, SENT, SENT))
    assert event.errors == (ErrorDetail({"en": SENT}, {SENT: SENT}),)
    assert (event.inputs, event.outputs) == ((Dataset(SENT, SENT),), (Dataset(BACKSLASHES),))
    assert (event.operation, event.step_id) == (BACKSLASHES, SENT)

    trace_id = created.trace.trace_id
    assert client.get_by_path(NAME, domain=f"d-{NAME}", domain_id=NAME).trace_ids[0] == trace_id
    assert trace_id in [found.trace_id for found in client.list_traces(domain=f"d-{NAME}", user=NAME)]
    assert client.heartbeat(trace_id, step_id=NAME).trace_id == trace_id
    lineage = client.get_lineage(NAME, version=NAME, direction=LineageDirection.DOWNSTREAM)
    assert trace_id in [edge.trace_id for edge in lineage.edges]
    client.update(trace_id=trace_id, component="c", trace_status="FINISHED", trace_event_status="OK")
    assert client.wait(s3_path=NAME).trace_id == trace_id
    with client.follow(s3_path=NAME) as events:
        assert len(list(events)) == 3


POISON: dict[str, dict[str, Any]] = {
    "duration": {"duration": timedelta(days=10**9 - 1)},
    "end_time": {"end_time": BEYOND},
    "start_time": {"start_time": datetime(2026, 1, 1)},  # noqa: DTZ001 - it has no offset
    "attempt": {"attempt": 2**31},
    "status_body.n": {"status_body": {"n": 2**1024}},
    "meta.n[0]": {"meta": {"n": [float("nan")]}},
    "errors[0].details.n": {"errors": (ErrorDetail({"en": "x"}, {"n": -(10**5000)}),)},
    "status_body.o": {"status_body": {"o": object()}},
    "user": {"user": 7},
    "trace_status": {"trace_status": "DONE"},
}


def test_unfit_item_of_batch_fails_alone(client: StatusClient) -> None:
    trace_id = new_trace(client)
    bad: list[EventDraft] = [EventDraft(trace_id=trace_id, component="c", **fields) for fields in POISON.values()]
    good = EventDraft(trace_id=trace_id, component="good")
    expected = Update(good, expected_sequence=2**70)
    late = Update(good, expire_time=BEYOND)
    results = client.batch_update([good, *bad, expected, late, good])
    assert [result.sequence for result in results] == [2, *[0] * (len(bad) + 2), 3]
    for number, (field, result) in enumerate(zip([*POISON, "", ""], results[1:-1], strict=True), 1):
        assert isinstance(result.error, InvalidArgument)
        (named,) = result.error.fields
        assert named.startswith(f"requests[{number}].")
        assert named.endswith((f"event.{field}", "expected_sequence", "expire_time"))


@pytest.mark.parametrize("field", POISON)
def test_call_with_unfit_field_names_it(client: StatusClient, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        client.update(EventDraft(trace_id="t", component="c", **POISON[field]))
    assert list(refused.value.fields) == [f"event.{field}"]


def test_unfit_filter_is_named(client: StatusClient) -> None:
    with pytest.raises(InvalidArgument) as refused:
        list(client.list_traces(created_after=BEYOND))
    assert list(refused.value.fields) == ["created_after"]
    with pytest.raises(InvalidArgument):
        client.wait(s3_path="x", created_after=BEYOND)


def test_batch_of_too_many_values_is_split(gateway: Gateway) -> None:
    numbers = list(range(1, 1001))
    with StatusClient(gateway.url) as client:
        trace_id = new_trace(client)
        drafts = [EventDraft(trace_id=trace_id, component="c", status_body={"n": numbers}) for _ in range(300)]
        assert [result.sequence for result in client.batch_update(drafts)] == list(range(2, 302))


def test_batch_refused_as_a_whole_is_halved(gateway: Gateway) -> None:
    # Two values in five bytes, so that a request that is small enough has 270,000 of them.
    small = (Dataset("a"),) * 1000
    with StatusClient(gateway.url) as client:
        trace_id = new_trace(client)
        drafts = [EventDraft(trace_id=trace_id, component="c", inputs=small) for _ in range(135)]
        assert [result.sequence for result in client.batch_update(drafts)] == list(range(2, 137))


async def test_unfit_item_of_async_batch_fails_alone(server: str) -> None:
    async with AsyncStatusClient(server) as client:
        trace_id = (await client.create(domain="d", domain_id=NAME, component="c")).trace.trace_id
        good = EventDraft(trace_id=trace_id, component="c", s3_path=NAME)
        bad = EventDraft(trace_id=trace_id, component="c", duration=timedelta(days=10**9 - 1))
        results = await client.batch_update([good, bad, good])
        assert [result.sequence for result in results] == [2, 0, 3]


ODD: list[dict[str, Any]] = [
    {"duration": 10**18},
    {"duration": float("nan"), "attempt": 10**5000},
    {"end_time": BEYOND, "start_time": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=12)))},
    {"s3_path": NAME, "inputs": [NAME, (NAME, NAME)], "outputs": Path(NAME)},
    {"status_body": {"n": 2**1024, "x": [float("inf"), NAME]}, "meta": object()},
    {"s3_path": "a\0b", "inputs": ["", "fine", "x" * 3000], "step_id": "s" * 200},
    {"trace_event_id": "x" * 200, "trace_event_status": "GOOD"},
    {"errors": [{"message": {"\0": "a\0b", NAME: "c"}, "n": 2**1024}]},
    {"component": "\0", "user": "u" * 300, "operation": NAME},
    {"status_body": {"x": "\x1b" * 900_000}},
    {"expire_time": "tomorrow"},
]


def test_odd_ends_are_recorded_and_end_their_runs(server: str, client: StatusClient) -> None:
    configure(server=server, component="tests", flush_timeout=30)
    ended: dict[str, TraceEventStatus] = {}
    for fields in ODD:
        with trace("d", NAME, **fields) as t:
            ended[t.trace_id] = TraceEventStatus.OK
            with status_step("inner"):
                status_add(**{name: value for name, value in fields.items() if name != "expire_time"})
        with suppress(ValueError), trace("d", NAME, **fields) as t:
            ended[t.trace_id] = TraceEventStatus.FAILED
            raise ValueError(NAME)
    assert flush(30)
    for trace_id, outcome in ended.items():
        history = client.get_trace(trace_id)
        assert (history.trace.done, history.trace.trace_event_status) == (True, outcome)
        assert len(history.events) == (3 if outcome is TraceEventStatus.OK else 2)
        assert history.trace.domain_id == SENT
    assert {client.get_trace(trace_id).trace.s3_path for trace_id in ended} == {"", SENT}


def test_flush_after_lost_event_returns_false(server: str) -> None:
    configure(server=server, component="tests", flush_timeout=30)
    with status_step("nowhere", trace_id="no-such-trace"):
        pass
    assert not flush(30)
    assert flush(30), "nothing was reported since the last flush"


def test_step_in_child_finds_trace_of_odd_id(
    server: str, client: StatusClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace_id = new_trace(client, trace_id=f"{NAME}-{os.urandom(4).hex()}")
    configure(server=server, component="tests", flush_timeout=30)
    monkeypatch.setenv("STATUS_GRPC_TRACE_ID", trace_id.replace("\\xe9", "\udce9"))
    with status_step("child", end_time=datetime.now(UTC)):
        pass
    assert client.get_trace(trace_id).events[-1].operation == "child"
