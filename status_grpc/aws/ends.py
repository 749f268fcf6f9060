"""The ends of executions as the ends of their traces, told once, in whatever order and however often they come."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from status_grpc.aws.envelopes import deliver
from status_grpc.aws.executions import Execution, changed_execution, describe_execution
from status_grpc.aws.recorded import are_recorded
from status_grpc.client.reporting.plain import cleaned
from status_grpc.client.sync import StatusClient
from status_grpc.domain.errors import AlreadyExists, TraceNotDone, TraceNotFound
from status_grpc.domain.events import EventDraft, ExceptionDetail, TraceEventStatus, TraceStatus
from status_grpc.domain.ids import derived_event_id
from status_grpc.domain.limits import Limits

_log = logging.getLogger("status_grpc")

Told: TypeAlias = Literal["ended", "reopened", "ignored", "no-trace"]

_OK = "SUCCEEDED"
_FAILED = ("FAILED", "TIMED_OUT", "ABORTED")
_LIMITS = Limits()
#: How many redrives after an end may have been told before it.
_REDRIVES_AHEAD = 20


class EndStates:
    """Tells traces how the executions ended that are named by them.

    stepfunctions: asked why an execution failed where the event does not say; without it, nobody is asked.
    """

    def __init__(
        self, client: StatusClient, stepfunctions: Any = None, *, component: str = "state-machine-event"
    ) -> None:
        self._client = client
        self._stepfunctions = stepfunctions
        self._component = component

    def handle(self, event: object, context: object = None) -> dict[str, Any]:
        """Handle an event as a Lambda handler does; see `deliver` for what it returns, and when it raises."""
        return deliver(event, self.tell, context)

    def tell(self, message: Any) -> Told:
        """Tell the trace what an EventBridge event says. Raises Unroutable if that is no event of an execution."""
        execution = changed_execution(message)
        if execution.status in _FAILED and not (execution.error or execution.cause) and self._stepfunctions is not None:
            now = describe_execution(self._stepfunctions, execution.arn)
            if now is not None and (now.status, now.redrive_count) == (execution.status, execution.redrive_count):
                execution = now
        return self.record(execution)

    def record(self, execution: Execution) -> Told:
        """Tell the trace how the execution stands: "ended", "reopened" by a redrive, "ignored", or it has "no-trace".

        The same is told once. Raises StatusError when the service cannot record it now.
        """
        try:
            if execution.status == "RUNNING" and execution.redrive_count:
                return self._reopen(execution)
            if execution.status == _OK or execution.status in _FAILED:
                return self._end(execution)
        except TraceNotFound:
            _log.warning("status-grpc: the execution %s is named by no trace", execution.arn)
            return "no-trace"
        return "ignored"

    def _reopen(self, execution: Execution) -> Told:
        """Open the run of a redrive, unless it is open or over already."""
        if self._was_redriven_since(execution):
            return "ignored"
        try:
            self._client.update(self._redriven(execution), new_run=True)
        except TraceNotDone:
            # The end before the redrive has not been told yet. When it is, or when the redrive ends, this is made up.
            return "ignored"
        except AlreadyExists:
            pass
        return "reopened"

    def _end(self, execution: Execution) -> Told:
        draft = self._ended(execution)
        if execution.status in _FAILED and self._was_redriven_since(execution):
            # It comes late: a redrive was told before it. It must neither end the run of that, nor fail in it.
            draft = replace(
                draft, trace_status=TraceStatus.CONTINUE, trace_event_status=TraceEventStatus.OK, exception=None
            )
        elif execution.redrive_count:
            self._open_before_end(execution)
        try:
            self._client.update(draft)
        except AlreadyExists:
            pass  # told before, in other words
        return "ended"

    def _open_before_end(self, execution: Execution) -> None:
        draft = self._redriven(execution)
        try:
            self._client.update(draft, new_run=True)
        except TraceNotDone:
            # Nobody has told how the attempt before the redrive ended, so this end is that of the run that is open.
            # The redrive is noted all the same: told late, it would open a run that nothing ends.
            self._client.update(draft)
        except AlreadyExists:
            pass

    def _was_redriven_since(self, execution: Execution) -> bool:
        """Return whether a later redrive was told, or the end of one, which tells of its redrive, too."""
        later = range(execution.redrive_count + 1, execution.redrive_count + 1 + _REDRIVES_AHEAD)
        return any(are_recorded(self._client, [(execution.name, _redrive_id(execution.arn, count)) for count in later]))

    def _redriven(self, execution: Execution) -> EventDraft:
        return EventDraft(
            trace_id=execution.name,
            trace_event_id=_redrive_id(execution.arn, execution.redrive_count),
            component=self._component,
            operation="redrive",
            status_body={"execution": execution.arn, "redrive_count": execution.redrive_count},
        )

    def _ended(self, execution: Execution) -> EventDraft:
        failed = execution.status in _FAILED
        body = {
            "execution": execution.arn,
            "status": execution.status,
            "redrive_count": execution.redrive_count,
            "error": execution.error,
            "cause": execution.cause,
        }
        started, stopped = execution.started, execution.stopped
        return EventDraft(
            trace_id=execution.name,
            trace_event_id=derived_event_id("execution-end", execution.arn, str(execution.redrive_count)),
            trace_status=TraceStatus.FINISHED,
            trace_event_status=TraceEventStatus.FAILED if failed else TraceEventStatus.OK,
            component=self._component,
            operation="execution",
            start_time=started if stopped is None or started is None or started <= stopped else None,
            end_time=stopped,
            status_body={name: value for name, value in body.items() if value},
            exception=_exception(execution) if failed else None,
        )


def _redrive_id(arn: str, count: int) -> str:
    return derived_event_id("execution-redrive", arn, str(count))


def _exception(execution: Execution) -> ExceptionDetail | None:
    """Return why the execution failed. None if it only says that it did: the reason is with the steps."""
    if execution.status == "FAILED" and not (execution.error or execution.cause):
        return None
    message, traceback = execution.cause, ""
    try:
        # What a Lambda function raised is JSON in the cause.
        raised = json.loads(execution.cause)
        message = str(raised["errorMessage"])
        traceback = "".join(map(str, raised.get("stackTrace") or ()))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    return ExceptionDetail(
        cleaned(execution.error or _NAMES.get(execution.status, ""), _LIMITS.name_length),
        cleaned(message, _LIMITS.exception_message_length),
        cleaned(traceback, _LIMITS.traceback_length),
    )


#: What to call a failure that has no name of its own.
_NAMES = {"TIMED_OUT": "States.Timeout", "ABORTED": "ExecutionAborted"}
