"""What a person does for a pipeline on AWS: `reconcile` and `aws dead-letters`; and the handlers that are deployed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid

import pytest
from aws_messages import from_sqs, notification, status_change
from pipeline_example import shared_client

from status_grpc import TraceEventStatus
from status_grpc.aws import handlers

ROLE = "arn:aws:iam::123456789012:role/r"
PASS = json.dumps({"StartAt": "Pass", "States": {"Pass": {"Type": "Pass", "End": True}}})


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `status-grpc` with the environment of the test."""
    program = [sys.executable, "-P", "-m", "status_grpc.cli.main", *arguments]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, env=dict(os.environ))
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def machine(aws) -> str:
    created = shared_client("stepfunctions").create_state_machine(
        name=f"m-{uuid.uuid4()}", definition=PASS, roleArn=ROLE
    )
    return created["stateMachineArn"]


@pytest.fixture
def bucket(aws) -> str:
    name = f"bucket-{uuid.uuid4()}"
    shared_client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return name


@pytest.fixture
def configured(machine, bucket, monkeypatch):
    """The variables of the handlers and the commands."""
    monkeypatch.setenv("STATUS_GRPC_AWS_STATE_MACHINE", machine)
    monkeypatch.setenv("STATUS_GRPC_AWS_DEAD_LETTERS", f"s3://{bucket}/dead")
    monkeypatch.setenv("STATUS_GRPC_AWS_PATIENCE", "0")
    for cached in (handlers._router, handlers._end_states):
        cached.cache_clear()


def executions(machine: str) -> list[str]:
    listed = shared_client("stepfunctions").list_executions(stateMachineArn=machine)["executions"]
    return [execution["name"] for execution in listed]


def create(client, path: str = "") -> str:
    return client.create(domain="dataset", domain_id="d/1", component="c", s3_path=path).trace.trace_id


def test_the_handlers_are_set_up_by_variables(configured, machine, client):
    path = f"raw/{uuid.uuid4()}"
    trace_id = create(client, path)
    assert handlers.route(from_sqs(notification(path)), None) == {"batchItemFailures": []}
    assert executions(machine) == [trace_id]
    assert handlers.end_state(status_change(trace_id, "SUCCEEDED"), None) == {"results": ["ended"]}
    assert client.get_trace(trace_id).trace.trace_event_status is TraceEventStatus.OK


@pytest.mark.parametrize(
    ("name", "value"),
    [("WITHOUT_TRACE", "panic"), ("PATH", "url"), ("PATIENCE", "long"), ("DEAD_LETTERS", "raw"), ("STATE_MACHINE", "")],
)
def test_a_variable_that_is_wrong_is_named(configured, monkeypatch, name, value):
    monkeypatch.setenv(f"STATUS_GRPC_AWS_{name}", value)
    with pytest.raises(ValueError, match=f"STATUS_GRPC_AWS_{name}|'raw' is not s3"):
        handlers.route({}, None)


def test_dead_letters_are_listed_shown_and_replayed(configured, machine, client):
    path = f"raw/{uuid.uuid4()}"
    handlers.route(from_sqs(notification(path), "no JSON"), None)
    letters = {
        letter["reason"]: letter
        for letter in map(json.loads, command("aws", "dead-letters", "list", "--format", "jsonl").stdout.splitlines())
    }
    assert len(letters) == 2
    missing = letters.pop(f"No trace that has not ended was created with the path {path!r}.")
    (nonsense,) = letters.values()
    assert command("aws", "dead-letters", "list").stdout.count("\n") == 3
    assert json.loads(command("aws", "dead-letters", "show", missing["letter_id"]).stdout) == missing
    # Too early for one of them, and no use for the other.
    replayed = command("aws", "dead-letters", "replay", "--all")
    assert (replayed.returncode, replayed.stderr) == (1, "0 are routed, 2 are kept.\n")
    trace_id = create(client, path)
    replayed = command("aws", "dead-letters", "replay", missing["letter_id"])
    assert (replayed.returncode, replayed.stdout) == (0, f"{missing['letter_id']}: started {trace_id}\n")
    assert executions(machine) == [trace_id]
    assert command("aws", "dead-letters", "remove", nonsense["letter_id"]).returncode == 0
    assert command("aws", "dead-letters", "list", "--format", "jsonl").stdout == ""
    assert command("aws", "dead-letters", "show", missing["letter_id"]).returncode == 3


def test_reconcile_prints_what_it_has_ended(configured, machine, client):
    trace_id = create(client)
    shared_client("stepfunctions").start_execution(stateMachineArn=machine, name=trace_id, input="{}")
    arn = f"{machine.replace(':stateMachine:', ':execution:')}:{trace_id}"
    while shared_client("stepfunctions").describe_execution(executionArn=arn)["status"] == "RUNNING":
        pass
    ended = command("reconcile", "--quiet-for", "0", "--domain-id", "d/1")
    assert (ended.returncode, ended.stdout) == (0, f"{trace_id}: SUCCEEDED\n")
    assert client.get_trace(trace_id).trace.done
    again = command("reconcile", "--quiet-for", "0", "--domain-id", "d/1", "--format", "jsonl")
    assert trace_id not in again.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reconcile", "--state-machine", "pipeline"], "not the ARN"),
        (["aws", "dead-letters", "list", "--at", "bucket/prefix"], "not s3://bucket/prefix"),
        (["aws", "dead-letters", "replay", "--at", "s3://b/p", "--state-machine", "x"], "--all"),
    ],
)
def test_asked_wrongly(aws, arguments, words):
    ended = command(*arguments)
    assert (ended.returncode, words in ended.stderr) == (2, True)


def test_aws_that_is_away_is_told_in_a_sentence(monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    ended = command("aws", "dead-letters", "list", "--at", "s3://b/p", "--region", "eu-west-1")
    assert (ended.returncode, ended.stderr.startswith("Error: AWS: Could not connect")) == (5, True)


def test_without_boto3_it_is_said_what_to_install():
    code = "import sys; sys.modules['botocore'] = None; from status_grpc.cli.main import main; main()"
    program = [sys.executable, "-c", code, "reconcile", "--state-machine", "x"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "pip install 'status-grpc[aws]'" in done.stderr) == (2, True)
