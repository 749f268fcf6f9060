"""The ends of executions: each trace is told its own, once, whatever the order; and who is not told can be asked."""

from __future__ import annotations

import itertools
import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from aws_messages import from_sns, from_sqs, in_sns_envelope, notification, status_change
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline_example import shared_client

from status_grpc import ErrorDetail, StatusClient, TraceEventStatus, TraceStatus
from status_grpc.aws import EndStates, Unroutable, reconcile

OK, FAILED = TraceEventStatus.OK, TraceEventStatus.FAILED


def create(client: StatusClient) -> str:
    return client.create(domain="dataset", domain_id="d/1", component="data-uploader").trace.trace_id


@pytest.fixture
def trace_id(client: StatusClient) -> str:
    return create(client)


@pytest.fixture
def ends(client: StatusClient) -> EndStates:
    return EndStates(client)


@pytest.mark.parametrize(
    ("status", "outcome"), [("SUCCEEDED", OK), ("FAILED", FAILED), ("TIMED_OUT", FAILED), ("ABORTED", FAILED)]
)
@pytest.mark.parametrize(
    "wrap",
    [lambda event: event, from_sns, from_sqs, lambda event: from_sqs(in_sns_envelope(event))],
    ids=["plain", "sns", "sqs-raw", "sns-sqs"],
)
def test_every_end_ends_the_trace_however_it_is_wrapped(ends, client, trace_id, status, outcome, wrap):
    ends.handle(wrap(status_change(trace_id, status)))
    trace = client.get_trace(trace_id).trace
    assert (trace.done, trace.trace_event_status, trace.component) == (True, outcome, "state-machine-event")


def test_the_end_says_when_and_which_execution(ends, client, trace_id):
    ends.tell(status_change(trace_id, "SUCCEEDED"))
    event = client.get_trace(trace_id).events[-1]
    assert event.start_time == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert event.end_time == datetime(2026, 1, 31, 12, 1, 0, 500_000, tzinfo=UTC)
    assert event.status_body["execution"].endswith(f":execution:pipeline:{trace_id}")
    assert event.exception is None


@pytest.mark.parametrize("status", ["RUNNING", "PENDING_REDRIVE", "SOMETHING_NEW"])
def test_what_is_no_end_changes_nothing(ends, client, trace_id, status):
    assert ends.tell(status_change(trace_id, status)) == "ignored"
    assert len(client.get_trace(trace_id).events) == 1


def test_an_end_that_comes_again_is_told_once(ends, client, trace_id):
    event = status_change(trace_id, "FAILED", error="E", cause="C")
    for _ in range(3):
        assert ends.tell(event) == "ended"
    # The same end in other words, as Step Functions tells it when it is asked.
    assert ends.tell(status_change(trace_id, "FAILED", error="E", cause="C, in full")) == "ended"
    assert len(client.get_trace(trace_id).events) == 2


def test_what_a_lambda_function_raised_is_the_exception(ends, client, trace_id):
    cause = {"errorMessage": "row 3", "errorType": "ValueError", "stackTrace": ["  File a\n", "  File b\n"]}
    ends.tell(status_change(trace_id, "FAILED", error="ValueError", cause=json.dumps(cause)))
    failure = client.get_trace(trace_id).trace.first_failure
    assert (failure.exception_type, failure.exception_message) == ("ValueError", "row 3")
    event = client.get_trace(trace_id).events[-1]
    assert event.exception.traceback == "  File a\n  File b\n"
    assert json.loads(event.status_body["cause"]) == cause


@pytest.mark.parametrize(
    ("status", "error", "cause", "expected"),
    [
        ("FAILED", "States.DataLimitExceeded", "too long", ("States.DataLimitExceeded", "too long")),
        ("FAILED", None, '"a text"', ("", '"a text"')),
        ("TIMED_OUT", None, None, ("States.Timeout", "")),
        ("ABORTED", "Stopped", "by hand", ("Stopped", "by hand")),
        ("ABORTED", None, None, ("ExecutionAborted", "")),
        ("FAILED", "E" * 300, "C\0" * 20_000, ("E" * 256, "C" * 1024)),
    ],
)
def test_the_reason_of_a_failure_is_what_step_functions_says(ends, client, trace_id, status, error, cause, expected):
    ends.tell(status_change(trace_id, status, error=error, cause=cause))
    failure = client.get_trace(trace_id).trace.first_failure
    assert (failure.exception_type, failure.exception_message) == expected


