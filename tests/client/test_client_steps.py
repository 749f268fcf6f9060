from __future__ import annotations

import asyncio
import contextvars
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest
from patience import in_threads

from status_grpc import (
    Dataset,
    StatusClient,
    TraceEvent,
    TraceEventStatus,
    TraceNotFound,
    TraceStatus,
    flush,
    status_add,
    status_step,
    status_wrapper,
    trace,
)

pytestmark = pytest.mark.usefixtures("reporting")

CONTINUE_OK = (TraceStatus.CONTINUE, TraceEventStatus.OK)
CONTINUE_FAILED = (TraceStatus.CONTINUE, TraceEventStatus.FAILED)
FINISHED_OK = (TraceStatus.FINISHED, TraceEventStatus.OK)
FINISHED_FAILED = (TraceStatus.FINISHED, TraceEventStatus.FAILED)


@pytest.fixture
def trace_id(client: StatusClient) -> str:
    return client.create(domain="d", domain_id="steps/1", component="uploader").trace.trace_id


def reported(client: StatusClient, trace_id: str) -> list[TraceEvent]:
    flush()
    return [event for event in client.get_trace(trace_id).events if event.component != "uploader"]


def statuses(event: TraceEvent) -> tuple[TraceStatus, TraceEventStatus]:
    return event.trace_status, event.trace_event_status


class Context:
    function_name = "s3-writer"
    function_version = "7"


