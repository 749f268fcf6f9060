"""The whole way, as examples/aws-pipeline has it: from an upload to its end, with a follower that sees every step live.

AWS is moto's server: it sends the notification, interprets the state machine with its retries and timeouts, and keeps
the queues. It neither calls Lambda functions nor tells EventBridge of ends: the example's platform does that.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from datetime import timedelta

import pytest
from pipeline_example import FOLDER, Platform, Worker, run

from status_grpc import ErrorDetail, Lineage, LineageDirection, StatusClient, TraceEvent, TraceEventStatus
from status_grpc.aws import EndStates, Router, Uploads, reconcile

OK, FAILED = TraceEventStatus.OK, TraceEventStatus.FAILED
PATIENCE = 90
BAD = "bike,price\nred,100\nblue,\n"


class Follower(threading.Thread):
    """Follows a trace, and knows what it has seen so far."""

    def __init__(self, client: StatusClient, trace_id: str) -> None:
        super().__init__(daemon=True)
        self._following = client.follow(trace_id, timeout=PATIENCE)
        self._following.start()
        self._changed = threading.Condition()
        self.seen: list[TraceEvent] = []
        self.start()

    def run(self) -> None:
        with self._following as events:
            for event in events:
                with self._changed:
                    self.seen.append(event)
                    self._changed.notify_all()

    def has_seen(self, *operations: str) -> bool:
        """Wait until these are the events that were seen."""
        with self._changed:
            return self._changed.wait_for(lambda: self.operations == list(operations), PATIENCE)

    @property
    def operations(self) -> list[str]:
        return [event.operation for event in self.seen]

    @property
    def outcomes(self) -> list[tuple[str, TraceEventStatus]]:
        return [(event.operation, event.trace_event_status) for event in self.seen]

    def finished(self):
        self.join(PATIENCE)
        return self._following.finished_trace


class Story:
    """One upload. What the platform would do whenever it likes is done step by step here, so that each can be seen."""

    def __init__(self, client: StatusClient, file: str, content: str, *, write_seconds: int = 60) -> None:
        self.client = client
        self.platform = Platform(f"pipeline-{uuid.uuid4()}", write_seconds)
        self.worker = Worker(self.platform.tasks)
        self.router = Router(
            client, self.platform.s3, self.platform.stepfunctions, state_machine=self.platform.state_machine
        )
        key = f"raw/bike-trips/version=1/{file}"
        upload = Uploads(self.platform.s3, self.platform.bucket).put(
            key, "dataset", "bike-trips/1", content_type="text/csv"
        )
        self.trace_id = upload.trace_id
        self.follower = Follower(client, self.trace_id)
        run.send(upload, content)

    def route(self) -> None:
        while self.platform.deliver(self.platform.arrivals, self.router.handle, wait_seconds=1) == 0:
            pass
        assert self.follower.has_seen("upload", "route")

    def step(self, function: str) -> None:
        """Let one step run, which must be this one."""
        while not (name := self.worker.run_one()):
            pass
        assert name == function

    def end(self) -> None:
        """Let EventBridge tell how it ended."""
        ends = EndStates(self.client)
        while True:
            self.platform.tell_ends()
            if self.platform.deliver(self.platform.ends, ends.handle):
                return

    def executions(self) -> list[tuple[str, str]]:
        listed = self.platform.stepfunctions.list_executions(stateMachineArn=self.platform.state_machine)
        return [(execution["name"], execution["status"]) for execution in listed["executions"]]


def edges(lineage: Lineage) -> set[tuple[str, bool, str]]:
    return {(edge.dataset.uri, edge.written, edge.trace_id) for edge in lineage.edges}


@pytest.fixture
def tell(aws, client):
    return lambda *args, **kwargs: Story(client, *args, **kwargs)


def test_a_good_upload_is_seen_step_by_step_to_its_end(tell):
    story = tell("good.csv", run.GOOD)
    story.route()
    # Each step is seen before the next one runs.
    story.step("validate")
    assert story.follower.has_seen("upload", "route", "validate")
    story.step("convert")
    assert story.follower.has_seen("upload", "route", "validate", "convert")
    # While the pipeline goes on, it is known what has become of the file so far.
    raw, converted, written = (
        f"s3://{story.platform.bucket}/{place}/bike-trips/version=1/good.{ending}"
        for place, ending in (("raw", "csv"), ("intermediate", "json"), ("green", "json"))
    )
    so_far = story.client.get_lineage(raw, direction=LineageDirection.DOWNSTREAM)
    assert edges(so_far) == {(raw, False, story.trace_id), (converted, True, story.trace_id)}
    story.step("write")
    assert story.follower.has_seen("upload", "route", "validate", "convert", "write")
    story.end()
    trace = story.follower.finished()
    assert (trace.done, trace.trace_event_status, trace.last_sequence) == (True, OK, 6)
    assert story.executions() == [(story.trace_id, "SUCCEEDED")]
    # From the result back to the raw file.
    whole = story.client.get_lineage(written, direction=LineageDirection.UPSTREAM)
    assert {(written, True, story.trace_id), (raw, False, story.trace_id)} <= edges(whole)
    assert [(found.trace_id, found.done) for found in whole.traces] == [(story.trace_id, True)]


def test_a_step_that_fails_and_is_tried_again_ends_the_trace_once_and_ok(tell):
    story = tell("flaky.csv", run.GOOD)
    story.route()
    story.step("validate")
    story.step("convert")
    assert story.follower.has_seen("upload", "route", "validate", "convert")
    assert story.follower.seen[-1].trace_event_status is FAILED
    story.step("convert")  # by the state machine's Retry
    story.step("write")
    story.end()
    trace = story.follower.finished()
    assert (trace.done, trace.trace_event_status, trace.run) == (True, OK, 1)
    assert story.follower.outcomes[2:] == [
        ("validate", OK),
        ("convert", FAILED),
        ("convert", OK),
        ("write", OK),
        ("execution", OK),
    ]


def test_a_validation_that_fails_is_the_reason_in_both_languages(tell):
    story = tell("invalid.csv", BAD)
    story.route()
    story.step("validate")
    story.end()
    trace = story.follower.finished()
    assert (trace.done, trace.trace_event_status) == (True, FAILED)
    assert trace.first_failure.component == "csv-validator"
    assert [(reported.component, reported.error) for reported in trace.errors] == [
        ("csv-validator", ErrorDetail({"nb": "Rad 2 mangler pris", "en": "Row 2 has no price"}))
    ]
    assert story.follower.outcomes[2:] == [("validate", OK), ("execution", FAILED)]


def test_a_step_that_dies_without_a_word_is_told_by_step_functions_itself(tell):
    story = tell("dies.csv", run.GOOD, write_seconds=3)
    story.route()
    story.step("validate")
    story.step("convert")
    died = subprocess.run([sys.executable, str(FOLDER / "worker.py"), story.platform.tasks], timeout=PATIENCE)
    assert died.returncode == 1
    # Nobody tells EventBridge, and nothing is heard of the trace until somebody asks.
    ended: list = []
    while not ended:
        asked = reconcile(
            story.client, story.platform.stepfunctions, [story.platform.state_machine], quiet_for=timedelta(0)
        )
        ended = [found for found in asked if found.ended]
    trace = story.follower.finished()
    assert [found.trace_id for found in ended] == [story.trace_id]
    assert (trace.done, trace.trace_event_status, trace.first_failure.exception_type) == (
        True,
        FAILED,
        "States.Timeout",
    )
    assert story.follower.operations == ["upload", "route", "validate", "convert", "execution"]
