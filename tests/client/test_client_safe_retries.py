from __future__ import annotations

import signal
import threading
import time
from datetime import timedelta

import grpc
import pytest
from fake_server import FakeServer, Fault
from patience import in_threads
from real_server import RealServer

from status_grpc import (
    AsyncStatusClient,
    DeadlineExceeded,
    EventDraft,
    InvalidArgument,
    Overloaded,
    PermissionDenied,
    StatusClient,
    Unavailable,
    Update,
)
from status_grpc.domain.errors import FieldViolation

LOST_ANSWER = Fault(code=grpc.StatusCode.UNAVAILABLE, after=True)


def create(client: StatusClient) -> str:
    return client.create(domain="d", domain_id="x", component="c").trace.trace_id


def test_a_lost_answer_makes_no_duplicate(fake: FakeServer, fake_client: StatusClient):
    fake.service.fail("Create", LOST_ANSWER, LOST_ANSWER)
    fake.service.fail("Update", LOST_ANSWER, Fault(code=grpc.StatusCode.CANCELLED, after=True))
    fake.service.fail("BatchUpdate", LOST_ANSWER)
    trace_id = create(fake_client)
    assert fake_client.update(trace_id=trace_id, component="c").event.sequence == 2
    drafts = [EventDraft(trace_id=trace_id, component=f"c{n}") for n in range(3)]
    assert [result.sequence for result in fake_client.batch_update(drafts)] == [3, 4, 5]
    assert [event.sequence for event in fake_client.get_trace(trace_id).events] == [1, 2, 3, 4, 5]
    assert len(fake.service.deciding.traces) == 1


async def test_the_asynchronous_client_repeats_as_well(fake: FakeServer):
    fake.service.fail("Create", LOST_ANSWER, Fault(error=Unavailable()))
    async with AsyncStatusClient(fake.address) as client:
        trace_id = (await client.create(domain="d", domain_id="x", component="c")).trace.trace_id
        assert len((await client.get_trace(trace_id)).events) == 1


def test_an_answer_that_never_comes_is_asked_for_again(fake: FakeServer):
    fake.service.fail("Create", Fault(hang=60, after=True))
    with StatusClient(fake.address, attempt_timeout=0.3) as client:
        create(client)
    assert len(fake.service.deciding.traces) == 1
    assert len(fake.service.requests("Create")) == 2


def test_the_server_says_when_to_come_back(fake: FakeServer, fake_client: StatusClient):
    fake.service.fail("Create", Fault(error=Overloaded(retry_after=timedelta(seconds=0.6))))
    began = time.monotonic()
    create(fake_client)
    assert time.monotonic() - began >= 0.6


def test_a_call_ends_in_time_with_the_last_error(fake: FakeServer):
    fake.service.fail("Create", *[Fault(error=Unavailable("database"))] * 100)
    with StatusClient(fake.address, timeout=0.8) as client, pytest.raises(Unavailable, match="database"):
        create(client)
    fake.service.fail("GetTrace", Fault(hang=60))
    with StatusClient(fake.address) as client, pytest.raises(DeadlineExceeded):
        client.get_trace("t", timeout=0.3)


def test_what_does_not_pass_is_not_repeated(fake: FakeServer, fake_client: StatusClient):
    fake.service.fail("Create", Fault(error=PermissionDenied()))
    with pytest.raises(PermissionDenied):
        create(fake_client)
    assert len(fake.service.requests("Create")) == 1


def test_items_that_failed_for_a_passing_reason_are_sent_again_in_order(fake: FakeServer, fake_client: StatusClient):
    trace_id = create(fake_client)
    passing = Fault(error=Unavailable(retry_after=timedelta()))
    # The service fails the later items of a trace after one that failed for a passing reason.
    fake.service.fail("item", passing, passing, passing)
    drafts = [EventDraft(trace_id=trace_id, component=f"c{n}") for n in range(3)]
    results = fake_client.batch_update([*drafts, Update(drafts[0], expected_sequence=77)])
    assert [result.sequence for result in results] == [2, 3, 4, 0]
    assert results[3].error is not None
    assert [len(request.requests) for request in fake.service.requests("BatchUpdate")] == [4, 3]
    assert [event.component for event in fake_client.get_trace(trace_id).events] == ["c", "c0", "c1", "c2"]