def test_a_lambda_handler_reports_as_it_did_before(
    client: StatusClient, trace_id: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GIT_REV", "abc123")
    monkeypatch.setenv("GIT_BRANCH", "main")

    @status_wrapper()
    def copy(event, context):
        status_add(domain="dataset", domain_id="steps/1", status_body={"files": ["a"]})
        return "result"

    event = {
        "execution_name": trace_id,
        "requestContext": {"stage": "dev", "apiId": "api-1", "authorizer": {"principalId": "somebody"}},
    }
    assert copy(event, Context()) == "result"
    (told,) = reported(client, trace_id)
    assert (told.operation, told.component, told.user) == ("copy", "tests", "somebody")
    assert statuses(told) == CONTINUE_OK
    assert (told.domain, told.domain_id, told.status_body) == ("dataset", "steps/1", {"files": ["a"]})
    assert told.meta == {
        "function_name": "s3-writer",
        "function_version": "7",
        "function_stage": "dev",
        "function_api_id": "api-1",
        "git_rev": "abc123",
        "git_branch": "main",
    }
    assert told.end_time is not None
    assert told.duration is not None
    assert timedelta() <= told.duration
    assert (told.step_id != "", told.attempt) == (True, 1)


def test_a_handler_that_raises_finishes_the_trace_and_its_exception_goes_on(client: StatusClient, trace_id: str):
    @status_wrapper
    def handler(event, context):
        1 / 0  # noqa: B018

    with pytest.raises(ZeroDivisionError):
        handler({"execution_name": trace_id}, None)
    (told,) = reported(client, trace_id)
    assert statuses(told) == FINISHED_FAILED
    assert told.exception is not None
    assert (told.exception.type, told.exception.message) == ("ZeroDivisionError", "division by zero")
    assert "1 / 0" in told.exception.traceback
    assert client.get_trace(trace_id).trace.done


def test_with_continue_an_exception_leaves_the_end_to_the_engine(client: StatusClient, trace_id: str):
    @status_wrapper(on_exception="continue")
    def handler(event, context):
        raise ValueError("try again")

    with pytest.raises(ValueError, match="try again"):
        handler({"execution_name": trace_id}, None)
    (told,) = reported(client, trace_id)
    assert statuses(told) == CONTINUE_FAILED
    assert not client.get_trace(trace_id).trace.done


def test_the_trace_id_can_be_told_from_within(client: StatusClient, trace_id: str):
    @status_wrapper(component="own")
    def step():
        status_add(trace_id=trace_id, trace_status="FINISHED", operation="renamed")

    step()
    (told,) = reported(client, trace_id)
    assert (told.component, told.operation) == ("own", "renamed")
    assert statuses(told) == FINISHED_OK


def test_without_a_trace_nothing_is_sent_and_that_is_said_once(caplog: pytest.LogCaptureFixture):
    @status_wrapper
    def step():
        return 7

    assert [step(), step()] == [7, 7]
    assert [record.levelname for record in caplog.records if "no trace" in record.getMessage()] == ["WARNING"]


@pytest.mark.parametrize(
    ("errors", "error"),
    [
        ("wrong", TypeError),
        ([{"message": {"nb": "feil"}}, "wrong"], TypeError),
        ([{"msg": {"nb": "feil"}}], ValueError),
        ([{"message": "wrong"}], TypeError),
        ([{"message": {}}], ValueError),
    ],
)
def test_errors_for_people_are_checked_at_once(trace_id: str, errors: object, error: type[Exception]):
    with pytest.raises(error):
        status_add(errors=errors)
    with status_step("check", trace_id=trace_id), pytest.raises(error):
        status_add(errors=errors)


def test_a_validator_that_returns_errors_is_quoted_when_the_end_says_only_failed(client: StatusClient, trace_id: str):
    with status_step("validate", trace_id=trace_id):
        status_add(errors=[{"message": {"nb": "mangler kolonne", "en": "column missing"}, "column": "id"}])
    client.update(
        trace_id=trace_id,
        component="engine",
        trace_status=TraceStatus.FINISHED,
        trace_event_status=TraceEventStatus.FAILED,
    )
    (told, _) = reported(client, trace_id)
    assert told.errors[0].details == {"column": "id"}
    end = client.get_trace(trace_id).trace
    assert end.errors[0].error.message["en"] == "column missing"
    assert end.first_failure is not None
    assert end.first_failure.operation == "validate"


def test_lineage_progress_and_start_of_a_step(client: StatusClient, trace_id: str):
    with status_step("convert", trace_id=trace_id, report_start=True, attempt=3) as step:
        step.report(status_body={"percent": 50})
        status_add(inputs=["s3://in/a", ("s3://in/b", 2)], outputs=[{"uri": "s3://out/c", "version": "v3"}])
    start, progress, end = reported(client, trace_id)
    assert {event.step_id for event in (start, progress, end)} == {step.step_id}
    assert {event.attempt for event in (start, progress, end)} == {3}
    assert (start.end_time, progress.end_time, progress.status_body) == (None, None, {"percent": 50})
    assert start.start_time == progress.start_time == end.start_time
    assert end.end_time is not None
    assert end.inputs == (Dataset("s3://in/a"), Dataset("s3://in/b", "2"))
    assert end.outputs == (Dataset("s3://out/c", "v3"),)


def test_an_attempt_is_known_from_the_environment(client: StatusClient, trace_id: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STATUS_GRPC_ATTEMPT", "2")
    with status_step("again", trace_id=trace_id):
        pass
    assert reported(client, trace_id)[0].attempt == 2


def test_functions_of_every_kind(client: StatusClient, trace_id: str):
    class Pipeline:
        @status_wrapper(trace_id=trace_id)
        def method(self, number: int) -> int:
            status_add(status_body={"number": number})
            return number

        @staticmethod
        @status_wrapper(trace_id=trace_id)
        def static() -> str:
            return "static"

        @status_wrapper(trace_id=trace_id, operation="called")
        def __call__(self) -> str:
            return "called"

    @status_wrapper(trace_id=trace_id)
    async def coroutine() -> str:
        await asyncio.sleep(0)
        status_add(status_body={"kind": "coroutine"})
        return "done"

    @status_wrapper(trace_id=trace_id)
    def generator() -> Iterator[int]:
        for number in range(3):
            status_add(status_body={"last": number})
            yield number

    @status_wrapper(trace_id=trace_id)
    async def async_generator() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            status_add(status_body={"last": number})
            yield number

    async def consume() -> list[int]:
        return [number async for number in async_generator()]

    pipeline = Pipeline()
    assert (pipeline.method(5), pipeline.static(), pipeline()) == (5, "static", "called")
    assert asyncio.run(coroutine()) == "done"
    assert list(generator()) == [0, 1, 2]
    assert asyncio.run(consume()) == [0, 1, 2]
    told = [(event.operation, event.status_body) for event in reported(client, trace_id)]
    assert told == [
        ("method", {"number": 5}),
        ("static", None),
        ("called", None),
        ("coroutine", {"kind": "coroutine"}),
        ("generator", {"last": 2}),
        ("async_generator", {"last": 2}),
    ]
    assert pipeline.method.__name__ == "method"


def test_a_generator_keeps_what_goes_in_and_out_of_it(client: StatusClient, trace_id: str):
    seen: list[object] = []

    @status_wrapper(trace_id=trace_id)
    def echo():
        try:
            while True:
                try:
                    seen.append((yield len(seen)))
                except KeyError as error:
                    seen.append(error.args[0])
        finally:
            status_add(status_body={"closed": True})

    generator = echo()
    assert next(generator) == 0
    assert generator.send("sent") == 1
    assert generator.throw(KeyError("thrown")) == 2
    generator.close()
    assert seen == ["sent", "thrown"]

    @status_wrapper(trace_id=trace_id)
    def returns():
        yield 1
        return "value"

    def outer():
        return (yield from returns())

    generator = outer()
    next(generator)
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert stop.value.value == "value"

    @status_wrapper(trace_id=trace_id)
    def fails():
        yield 1
        raise ValueError("late")

    with pytest.raises(ValueError, match="late"):
        list(fails())
    told = reported(client, trace_id)
    assert [statuses(event) for event in told] == [CONTINUE_OK, CONTINUE_OK, FINISHED_FAILED]
    assert told[0].status_body == {"closed": True}


def test_between_two_items_a_generator_is_not_the_current_step(client: StatusClient, trace_id: str):
    @status_wrapper
    def items():
        for number in range(2):
            status_add(status_body={"of": "items"})
            yield number

    with status_step("consume", trace_id=trace_id):
        for number in items():
            status_add(meta={"consumed": number})
    inner, outer = reported(client, trace_id)
    assert (inner.operation, inner.status_body, inner.meta) == ("items", {"of": "items"}, None)
    assert (outer.operation, outer.status_body, outer.meta) == ("consume", None, {"consumed": 1})


async def test_a_closed_asynchronous_generator_ends_its_step(client: StatusClient, trace_id: str):
    @status_wrapper(trace_id=trace_id)
    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            status_add(status_body={"closed": True})

    generator = numbers()
    assert await anext(generator) == 1
    await generator.aclose()
    (told,) = reported(client, trace_id)
    assert (statuses(told), told.status_body) == (CONTINUE_OK, {"closed": True})


def test_nested_steps_keep_their_fields_and_leave_the_end_to_the_outermost(client: StatusClient, trace_id: str):
    @status_wrapper
    def inner(number: int) -> None:
        status_add(status_body={"inner": number})
        if number == 2:
            raise ValueError("inner")

    with status_step("outer", trace_id=trace_id, component="pipeline"):
        status_add(status_body={"outer": True})
        inner(1)
        with pytest.raises(ValueError, match="inner"):
            inner(2)
        inner(3)
    told = reported(client, trace_id)
    assert [(event.operation, event.status_body) for event in told] == [
        ("inner", {"inner": 1}),
        ("inner", {"inner": 2}),
        ("inner", {"inner": 3}),
        ("outer", {"outer": True}),
    ]
    assert [statuses(event) for event in told] == [CONTINUE_OK, CONTINUE_FAILED, CONTINUE_OK, CONTINUE_OK]
    assert {event.component for event in told} == {"pipeline"}
    assert len({event.step_id for event in told}) == 4


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (SystemExit(0), CONTINUE_OK),
        (SystemExit(), CONTINUE_OK),
        (SystemExit(3), FINISHED_FAILED),
        (KeyboardInterrupt(), FINISHED_FAILED),
    ],
)
def test_the_end_of_the_process_is_an_end_like_any_other(
    client: StatusClient, trace_id: str, raised: BaseException, expected: object
):
    with pytest.raises(type(raised)), status_step("ends", trace_id=trace_id):
        raise raised
    assert statuses(reported(client, trace_id)[0]) == expected


