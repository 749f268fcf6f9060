"""The state machine of the pipeline, in the Amazon States Language."""

import json
from typing import Any

#: How long the other steps may take.
_SECONDS = 60


def state_machine(queue_url: str, write_seconds: int = 60) -> str:
    """Return the definition. Each step is a task in a queue; `write_seconds`: how long the last one may take."""
    return json.dumps(
        {
            "StartAt": "Validate",
            "States": {
                "Validate": _step("validate", queue_url, _SECONDS, Next="Is it valid?"),
                "Is it valid?": {
                    "Type": "Choice",
                    "Choices": [{"Variable": "$.valid", "BooleanEquals": True, "Next": "Convert"}],
                    "Default": "Invalid",
                },
                # Says nothing about why: the validator has told that, in the languages of those who uploaded.
                "Invalid": {"Type": "Fail"},
                # What is retried is a branch around the step, and not the step: moto hands out the same token again to
                # a task that it retries. On AWS the Retry is the task's own.
                "Convert": {
                    "Type": "Parallel",
                    "Branches": [
                        {
                            "StartAt": "Convert to JSON",
                            "States": {"Convert to JSON": _step("convert", queue_url, _SECONDS, End=True)},
                        }
                    ],
                    "OutputPath": "$[0]",
                    "Retry": [{"ErrorEquals": ["ConnectionError"], "IntervalSeconds": 1, "MaxAttempts": 2}],
                    "Next": "Write",
                },
                "Write": _step("write", queue_url, write_seconds, End=True),
            },
        }
    )


def _step(function: str, queue_url: str, timeout_seconds: int, **then: Any) -> dict[str, Any]:
    # On AWS this would be a Lambda function, "arn:aws:states:::lambda:invoke". moto runs those in Docker only; so here
    # the call goes through a queue to whoever runs the function (worker.py), which Step Functions can do as well.
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
        "Parameters": {
            "QueueUrl": queue_url,
            "MessageBody": {"function": function, "token.$": "$$.Task.Token", "event.$": "$"},
        },
        "TimeoutSeconds": timeout_seconds,
        **then,
    }
