"""Whatever is wrong with the service, a step's result, its exception and (beyond the flush bound) its time stay."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import grpc
import pytest
from fake_server import FakeServer, Fault
from patience import eventually

from status_grpc import (
    PermissionDenied,
    StatusClient,
    StatusError,
    Unavailable,
    configure,
    flush,
    status_add,
    status_step,
    status_wrapper,
    trace,
)

BOUND = 0.3
#: What a loaded machine may add to a step; far below any timeout of gRPC.
SLACK = 3.0


@contextmanager
def nobody_listens() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{probe.getsockname()[1]}"


@contextmanager
def accepts_and_never_answers() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def answers_garbage() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(1)
                    try:
                        connection.recv(1000)
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ngarbage" * 10)
                    except OSError:
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stop.set()
            thread.join()


def always(fault: Fault) -> Callable[[], object]:
    @contextmanager
    def server() -> Iterator[str]:
        fake = FakeServer()
        for method in ("Create", "BatchUpdate"):
            fake.service.fail(method, *[fault] * 10_000)
        fake.start()
        try:
            yield fake.address
        finally:
            fake.stop()

    return server


SERVERS = {
    "nobody listens": nobody_listens,
    "accepts and never answers": accepts_and_never_answers,
    "garbage": answers_garbage,
    "UNAVAILABLE": always(Fault(error=Unavailable())),
    "PERMISSION_DENIED": always(Fault(error=PermissionDenied())),
    "UNKNOWN": always(Fault(code=grpc.StatusCode.UNKNOWN)),
    "INTERNAL": always(Fault(code=grpc.StatusCode.INTERNAL)),
    "UNAUTHENTICATED": always(Fault(code=grpc.StatusCode.UNAUTHENTICATED)),
    "hangs": always(Fault(hang=60)),
}


@pytest.mark.parametrize("kind", SERVERS)
def test_result_exception_and_time_are_the_steps_own(kind: str, caplog: pytest.LogCaptureFixture):
    own = ValueError("the step's own")

    @status_wrapper(trace_id="t")
    def succeeds(value: int) -> dict[str, int]:
        status_add(status_body={"value": value})
        return {"value": value}

    @status_wrapper(trace_id="t")
    def fails() -> None:
        raise own

    @status_wrapper(trace_id="t")
    async def coroutine() -> str:
        await asyncio.sleep(0)
        return "done"

    with SERVERS[kind]() as address:
        configure(server=address, flush_timeout=BOUND, attempt_timeout=1, component="c")
        caplog.clear()
        began = time.monotonic()
        for value in range(3):
            assert succeeds(value) == {"value": value}
        with pytest.raises(ValueError) as raised:
            fails()
        assert raised.value is own
        assert asyncio.run(coroutine()) == "done"
        with trace("d", "x/1") as t:
            assert t.trace_id
        assert time.monotonic() - began < 8 * BOUND + SLACK
        warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert 1 <= len(warnings) <= 3, [record.getMessage() for record in warnings]
        configure(reporting=False)


def test_a_flush_in_the_background_never_waits():
    with accepts_and_never_answers() as address:
        configure(server=address, flush_timeout=5, attempt_timeout=60, component="c")
        began = time.monotonic()
        for _ in range(100):
            with status_step("tight", trace_id="t", flush="background"):
                pass
        assert time.monotonic() - began < SLACK
        assert not flush(0.1)
        configure(reporting=False)


def test_a_synchronous_step_does_not_block_an_event_loop():
    async def main() -> float:
        began = time.monotonic()
        with status_step("sync in a coroutine", trace_id="t"):
            pass
        return time.monotonic() - began

    with accepts_and_never_answers() as address:
        configure(server=address, flush_timeout=4, component="c")
        assert asyncio.run(main()) < SLACK
        assert not flush(0.1)


def test_a_module_that_another_thread_is_only_just_loading_hurts_no_step(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch
):
    # What the reporter's thread loads while the first step works: gRPC loads asyncio.
    monkeypatch.setitem(sys.modules, "asyncio", ModuleType("asyncio"))
    configure(server=fake.address, flush_timeout=30, component="c")
    with trace("d", "x/1") as t, status_step("one"):
        pass
    assert len(fake.service.events[t.trace_id]) == 3


def test_what_was_reported_during_an_outage_arrives_after_it(caplog: pytest.LogCaptureFixture):
    fake = FakeServer()
    fake.start()
    configure(server=fake.address, flush_timeout=BOUND, component="c")
    with trace("d", "x/1") as t, status_step("before"):
        pass
    fake.stop()
    for number in range(20):
        with status_step(f"during-{number}", trace_id=t.trace_id):
            pass
    fake.start()
    assert flush(60)
    with status_step("after", trace_id=t.trace_id):
        pass
    assert flush(60)
    operations = [event.operation for event in fake.service.events[t.trace_id]]
    assert operations == ["", "before", "", *[f"during-{number}" for number in range(20)], "after"]
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) <= 2
    fake.stop()


def test_a_trace_begun_while_the_service_is_away_is_there_when_it_is_back():
    fake = FakeServer()
    fake.start()
    fake.stop()
    configure(server=fake.address, flush_timeout=BOUND, component="c")
    with trace("d", "x/1") as t, status_step("one"):
        pass
    fake.start()
    assert flush(60)
    assert [event.operation for event in fake.service.events[t.trace_id]] == ["", "one", ""]
    fake.stop()


def test_one_event_that_the_service_refuses_stops_no_other(fake: FakeServer):
    configure(server=fake.address, flush_timeout=30, component="c")
    with trace("d", "x/1") as t:
        with status_step("nowhere", trace_id="no-such-trace", flush="background"):
            pass
        with status_step("fine"):
            pass
    assert [event.operation for event in fake.service.events[t.trace_id]] == ["", "fine", ""]


def test_a_batch_that_is_refused_as_a_whole_is_sent_one_by_one(fake: FakeServer):
    configure(server=fake.address, flush_timeout=30, component="c")
    with trace("d", "x/1") as t:
        fake.service.fail("BatchUpdate", Fault(hang=0.3, error=Unavailable()), Fault(error=PermissionDenied()))
        for number in range(5):
            with status_step(f"step-{number}", flush="background"):
                pass
    operations = [event.operation for event in fake.service.events[t.trace_id]]
    assert operations == ["", *[f"step-{number}" for number in range(5)], ""]


def test_a_token_function_that_fails_for_a_while_loses_nothing(fake: FakeServer):
    answers = iter([ValueError("no network"), ValueError("no network"), "token"])

    def token() -> str:
        answer = next(answers, "token")
        if isinstance(answer, Exception):
            raise answer
        return answer

    configure(server=fake.address, flush_timeout=30, token=token, component="c")
    with trace("d", "x/1") as t:
        pass
    assert len(fake.service.events[t.trace_id]) == 2


def test_raise_waits_and_says_why(fake: FakeServer):
    configure(server=fake.address, flush_timeout=0.3, component="c")
    fake.service.fail("BatchUpdate", *[Fault(error=Unavailable())] * 1000)
    with pytest.raises(StatusError), status_step("x", trace_id="t", on_error="raise"):
        pass
    fake.service.faults.clear()
    fake.service.fail("Create", Fault(error=PermissionDenied()))
    flush(60)
    configure(server=fake.address, flush_timeout=20, component="c")  # an answer comes: it may take its time
    with pytest.raises(PermissionDenied), trace("d", "x", on_error="raise"):
        pytest.fail("the body must not run")
    assert "STATUS_GRPC_TRACE_ID" not in os.environ


def test_bad_configuration_turns_reporting_off_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    from status_grpc.client.reporting import default

    default._default.replace(None)
    monkeypatch.setenv("STATUS_GRPC_FLUSH_TIMEOUT", "soon")
    with status_step("x", trace_id="t"):
        pass
    assert "STATUS_GRPC_FLUSH_TIMEOUT" in caplog.text
    monkeypatch.delenv("STATUS_GRPC_FLUSH_TIMEOUT")


def test_a_fault_of_this_library_is_logged_and_hurts_nobody(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a fault")

    configure(server=fake.address, component="c")
    monkeypatch.setattr("status_grpc.client.steps.reported.make_report", broken)

    @status_wrapper(trace_id="t", report_start=True)
    def step() -> int:
        return 7

    assert step() == 7
    with trace("d", "x"):
        pass
    assert "a fault" in caplog.text


def test_far_too_many_events_are_dropped_but_not_the_end_of_a_trace(fake: FakeServer):
    fake.service.fail("BatchUpdate", *[Fault(error=Unavailable())] * 1000)
    configure(server=fake.address, flush_timeout=0.1, component="c", spool="off")
    with StatusClient(fake.address) as client:
        trace_id = client.create(domain="d", domain_id="x", component="c").trace.trace_id
    big = "x" * 900_000
    for _ in range(100):
        with status_step("big", trace_id=trace_id, status_body={"big": big}, flush="background"):
            pass
    with status_step("end", trace_id=trace_id, trace_status="FINISHED", flush="background"):
        pass
    fake.service.faults.clear()
    assert not flush(60), "some are lost"
    eventually(lambda: fake.service.events[trace_id][-1].operation == "end", "the end arrives")
    assert 60 <= len(fake.service.events[trace_id]) <= 80