async def test_a_cancelled_step_says_so(client: StatusClient, trace_id: str):
    @status_wrapper(trace_id=trace_id)
    async def sleep() -> None:
        await asyncio.sleep(60)

    task = asyncio.create_task(sleep())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (told,) = reported(client, trace_id)
    assert told.exception is not None
    assert told.exception.type == "CancelledError"


def test_200_threads_do_not_mix(client: StatusClient, trace_id: str):
    barrier = threading.Barrier(200)

    @status_wrapper(trace_id=trace_id)
    def step(number: int) -> int:
        status_add(operation=f"op-{number}")
        barrier.wait()
        status_add(status_body={"number": number})
        with status_step(f"inner-{number}"):
            status_add(user=f"user-{number}")
        return number

    in_threads(200, step)
    told = {event.operation: event for event in reported(client, trace_id)}
    assert len(told) == 400
    for number in range(200):
        assert told[f"op-{number}"].status_body == {"number": number}
        assert told[f"op-{number}"].user == ""
        assert told[f"inner-{number}"].user == f"user-{number}"
        assert told[f"inner-{number}"].status_body is None


async def test_1000_coroutines_do_not_mix(client: StatusClient, trace_id: str):
    running = 0
    all_running = asyncio.Event()

    @status_wrapper(trace_id=trace_id)
    async def step(number: int) -> int:
        nonlocal running
        status_add(operation=f"op-{number}")
        running += 1
        if running == 1000:
            all_running.set()
        await all_running.wait()
        status_add(status_body={"number": number})
        async with status_step(f"inner-{number}"):
            await asyncio.sleep(0)
            status_add(user=f"user-{number}")
        return number

    assert await asyncio.gather(*(step(number) for number in range(1000))) == list(range(1000))
    told = {event.operation: event for event in reported(client, trace_id)}
    assert len(told) == 2000
    for number in range(1000):
        assert told[f"op-{number}"].status_body == {"number": number}
        assert told[f"inner-{number}"].user == f"user-{number}"


