"""Runs steps: takes a task from the queue, calls the function, and tells Step Functions how it went.

What AWS Lambda does for Step Functions. `python worker.py QUEUE_URL` runs until it is killed, or until a step kills it.
"""

import json
import sys
import time
from typing import Any

import steps
from botocore.exceptions import ClientError

from status_grpc.aws.clients import aws_client


class Worker:
    """Takes tasks from a queue."""

    def __init__(self, queue_url: str) -> None:
        self._queue_url = queue_url
        self._sqs = aws_client("sqs")
        self._stepfunctions = aws_client("stepfunctions")

    def run_one(self, wait_seconds: int = 1) -> str:
        """Run the next step, and return its name; empty if there is none within this time."""
        taken = self._sqs.receive_message(QueueUrl=self._queue_url, WaitTimeSeconds=wait_seconds)
        for message in taken.get("Messages", ()):
            self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"])
            task = json.loads(message["Body"])
            self._run(task["function"], task["event"], task["token"])
            return str(task["function"])
        return ""

    def _run(self, function: str, event: dict[str, Any], token: str) -> None:
        try:
            result = getattr(steps, function)(event, None)
        except Exception as error:
            cause = {"errorType": type(error).__name__, "errorMessage": str(error)}
            self._tell("send_task_failure", token, error=type(error).__name__, cause=json.dumps(cause))
        else:
            self._tell("send_task_success", token, output=json.dumps(result))

    def _tell(self, call: str, token: str, **outcome: str) -> None:
        for _ in range(100):
            try:
                getattr(self._stepfunctions, call)(taskToken=token, **outcome)
            except ClientError as error:
                if error.response["Error"]["Code"] != "InvalidToken":
                    return  # the task has timed out meanwhile
                time.sleep(0.05)  # moto hands out a token a moment before it is good
            else:
                return


if __name__ == "__main__":
    worker = Worker(sys.argv[1])
    while True:
        worker.run_one()
