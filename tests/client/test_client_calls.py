from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import FrozenInstanceError, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from certificates import Certificates
from fake_server import FakeServer
from patience import in_threads
from real_server import RealServer
from tracestatus.v1 import status_service_pb2 as pb

import status_grpc
from status_grpc import (
    AlreadyExists,
    AsyncStatusClient,
    Dataset,
    DeadlineExceeded,
    ErrorDetail,
    EventDraft,
    ExceptionDetail,
    InvalidArgument,
    PathNotFound,
    SequenceMismatch,
    StatusClient,
    StatusError,
    TraceEventStatus,
    TraceNotDone,
    TraceNotFound,
    TraceStatus,
    Unauthenticated,
    Unavailable,
    Update,
    configure,
    flush,
    trace,
)
from status_grpc.client.values import EventFields

FULL = EventDraft(
    domain="dataset",
    domain_id="full/1",
    start_time=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
    end_time=datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC),
    trace_status=TraceStatus.STARTED,
    trace_event_status=TraceEventStatus.FAILED,
    user="somebody",
    component="uploader",
    operation="upload",
    status_body={"rows": 7, "nested": {"list": [1, 2.5, None, True, "æ"]}},
    meta={"git_rev": "abc"},
    s3_path="raw/full/æ",
    duration=timedelta(milliseconds=1, microseconds=5),
    exception=ExceptionDetail("ValueError", "bad", "Traceback ..."),
    errors=(ErrorDetail({"nb": "feil", "en": "error"}, {"row": 3}),),
    inputs=(Dataset("s3://in/a", "1"),),
    outputs=(Dataset("s3://out/b"),),
    step_id="step-1",
    attempt=2,
)


def test_both_clients_have_the_same_methods_with_the_same_signatures():
    def public(kind: type) -> dict[str, list[tuple[str, object, object]]]:
        return {
            name: [(p.name, p.kind, p.default) for p in inspect.signature(member).parameters.values()]
            for name, member in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_") or name == "__init__"
        }

    assert public(StatusClient) == public(AsyncStatusClient)


def test_the_keyword_arguments_of_an_event_are_the_fields_of_a_draft():
    names = {field.name for field in fields(EventDraft)} - {"encodings", "encoded_bytes"}
    assert set(EventFields.__annotations__) == names


def test_every_field_of_an_event_comes_back(client: StatusClient):
    written = client.create(FULL)
    assert written.event.sequence == 1
    history = client.get_trace(written.trace.trace_id)
    assert history.events == (written.event,)
    assert history.trace == written.trace
    for field in fields(EventDraft):
        if field.name not in ("trace_id", "trace_event_id", "encodings", "encoded_bytes"):
            assert getattr(written.event, field.name) == getattr(FULL, field.name), field.name
    with pytest.raises(FrozenInstanceError):
        written.event.user = "else"  # type: ignore[misc]


def test_a_trace_from_its_creation_to_its_end(client: StatusClient):
    trace_id = client.create(domain="dataset", domain_id="a/1", component="uploader", s3_path="raw/a/1").trace.trace_id
    draft = EventDraft(trace_id=trace_id, component="validator")
    assert client.update(draft, operation="validate").event.operation == "validate"
    assert client.heartbeat(trace_id, step_id="s").last_sequence == 2
    end = client.update(
        draft,
        trace_status=TraceStatus.FINISHED,
        trace_event_status=TraceEventStatus.FAILED,
        errors=[ErrorDetail({"en": "no rows"})],
        expected_sequence=2,
    )
    assert end.trace.done
    assert end.trace.errors[0].error.message == {"en": "no rows"}
    assert client.wait(trace_id) == end.trace
    assert client.wait(s3_path="raw/a/1") == end.trace
    again = client.update(draft, new_run=True)
    assert (again.trace.run, again.trace.done) == (2, False)
    with pytest.raises(TraceNotDone):
        client.update(draft, new_run=True)
    with pytest.raises(SequenceMismatch):
        client.update(draft, expected_sequence=2)
    with pytest.raises(DeadlineExceeded):
        client.wait(trace_id, timeout=0.3)
    assert client.get_by_path("raw/a/1").trace_ids == (trace_id,)