def test_a_trace_is_created_handed_on_and_finished(client: StatusClient):
    with trace("dataset", "my-dataset/1", component="pipeline", s3_path="raw/t", user="me") as t:
        assert client.get_trace(t.trace_id).trace.domain_id == "my-dataset/1"
        for name in ("validate", "convert", "write"):
            with status_step(name):
                pass
        status_add(status_body={"rows": 3})
    history = client.get_trace(t.trace_id)
    assert t.trace_id.startswith("my-dataset-")
    assert [event.operation for event in history.events] == ["", "validate", "convert", "write", ""]
    assert [statuses(event) for event in history.events[1:]] == [CONTINUE_OK] * 3 + [FINISHED_OK]
    assert history.events[0].s3_path == "raw/t"
    assert history.events[-1].status_body == {"rows": 3}
    assert history.events[0].step_id == history.events[-1].step_id
    assert {event.component for event in history.events} == {"pipeline"}
    assert history.trace.done


async def test_an_asynchronous_trace_that_fails_says_which_step_it_was(client: StatusClient):
    t = trace("dataset", "async/1")

    async def pipeline() -> None:
        async with t:
            async with status_step("validate"):
                pass
            async with status_step("convert"):
                raise ValueError("bad rows")

    with pytest.raises(ValueError, match="bad rows"):
        await pipeline()
    end = client.get_trace(t.trace_id).trace
    assert (end.done, end.trace_event_status) == (True, TraceEventStatus.FAILED)
    assert end.first_failure is not None
    assert (end.first_failure.operation, end.first_failure.exception_message) == ("convert", "bad rows")


def test_a_trace_can_leave_its_end_to_somebody_else(client: StatusClient):
    with trace("dataset", "upload/1", finish=False) as t:
        t.report(status_body={"uploaded": True})
    flush()
    history = client.get_trace(t.trace_id)
    assert (history.trace.done, len(history.events)) == (False, 2)


