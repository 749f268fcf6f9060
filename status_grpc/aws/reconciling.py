"""Reconciling: delivery of ends is best effort, so whoever wants to be sure asks Step Functions itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from status_grpc.aws.ends import EndStates
from status_grpc.aws.executions import Execution, describe_execution, execution_arn, is_execution_name
from status_grpc.client.sync import StatusClient
from status_grpc.domain.events import TraceStatus
from status_grpc.domain.traces import Trace


@dataclass(frozen=True, slots=True)
class Reconciled:
    """A trace that had not finished: its execution, if there is one, and whether it was ended because of that."""

    trace_id: str
    execution: Execution | None = None
    ended: bool = False


def reconcile(
    client: StatusClient,
    stepfunctions: Any,
    state_machines: Sequence[str],
    *,
    domain: str = "",
    domain_id: str = "",
    quiet_for: timedelta = timedelta(minutes=1),
    component: str = "state-machine-event",
) -> Iterator[Reconciled]:
    """Ask about each trace that has not finished, and end those whose execution has; yields them one by one.

    state_machines: the ARNs of the state machines whose executions may be named by the traces.
    quiet_for: traces that were heard of since are left alone: theirs will be told.

    Raises ValueError for what is no ARN of a state machine, StatusError, and botocore's errors.
    """
    arns = [execution_arn(state_machine, "") for state_machine in state_machines]
    ends = EndStates(client, component=component)
    heard_before = datetime.now(UTC) - quiet_for
    for trace in _unfinished(client, domain, domain_id):
        if trace.last_heard_time > heard_before or not is_execution_name(trace.trace_id):
            continue
        execution = _execution(stepfunctions, [f"{arn}{trace.trace_id}" for arn in arns])
        ended = execution is not None and ends.record(execution) == "ended"
        yield Reconciled(trace.trace_id, execution, ended)


def _unfinished(client: StatusClient, domain: str, domain_id: str) -> Iterator[Trace]:
    seen = set()
    # In this order: what goes on from one to the other while they are read is not missed.
    for status in (TraceStatus.STARTED, TraceStatus.CONTINUE):
        for trace in client.list_traces(domain=domain, domain_id=domain_id, status=status):
            if trace.trace_id not in seen:
                seen.add(trace.trace_id)
                yield trace


def _execution(stepfunctions: Any, arns: list[str]) -> Execution | None:
    for arn in arns:
        execution = describe_execution(stepfunctions, arn)
        if execution is not None:
            return execution
    return None