def test_the_trace_id_and_the_expiry_can_be_chosen(client: StatusClient):
    expiry = datetime(2099, 1, 1, tzinfo=UTC)
    trace = client.create(trace_id="chosen", domain="d", domain_id="x", component="c", expire_time=expiry).trace
    assert (trace.trace_id, trace.expire_time) == ("chosen", expiry)
    with pytest.raises(AlreadyExists):
        client.create(trace_id="chosen", domain="d", domain_id="x", component="c")


def test_errors_are_one_tree(client: StatusClient):
    with pytest.raises(TraceNotFound):
        client.get_trace("no-such-trace")
    with pytest.raises(PathNotFound):
        client.get_by_path("no/such/path")
    with pytest.raises(TraceNotFound):
        list(client.follow("no-such-trace"))
    with pytest.raises(TraceNotFound):
        client.wait("no-such-trace")
    with pytest.raises(InvalidArgument) as bad:
        client.create(domain="d", s3_path="p\0")
    assert set(bad.value.fields) == {"event.component", "event.domain_id", "event.s3_path"}
    with pytest.raises(InvalidArgument):
        client.follow()
    with pytest.raises(InvalidArgument):
        client.follow("t", s3_path="p")
    with pytest.raises(InvalidArgument):
        client.wait("t", new_only=True)
    assert issubclass(PathNotFound, TraceNotFound)
    assert issubclass(TraceNotFound, StatusError)


def test_a_batch_answers_for_each_item(client: StatusClient):
    trace_id = client.create(domain="d", domain_id="batch", component="c").trace.trace_id
    draft = EventDraft(trace_id=trace_id, component="c")
    results = client.batch_update(
        [draft, EventDraft(trace_id="nowhere", component="c"), Update(draft, expected_sequence=99), EventDraft()]
    )
    assert results[0].sequence == 2
    assert results[0].record_time is not None
    assert [type(result.error).__name__ for result in results] == [
        "NoneType",
        "TraceNotFound",
        "SequenceMismatch",
        "InvalidArgument",
    ]
    assert client.batch_update([]) == []


def test_a_large_batch_is_sent_in_parts_and_a_large_trace_is_read_in_pages(client: StatusClient):
    trace_id = client.create(domain="d", domain_id="large", component="c").trace.trace_id
    large = EventDraft(trace_id=trace_id, component="c", status_body={"text": "x" * 500_000})
    small = EventDraft(trace_id=trace_id, component="c")
    results = client.batch_update([large] * 12 + [small] * 1500)
    assert [result.sequence for result in results] == list(range(2, 1514))
    history = client.get_trace(trace_id)
    assert [event.sequence for event in history.events] == list(range(1, 1514))
    assert next(event.sequence for event in client.get_trace(trace_id, after_sequence=1500).events) == 1501
    assert len(client.get_trace(trace_id, max_events=3).events) == 3
    assert client.get_trace(trace_id, max_events=0).events == ()


def test_an_error_names_the_place_in_the_callers_list(client: StatusClient):
    trace_id = client.create(domain="d", domain_id="batch", component="c").trace.trace_id
    drafts = [EventDraft(trace_id=trace_id, component="c") for _ in range(1200)]
    for bad in (3, 1100):
        drafts[bad] = EventDraft(trace_id=trace_id)
    errors = {number: result.error for number, result in enumerate(client.batch_update(drafts)) if result.error}
    assert list(errors) == [3, 1100]
    for number, error in errors.items():
        assert isinstance(error, InvalidArgument)
        assert list(error.fields) == [f"requests[{number}].event.component"]
        assert f"requests[{number}].event.component" in error.message


def test_lists_are_read_page_by_page(client: StatusClient):
    ids = [client.create(domain="listing", domain_id=f"l/{n}", component="c").trace.trace_id for n in range(7)]
    assert [trace.trace_id for trace in client.list_traces(domain="listing", page_size=3)] == ids[::-1]
    assert [trace.trace_id for trace in client.list_traces(domain="listing", domain_id="l/4")] == [ids[4]]
    assert list(client.list_traces(domain="listing", status=TraceStatus.FINISHED)) == []
    assert isinstance(client.list_traces(), Iterator)