def test_child_processes_belong_to_the_trace(client: StatusClient):
    program = "from status_grpc import status_step\nwith status_step('child', component='child'): raise ValueError"
    with trace("dataset", "children/1", component="parent") as t:
        environment = {**os.environ, "STATUS_GRPC_SERVER": client.options.server}
        assert environment["STATUS_GRPC_TRACE_ID"] == t.trace_id == t.environment["STATUS_GRPC_TRACE_ID"]
        subprocess.run([sys.executable, "-c", program], env=environment, check=False, capture_output=True)
    assert "STATUS_GRPC_TRACE_ID" not in os.environ
    _, child, end = client.get_trace(t.trace_id).events
    # The parent tells the end: a child that fails does not.
    assert (child.component, statuses(child), statuses(end)) == ("child", CONTINUE_FAILED, FINISHED_OK)


def test_two_open_traces_are_not_handed_on_by_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STATUS_GRPC_TRACE_ID", "from-outside")
    with trace("d", "one") as one:
        assert os.environ["STATUS_GRPC_TRACE_ID"] == one.trace_id
        with trace("d", "two") as two:
            assert "STATUS_GRPC_TRACE_ID" not in os.environ
            assert two.environment["STATUS_GRPC_TRACE_ID"] == two.trace_id
        assert os.environ["STATUS_GRPC_TRACE_ID"] == one.trace_id
    assert os.environ["STATUS_GRPC_TRACE_ID"] == "from-outside"


def test_another_threads_trace_is_not_everybodys(client: StatusClient, caplog: pytest.LogCaptureFixture):
    with trace("d", "mine") as t, ThreadPoolExecutor(1) as pool:
        pool.submit(status_step("stray").__enter__).result()
        pool.submit(contextvars.copy_context().run, _step, "given").result()
    assert [event.operation for event in client.get_trace(t.trace_id).events] == ["", "given", ""]


def _step(name: str) -> None:
    with status_step(name):
        pass


def test_a_process_started_for_a_trace_reports_to_it(
    client: StatusClient, trace_id: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("STATUS_GRPC_TRACE_ID", trace_id)
    with pytest.raises(ValueError, match="no"), status_step("job"):
        raise ValueError("no")
    assert statuses(reported(client, trace_id)[0]) == CONTINUE_FAILED


def test_a_step_entered_and_left_in_different_contexts_does_no_harm(client: StatusClient, trace_id: str):
    @contextmanager
    def fixture():
        with status_step("fixture", trace_id=trace_id):
            yield

    manager = fixture()
    contextvars.copy_context().run(manager.__enter__)
    contextvars.copy_context().run(manager.__exit__, None, None, None)
    assert [event.operation for event in reported(client, trace_id)] == ["fixture"]


def test_on_error_raise_is_for_those_who_want_it(client: StatusClient, trace_id: str):
    with pytest.raises(TraceNotFound), status_step("lost", trace_id="no-such-trace", on_error="raise"):
        pass
    with pytest.raises(ValueError, match="own"), status_step("lost", trace_id="no-such-trace", on_error="raise"):
        raise ValueError("own")
    with status_step("arrived", trace_id=trace_id, on_error="raise"):
        pass
    assert [event.operation for event in client.get_trace(trace_id).events][-1] == "arrived"


def test_what_cannot_be_meant_is_refused_at_decoration():
    for wrong in ({"on_exception": "explode"}, {"flush": "never"}, {"on_error": "ignore"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            status_wrapper(**wrong)


def test_a_step_that_has_ended_does_not_swallow_later_ones(client: StatusClient, trace_id: str):
    async def background() -> None:
        await asyncio.sleep(0.05)
        async with status_step("late", flush="end"):
            pass

    async def main() -> None:
        async with status_step("outer", trace_id=trace_id):
            task = asyncio.create_task(background())
        await task

    asyncio.run(main())
    # No flush here: the late step was an outermost one by then, and waited for its event.
    assert [event.operation for event in client.get_trace(trace_id).events][1:] == ["outer", "late"]