def test_an_end_that_says_only_failed_leaves_the_reason_to_the_validator(ends, client, trace_id):
    error = ErrorDetail({"nb": "Rad 3 mangler pris", "en": "Row 3 has no price"})
    client.update(trace_id=trace_id, component="csv-validator", operation="validate", errors=[error])
    ends.tell(status_change(trace_id, "FAILED"))
    trace = client.get_trace(trace_id).trace
    assert trace.first_failure.component == "csv-validator"
    assert [reported.error for reported in trace.errors] == [error]


def test_step_functions_is_asked_why_where_the_event_does_not_say(client, trace_id):
    class StepFunctions:
        def describe_execution(self, **_arguments):
            detail = status_change(trace_id, "FAILED", error="E", cause="C")["detail"]
            return detail | {"startDate": datetime.now(UTC), "stopDate": datetime.now(UTC), "redriveDate": None}

    EndStates(client, StepFunctions()).tell(status_change(trace_id, "FAILED"))
    assert client.get_trace(trace_id).trace.first_failure.exception_type == "E"


def test_an_execution_that_no_trace_names_is_left_alone(ends):
    assert ends.tell(status_change(f"nothing-{uuid.uuid4()}", "FAILED")) == "no-trace"
    assert ends.tell(status_change(f"nothing-{uuid.uuid4()}", "RUNNING", redrives=1)) == "no-trace"


def test_what_is_no_event_of_an_execution_is_delivered_again(ends, trace_id):
    answer = ends.handle(from_sqs(notification("k"), status_change(trace_id, "SUCCEEDED")))
    assert answer == {"batchItemFailures": [{"itemIdentifier": "0"}]}
    with pytest.raises(Unroutable):
        ends.handle(notification("k"))


def test_while_the_service_is_away_ends_stay_where_they_are(trace_id):
    with StatusClient("127.0.0.1:9", timeout=0.2) as nobody, pytest.raises(Exception, match="connect"):
        EndStates(nobody).handle(from_sqs(status_change(trace_id, "SUCCEEDED")))


def test_a_redriven_execution_opens_a_new_run(ends, client, trace_id):
    ends.tell(status_change(trace_id, "FAILED", error="E"))
    assert ends.tell(status_change(trace_id, "RUNNING", redrives=1)) == "reopened"
    reopened = client.get_trace(trace_id).trace
    assert (reopened.done, reopened.run, reopened.first_failure) == (False, 2, None)
    ends.tell(status_change(trace_id, "SUCCEEDED", redrives=1))
    trace = client.get_trace(trace_id).trace
    assert (trace.done, trace.run, trace.trace_event_status) == (True, 2, OK)


def test_a_redrive_of_which_only_the_end_is_told_has_a_run_of_its_own(ends, client, trace_id):
    ends.tell(status_change(trace_id, "FAILED"))
    ends.tell(status_change(trace_id, "SUCCEEDED", redrives=1))
    trace = client.get_trace(trace_id).trace
    assert (trace.done, trace.run, trace.trace_event_status) == (True, 2, OK)


TOLD = [("FAILED", 0), ("RUNNING", 1), ("SUCCEEDED", 1)]
TOLD_AT_LENGTH = [("FAILED", 0), ("RUNNING", 1), ("ABORTED", 1), ("RUNNING", 2), ("SUCCEEDED", 2)]


@pytest.mark.parametrize(
    "order", list(itertools.permutations(TOLD)), ids=lambda order: "-".join(s[0] + str(r) for s, r in order)
)
def test_the_last_attempt_decides_in_whatever_order_a_redrive_is_told(ends, client, trace_id, order):
    for status, redrives in order:
        ends.tell(status_change(trace_id, status, redrives=redrives))
    trace = client.get_trace(trace_id).trace
    assert (trace.done, trace.trace_event_status) == (True, OK)


def test_the_last_attempt_decides_in_whatever_order_two_redrives_are_told(ends, client):
    wrong = []
    for order in itertools.permutations(TOLD_AT_LENGTH):
        trace_id = create(client)
        for status, redrives in order:
            ends.tell(status_change(trace_id, status, redrives=redrives))
        trace = client.get_trace(trace_id).trace
        if (trace.done, trace.trace_event_status) != (True, OK):
            wrong.append(order)
    assert wrong == []