async def test_the_asynchronous_client_does_the_same(aio_client: AsyncStatusClient):
    client = aio_client
    trace_id = (await client.create(FULL, s3_path="raw/aio")).trace.trace_id
    assert (await client.update(trace_id=trace_id, component="c")).event.sequence == 2
    assert (await client.heartbeat(trace_id)).last_sequence == 2
    assert (await client.batch_update([EventDraft(trace_id=trace_id, component="c")]))[0].sequence == 3
    assert [event.sequence for event in (await client.get_trace(trace_id)).events] == [1, 2, 3]
    assert (await client.get_by_path("raw/aio")).trace_ids == (trace_id,)
    listed = client.list_traces(domain="dataset", domain_id="full/1", page_size=1)
    assert isinstance(listed, AsyncIterator)
    assert trace_id in [trace.trace_id async for trace in listed]
    await client.update(
        trace_id=trace_id,
        component="c",
        trace_status=TraceStatus.FINISHED,
        trace_event_status=TraceEventStatus.OK,
    )
    assert (await client.wait(trace_id)).done
    async with client.follow(trace_id) as events:
        assert [event.sequence async for event in events] == [1, 2, 3, 4]
    assert events.finished_trace.done
    with pytest.raises(TraceNotFound):
        await client.get_trace("no-such-trace")


def test_one_client_serves_many_threads(client: StatusClient):
    trace_id = client.create(domain="d", domain_id="threads", component="c").trace.trace_id
    in_threads(40, lambda number: client.update(trace_id=trace_id, component=f"c{number}"))
    events = client.get_trace(trace_id).events
    assert {event.component for event in events} == {"c"} | {f"c{number}" for number in range(40)}


def test_the_stub_is_there_for_those_who_want_protobuf(client: StatusClient):
    answer = client.stub.ListTraces(pb.ListTracesRequest(page_size=1))
    assert len(answer.traces) <= 1


def test_a_token_goes_with_every_call(fake: FakeServer):
    tokens = iter(f"token-{n}" for n in range(100))
    with StatusClient(fake.address, token=lambda: next(tokens)) as client:
        trace = client.create(domain="d", domain_id="x", component="c").trace
        client.update(
            trace_id=trace.trace_id,
            component="c",
            trace_status=TraceStatus.FINISHED,
            trace_event_status=TraceEventStatus.OK,
        )
        list(client.follow(trace.trace_id))
    assert [metadata["authorization"] for _, _, metadata in fake.service.calls] == [
        "Bearer token-0",
        "Bearer token-1",
        "Bearer token-2",
    ]


