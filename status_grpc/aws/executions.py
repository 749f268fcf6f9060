"""Executions of Step Functions: starting one for a trace, and what EventBridge or Step Functions tell of one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from status_grpc.aws.errors import Unroutable
from status_grpc.client.reporting.plain import cleaned

_DETAIL_TYPE = "Step Functions Execution Status Change"
# What Step Functions takes as the name of an execution. It takes more, but not in what CloudWatch is to log.
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}")


@dataclass(frozen=True, slots=True)
class Execution:
    """An execution as it is, or as it was when an event told of it. `redrive_count` is 0 for its first attempt."""

    arn: str
    name: str
    status: str
    started: datetime | None = None
    stopped: datetime | None = None
    error: str = ""
    cause: str = ""
    redrive_count: int = 0


def is_execution_name(text: str) -> bool:
    """Return whether an execution can have this name."""
    return _NAME.fullmatch(text) is not None


def start_execution(stepfunctions: Any, state_machine: str, name: str, payload: Mapping[str, Any]) -> bool:
    """Start the execution with this name; returns False if there is one already, whatever has become of it.

    Of one that runs with the same input Step Functions says that it was started, so that is True. The state machine has
    to be a standard one: names of express executions are not unique. Raises botocore's errors.
    """
    try:
        stepfunctions.start_execution(
            stateMachineArn=state_machine, name=name, input=json.dumps(payload, ensure_ascii=False)
        )
    except ClientError as error:
        if error.response["Error"]["Code"] == "ExecutionAlreadyExists":
            return False
        raise
    return True


def execution_arn(state_machine: str, name: str) -> str:
    """Return the ARN of the execution with this name. Raises ValueError if the first is no state machine's ARN."""
    parts = state_machine.split(":")
    if len(parts) < 7 or parts[5] != "stateMachine":
        raise ValueError(f"{state_machine!r} is not the ARN of a state machine")
    return ":".join([*parts[:5], "execution", parts[6], name])


def describe_execution(stepfunctions: Any, arn: str) -> Execution | None:
    """Return the execution as it is now; None if there is none. Raises botocore's errors."""
    try:
        return _execution(stepfunctions.describe_execution(executionArn=arn))
    except ClientError as error:
        if error.response["Error"]["Code"] == "ExecutionDoesNotExist":
            return None
        raise


def changed_execution(message: Any) -> Execution:
    """Return the execution that an EventBridge event tells of. Raises Unroutable when it is another message."""
    if not isinstance(message, Mapping) or message.get("detail-type") != _DETAIL_TYPE:
        raise Unroutable(f"This is no event of the type {_DETAIL_TYPE!r}.")
    detail = message.get("detail")
    if not isinstance(detail, Mapping):
        raise Unroutable("The event of Step Functions has no detail.")
    for name in ("executionArn", "name", "status"):
        if not isinstance(detail.get(name), str) or not detail[name]:
            raise Unroutable(f"The event of Step Functions has no {name}.")
    return _execution(detail)


def _execution(said: Mapping[str, Any]) -> Execution:
    count = said.get("redriveCount")
    redriven = _time(said.get("redriveDate"))
    return Execution(
        arn=said["executionArn"],
        name=said["name"],
        status=said["status"],
        started=redriven or _time(said.get("startDate")),
        stopped=_time(said.get("stopDate")),
        error=_text(said.get("error")),
        cause=_text(said.get("cause")),
        redrive_count=count if isinstance(count, int) and count > 0 else 0,
    )


def _time(value: Any) -> datetime | None:
    """Return a time that is said in milliseconds since 1970, by EventBridge, or as one, by boto3."""
    if isinstance(value, datetime):
        # boto3 has the local time zone, and rounds to the millisecond as floats do.
        return value.astimezone(UTC)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _text(value: Any) -> str:
    return cleaned(value) if isinstance(value, str) else ""