@given(order=st.permutations(TOLD_AT_LENGTH), again=st.lists(st.sampled_from(TOLD_AT_LENGTH), max_size=4))
@settings(max_examples=30)
def test_two_redrives_and_duplicates_in_any_order_end_the_trace_once(client, order, again):
    trace_id, ends = create(client), EndStates(client)
    for status, redrives in [*order, *again]:
        ends.tell(status_change(trace_id, status, redrives=redrives))
    trace = client.get_trace(trace_id).trace
    assert (trace.done, trace.trace_event_status) == (True, OK)


@given(order=st.permutations(TOLD_AT_LENGTH), lost=st.sets(st.sampled_from(TOLD_AT_LENGTH[:-1])))
@settings(max_examples=40)
def test_whatever_else_is_lost_the_last_end_decides(client, order, lost):
    trace_id, ends = create(client), EndStates(client)
    for status, redrives in order:
        if (status, redrives) not in lost:
            ends.tell(status_change(trace_id, status, redrives=redrives))
    trace = client.get_trace(trace_id).trace
    assert (trace.done, trace.trace_event_status) == (True, OK)


def machine(state: dict) -> str:
    definition = json.dumps({"StartAt": "It", "States": {"It": state}})
    role = "arn:aws:iam::123456789012:role/r"
    created = shared_client("stepfunctions").create_state_machine(
        name=f"machine-{uuid.uuid4()}", definition=definition, roleArn=role
    )
    return created["stateMachineArn"]


def test_reconcile_ends_the_traces_whose_executions_have_ended(aws, client):
    stepfunctions = shared_client("stepfunctions")
    passes = machine({"Type": "Pass", "End": True})
    fails = machine({"Type": "Fail", "Error": "E", "Cause": "C"})
    waits = machine({"Type": "Wait", "Seconds": 600, "End": True})
    domain = f"domain-{uuid.uuid4()}"
    names = {}
    for state_machine in (passes, fails, waits):
        trace = client.create(domain=domain, domain_id="d/1", component="c").trace
        names[trace.trace_id] = state_machine
        started = stepfunctions.start_execution(stateMachineArn=state_machine, name=trace.trace_id, input="{}")
    aborted = list(names)[-1]
    stepfunctions.stop_execution(executionArn=started["executionArn"])
    without = client.create(domain=domain, domain_id="d/1", component="c", trace_id=f"no-{uuid.uuid4()}").trace.trace_id
    while any(  # moto's executions take a moment
        stepfunctions.describe_execution(executionArn=arn.replace(":stateMachine:", ":execution:") + f":{name}")[
            "status"
        ]
        == "RUNNING"
        for name, arn in names.items()
    ):
        pass
    other = client.create(domain=f"other-{domain}", domain_id="d/1", component="c").trace.trace_id

    def reconciled(**options):
        found = reconcile(client, stepfunctions, [passes, fails, waits], domain=domain, **options)
        return {asked.trace_id: asked.execution and asked.execution.status for asked in found}

    assert reconciled(quiet_for=timedelta(hours=1)) == {}
    asked = reconciled(quiet_for=timedelta(0))
    assert asked == {**dict(zip(names, ["SUCCEEDED", "FAILED", "ABORTED"], strict=True)), without: None}
    traces = [client.get_trace(trace_id).trace for trace_id in names]
    assert [(trace.done, trace.trace_event_status) for trace in traces] == [(True, OK), (True, FAILED), (True, FAILED)]
    assert traces[1].first_failure.exception_message == "C"
    assert traces[2].trace_id == aborted
    assert reconciled(quiet_for=timedelta(0)) == {without: None}
    assert not client.get_trace(other).trace.done
    # EventBridge was only slow.
    EndStates(client).tell(status_change(traces[0].trace_id, "SUCCEEDED"))
    assert client.get_trace(traces[0].trace_id).trace.trace_status is TraceStatus.FINISHED


def test_reconcile_says_what_is_no_state_machine(client):
    with pytest.raises(ValueError, match="not the ARN"):
        list(reconcile(client, None, ["pipeline"]))
