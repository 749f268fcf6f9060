"""What is AWS in this example: moto's server, the resources of the pipeline on it, and what moto leaves out of AWS.

moto interprets the state machine, keeps buckets, topics and queues, and sends S3 notifications. It does not call Lambda
functions (without Docker), and tells nobody how executions end: `Platform` does that.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from definition import state_machine

from status_grpc.aws.clients import aws_client

REGION, ACCOUNT = "eu-west-1", "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/pipeline"
_PATIENCE = 60


@contextmanager
def moto_server() -> Iterator[dict[str, str]]:
    """Run moto's server; yields the environment in which boto3 finds it, and nothing else."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _interpret_state_machines(url)
            yield {
                "AWS_ENDPOINT_URL": url,
                "AWS_REGION": REGION,
                "AWS_ACCESS_KEY_ID": "testing",
                "AWS_SECRET_ACCESS_KEY": "testing",
                "AWS_EC2_METADATA_DISABLED": "true",
            }
        finally:
            process.kill()


def _interpret_state_machines(url: str) -> None:
    settings = json.dumps({"stepfunctions": {"execute_state_machine": True}}).encode()
    request = urllib.request.Request(f"{url}/moto-api/config", settings, {"Content-Type": "application/json"})
    give_up_at = time.monotonic() + _PATIENCE
    while True:
        try:
            urllib.request.urlopen(request, timeout=10).close()
        except OSError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.05)
        else:
            return


class Platform:
    """The resources of one pipeline, and the parts of AWS that call its functions. boto3 must find a moto server."""

    def __init__(self, name: str, write_seconds: int = 60) -> None:
        self.s3, self.sqs, self.sns = aws_client("s3"), aws_client("sqs"), aws_client("sns")
        self.events, self.stepfunctions = aws_client("events"), aws_client("stepfunctions")
        self.bucket = f"{name}-files"
        self.tasks = self._queue(f"{name}-tasks")
        self.arrivals = self._queue(f"{name}-arrivals")
        self.ends = self._queue(f"{name}-ends")
        self.state_machine = self.stepfunctions.create_state_machine(
            name=name, definition=state_machine(self.tasks, write_seconds), roleArn=ROLE
        )["stateMachineArn"]
        self._notify_of_arrivals(name)
        self._notify_of_ends(name)
        self._told: set[str] = set()

    def _queue(self, name: str) -> str:
        return str(self.sqs.create_queue(QueueName=name)["QueueUrl"])

    def _notify_of_arrivals(self, name: str) -> None:
        """S3 -> SNS -> SQS, for what is under raw/."""
        self.s3.create_bucket(Bucket=self.bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        topic = self.sns.create_topic(Name=f"{name}-arrivals")["TopicArn"]
        self.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=_queue_arn(f"{name}-arrivals"))
        notification = {
            "TopicArn": topic,
            "Events": ["s3:ObjectCreated:*"],
            "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "raw/"}]}},
        }
        self.s3.put_bucket_notification_configuration(
            Bucket=self.bucket, NotificationConfiguration={"TopicConfigurations": [notification]}
        )

    def _notify_of_ends(self, name: str) -> None:
        """EventBridge -> SQS, for the executions of this state machine."""
        pattern = {"source": ["aws.states"], "detail": {"stateMachineArn": [self.state_machine]}}
        self.events.put_rule(Name=f"{name}-ends", EventPattern=json.dumps(pattern))
        self.events.put_targets(Rule=f"{name}-ends", Targets=[{"Id": "ends", "Arn": _queue_arn(f"{name}-ends")}])

    def deliver(self, queue_url: str, handler: Callable[[Any, Any], Any], wait_seconds: int = 0) -> int:
        """Hand over what is in a queue to a Lambda handler, as an event source mapping does; returns how much it was.

        What the handler says has failed stays in the queue.
        """
        taken = self.sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=wait_seconds)
        received = {message["MessageId"]: message for message in taken.get("Messages", ())}
        if not received:
            return 0
        records = [
            {"messageId": message_id, "body": message["Body"], "eventSource": "aws:sqs"}
            for message_id, message in received.items()
        ]
        failed = {item["itemIdentifier"] for item in handler({"Records": records}, None)["batchItemFailures"]}
        for message_id in received.keys() - failed:
            self.sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=received[message_id]["ReceiptHandle"])
        return len(received)

    def tell_ends(self) -> None:
        """Tell EventBridge of executions that have ended, in the words of Step Functions."""
        for item in self.stepfunctions.list_executions(stateMachineArn=self.state_machine)["executions"]:
            if item["status"] != "RUNNING" and item["executionArn"] not in self._told:
                self._told.add(item["executionArn"])
                self.events.put_events(
                    Entries=[
                        {
                            "Source": "aws.states",
                            "DetailType": "Step Functions Execution Status Change",
                            "Detail": json.dumps(self.status_change(item["executionArn"])),
                        }
                    ]
                )

    def status_change(self, execution_arn: str) -> dict[str, Any]:
        """Return the detail of the event about an execution."""
        said = self.stepfunctions.describe_execution(executionArn=execution_arn)
        detail = {name: said.get(name) for name in ("executionArn", "stateMachineArn", "name", "status", "input")}
        for name in ("startDate", "stopDate"):
            detail[name] = int(said[name].timestamp() * 1000) if name in said else None
        return {**detail, "error": said.get("error"), "cause": said.get("cause"), "redriveCount": 0}


def _queue_arn(name: str) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


def use(environment: dict[str, str]) -> None:
    """Let boto3 in this process, and in those it starts, find what the environment names."""
    os.environ.update(environment)