def test_a_token_is_read_from_its_file_before_each_call(
    fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("STATUS_GRPC_TOKEN", "of the environment")
    file = tmp_path / "token"
    with StatusClient(fake.address, token_file=str(file)) as client:
        for token in ("one", "two"):
            file.write_text(f"{token}\n")
            client.create(domain="d", domain_id="x", component="c")
        file.unlink()
        with pytest.raises(Unauthenticated, match="No such file"):
            client.get_trace("t")
    assert [metadata["authorization"] for _, _, metadata in fake.service.calls] == ["Bearer one", "Bearer two"]


def test_a_wrong_token_is_refused_and_a_rotated_one_is_used_at_once(fake: FakeServer, tmp_path: Path):
    fake.service.token = "right"
    file = tmp_path / "token"
    with StatusClient(fake.address) as client, pytest.raises(Unauthenticated):
        client.create(domain="d", domain_id="x", component="c")
    with StatusClient(fake.address, token_file=str(file)) as client:
        file.write_text("wrong")
        with pytest.raises(Unauthenticated):
            client.create(domain="d", domain_id="x", component="c")
        file.write_text("right")
        trace_id = client.create(domain="d", domain_id="x", component="c").trace.trace_id
        file.write_text("wrong again")
        with pytest.raises(Unauthenticated):
            next(client.follow(trace_id))
    assert len(fake.service.calls) == 4, "a refusal is no reason to call again"


def test_a_step_with_a_wrong_token_is_reported_once_the_token_is_right(fake: FakeServer, tmp_path: Path):
    fake.service.token = "right"
    file = tmp_path / "token"
    file.write_text("wrong")
    configure(server=fake.address, component="c", token_file=str(file), flush_timeout=0.1)
    with trace("d", "x") as opened:
        pass
    file.write_text("right")
    assert flush(60)
    assert [event.component for event in fake.service.events[opened.trace_id]] == ["c", "c"]


@pytest.mark.parametrize("token", ["", "two\nlines", "æ", lambda: ""])
def test_what_is_no_token_never_gets_to_the_server(fake: FakeServer, token: object):
    with StatusClient(fake.address, token=token) as client, pytest.raises(Unauthenticated):
        client.get_trace("t")
    assert fake.service.calls == []


async def test_the_asynchronous_client_also_takes_a_coroutine_for_a_token(fake: FakeServer):
    async def token() -> str:
        return "fresh"

    async with AsyncStatusClient(fake.address, token=token) as client:
        await client.create(domain="d", domain_id="x", component="c")
    assert fake.service.calls[0][2]["authorization"] == "Bearer fresh"


def test_a_client_without_a_server_says_so_in_time():
    with StatusClient("127.0.0.1:9", timeout=0.5) as client, pytest.raises(Unavailable):
        client.get_trace("t")


def test_an_unknown_call_is_not_repeated(fake: FakeServer, fake_client: StatusClient):
    import grpc
    from fake_server import Fault

    fake.service.fail("Heartbeat", *[Fault(code=grpc.StatusCode.UNIMPLEMENTED)] * 5)
    with pytest.raises(StatusError):
        fake_client.heartbeat("t")
    assert len(fake.service.requests("Heartbeat")) == 1


def test_tls_and_mutual_tls(tmp_path: Path):
    certificates = Certificates(tmp_path)
    server = RealServer(tmp_path, *certificates.server_flags(asks_clients=True))
    server.start()
    try:
        own = {"cert": certificates.client[0], "key": certificates.client[1]}
        with StatusClient(server.address, ca=certificates.authority, **own) as client:
            assert client.options.uses_tls
            client.create(domain="d", domain_id="x", component="c")
        for unwelcome in ({"ca": certificates.authority}, {"plaintext": False, **own}, {"plaintext": True}):
            with StatusClient(server.address, timeout=1, **unwelcome) as client, pytest.raises(Unavailable):
                client.list_traces().__next__()
    finally:
        server.kill()


def test_everything_public_can_be_imported_and_nothing_else_is_promised():
    for name in status_grpc.__all__:
        assert getattr(status_grpc, name) is not None
    assert dir(status_grpc) == sorted(status_grpc.__all__)
    with pytest.raises(AttributeError):
        _ = status_grpc.no_such_name  # type: ignore[attr-defined]


def test_a_closed_client_is_closed(client: StatusClient, real: RealServer):
    trace_id = client.create(domain="d", domain_id="x", component="c").trace.trace_id
    closing = StatusClient(real.address)
    events = closing.follow(trace_id)
    next(events)

    def work(number: int) -> None:
        if number == 0:
            time.sleep(0.3)
            closing.close()
        elif number == 1:
            with pytest.raises(RuntimeError, match="closed"):
                closing.wait(trace_id)
        else:
            with pytest.raises(RuntimeError, match="closed"):
                next(events)

    in_threads(3, work)
    with pytest.raises(RuntimeError, match="closed"):
        closing.get_trace(trace_id)


def test_one_asynchronous_client_in_one_event_loop_after_the_other(real: RealServer):
    client = AsyncStatusClient(real.address)

    async def use() -> str:
        written = await client.create(domain="d", domain_id="x", component="c")
        events = client.follow(written.trace.trace_id)
        await anext(events)
        events.close()
        return written.trace.trace_id

    ids = [asyncio.run(use()) for _ in range(3)]
    assert len(set(ids)) == 3


def test_unauthenticated_is_not_repeated(fake: FakeServer, fake_client: StatusClient):
    from fake_server import Fault

    fake.service.fail("GetTrace", Fault(error=Unauthenticated()))
    with pytest.raises(Unauthenticated):
        fake_client.get_trace("t")
    assert len(fake.service.requests("GetTrace")) == 1