def test_item_whose_batch_is_refused_fails_alone_by_its_place(fake: FakeServer, fake_client: StatusClient):
    trace_id = create(fake_client)
    drafts = [EventDraft(trace_id=trace_id, component="c") for _ in range(1004)]
    refused, alone = (
        Fault(error=InvalidArgument([FieldViolation(f"requests[{place}].event.user", "is not valid UTF-8")]))
        for place in (2, 0)
    )
    # The last four events, the first half of them, the second half, and its event that is bad.
    fake.service.fail("BatchUpdate", Fault(), refused, Fault(), alone, alone)
    results = fake_client.batch_update(drafts)
    assert [number for number, result in enumerate(results) if result.error] == [1002]
    assert isinstance(results[1002].error, InvalidArgument)
    assert results[1002].error.message == "requests[1002].event.user: is not valid UTF-8"
    assert list(results[1002].error.fields) == ["requests[1002].event.user"]


def test_items_that_keep_failing_are_answered_as_such(fake: FakeServer):
    with StatusClient(fake.address, timeout=0.5) as client:
        trace_id = create(client)
        fake.service.fail("item", *[Fault(error=Unavailable())] * 100)
        (result,) = client.batch_update([EventDraft(trace_id=trace_id, component="c")])
    assert isinstance(result.error, Unavailable)


def test_an_id_of_the_callers_own_is_kept(fake: FakeServer, fake_client: StatusClient):
    draft = EventDraft(domain="d", domain_id="x", component="c", trace_event_id="mine")
    first, second = fake_client.create(draft), fake_client.create(draft)
    assert first.event == second.event
    assert first.event.trace_event_id == "mine"


def test_writers_survive_a_server_that_is_killed_and_restarted(mortal: RealServer):
    with StatusClient(mortal.address, timeout=60) as client:
        trace_id = create(client)
        stop = threading.Event()
        acknowledged: list[str] = []

        def write(number: int) -> None:
            count = 0
            while not stop.is_set():
                count += 1
                event = client.update(trace_id=trace_id, component=f"{number}-{count}").event
                acknowledged.append(event.component)

        def restart(_: int) -> None:
            for _ in range(3):
                mortal.kill()
                mortal.start()
            stop.set()

        in_threads(9, lambda number: write(number) if number else restart(number))
        recorded = [event.component for event in client.get_trace(trace_id).events[1:]]
    assert len(set(recorded)) == len(recorded)
    assert set(acknowledged) == set(recorded)


def test_a_frozen_server_does_not_hang_a_call(mortal: RealServer):
    with StatusClient(mortal.address, attempt_timeout=0.5) as client:
        create(client)
        mortal.send(signal.SIGSTOP)
        with pytest.raises(DeadlineExceeded):
            client.list_traces(timeout=1.2).__next__()
        mortal.send(signal.SIGCONT)
        create(client)


def test_a_connection_that_was_not_used_for_long_is_replaced(
    fake: FakeServer, fake_client: StatusClient, monkeypatch: pytest.MonkeyPatch
):
    create(fake_client)
    before = fake_client._connection._calls
    create(fake_client)
    assert fake_client._connection._calls is before
    real_time = time.time
    # A process that is frozen (Lambda, SIGSTOP) notices only that the wall clock has jumped.
    monkeypatch.setattr(time, "time", lambda: real_time() + 3600)
    create(fake_client)
    assert fake_client._connection._calls is not before


def test_calls_under_way_survive_the_replacement_of_their_connection(fake: FakeServer, fake_client: StatusClient):
    trace_id = create(fake_client)
    fake.service.fail("Heartbeat", Fault(hang=1.0))

    def work(number: int) -> None:
        if number == 0:
            fake_client.heartbeat(trace_id)
        else:
            time.sleep(0.3)
            fake_client._connection.discard(fake_client._connection._calls)
            create(fake_client)

    in_threads(2, work)
    assert len(fake.service.requests("Heartbeat")) == 1
