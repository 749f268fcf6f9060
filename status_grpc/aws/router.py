"""The router: an object has arrived, so the execution of its trace is started; once, however often it is told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from botocore.exceptions import ClientError

from status_grpc.aws.arrivals import ArrivedObject, arrived_object
from status_grpc.aws.claims import Claim, Claims
from status_grpc.aws.dataset_keys import dataset_traces
from status_grpc.aws.dead_letters import DeadLetters
from status_grpc.aws.envelopes import deliver
from status_grpc.aws.errors import Unroutable
from status_grpc.aws.executions import is_execution_name, start_execution
from status_grpc.client.sync import StatusClient
from status_grpc.domain.errors import InvalidArgument, TraceFull
from status_grpc.domain.events import EventDraft

_log = logging.getLogger("status_grpc")

WithoutTrace: TypeAlias = Literal["dead-letter", "ignore", "create"]
Outcome: TypeAlias = Literal["started", "exists", "ignored", "dead-letter"]

#: The key in an object's metadata under which the uploader has put the trace id.
TRACE_ID_KEY = "trace-id"

#: There is no such object any more, or it is only a mark that it was deleted.
_GONE = ("404", "405", "NoSuchKey", "NoSuchVersion", "MethodNotAllowed")
_FORBIDDEN = ("403", "AccessDenied", "Forbidden")


@dataclass(frozen=True, slots=True)
class Routed:
    """What became of one message: whether its execution was started, or existed already, and for which trace.

    `reason`: why it was ignored, or is a dead letter.
    """

    outcome: Outcome
    trace_id: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.outcome, self.trace_id, self.reason)))


def key_as_path(arrived: ArrivedObject) -> str:
    """Return the path under which traces of this object are created: its key."""
    return arrived.key


def uri_as_path(arrived: ArrivedObject) -> str:
    """Return the path under which traces of this object are created: s3://bucket/key."""
    return arrived.uri


def trace_of_unknown(arrived: ArrivedObject) -> EventDraft:
    """Return the first event for an object without a trace.

    A key that fits one of DATASET_KEYS, such as raw/bike-trips/version=1/trips.csv, is of the dataset bike-trips/1.
    Any other key is of its bucket.
    """
    return _dataset_trace(arrived)


_dataset_trace = dataset_traces()


class Router:
    """Routes objects that have arrived to executions that are named by their traces.

    state_machine: the ARN of a standard state machine, or a function that returns it, or None to ignore the object.
    dead_letters: where what cannot be routed is kept. Without, it is raised.
    without_trace: what becomes of an object whose path has no trace: a "dead-letter", "ignore" or "create".
    new_trace: the first event of the trace that "create" creates: domain, domain_id, and whatever else.
    path_of: the path with which traces are created for an object: `key_as_path`, `uri_as_path` or another function.
    patience: how long to wait for a trace that is being created, in seconds.
    """

    def __init__(
        self,
        client: StatusClient,
        s3: Any,
        stepfunctions: Any,
        *,
        state_machine: str | Callable[[ArrivedObject], str | None],
        dead_letters: DeadLetters | None = None,
        without_trace: WithoutTrace = "dead-letter",
        new_trace: Callable[[ArrivedObject], EventDraft] = trace_of_unknown,
        path_of: Callable[[ArrivedObject], str] = key_as_path,
        patience: float = 5.0,
        component: str = "pipeline-router",
    ) -> None:
        if without_trace not in ("dead-letter", "ignore", "create"):
            raise ValueError(f"without_trace must be dead-letter, ignore or create, not {without_trace!r}")
        self._s3 = s3
        self._stepfunctions = stepfunctions
        self._state_machine = state_machine
        self._dead_letters = dead_letters
        self._without_trace = without_trace
        self._new_trace = new_trace
        self._path_of = path_of
        self._component = component
        self._claims = Claims(client, component=component, patience=patience)

    def handle(self, event: object, context: object = None) -> dict[str, Any]:
        """Handle an event as a Lambda handler does; see `deliver` for what it returns, and when it raises."""
        return deliver(event, self.route, context)

    def route(self, message: Any) -> Routed:
        """Route one message: an S3 notification of one record, or an EventBridge event.

        Raises what may pass, so that the message is delivered again: errors of the service and of AWS. What will not
        pass is put with the dead letters.
        """
        try:
            return self.attempt(message)
        except (Unroutable, InvalidArgument, TraceFull) as error:
            if self._dead_letters is None:
                raise
            letter = self._dead_letters.put(message, str(error))
            _log.warning("status-grpc: dead letter %s: %s", letter.letter_id, error)
            return Routed("dead-letter", reason=str(error))

    def attempt(self, message: Any) -> Routed:
        """As `route`, but raise Unroutable, InvalidArgument or TraceFull for what cannot be routed."""
        arrived = arrived_object(message)
        if arrived is None:
            return Routed("ignored", reason="is not about an object that has arrived")
        if self._dead_letters is not None and self._dead_letters.holds(arrived):
            return Routed("ignored", reason="is a dead letter")
        state_machine = self._state_machine(arrived) if callable(self._state_machine) else self._state_machine
        if not state_machine:
            return Routed("ignored", reason="belongs to no state machine")
        path = self._path_of(arrived)
        claim = self._claim(arrived, path)
        if claim is None:
            if self._without_trace == "ignore":
                return Routed("ignored", reason="has no trace")
            raise Unroutable(f"No trace that has not ended was created with the path {path!r}.")
        if not is_execution_name(claim.trace_id):
            raise Unroutable(f"No execution can have the name of the trace {claim.trace_id!r}.")
        started = start_execution(
            self._stepfunctions, state_machine, claim.trace_id, _input(arrived, path, claim.trace_id)
        )
        return Routed("started" if started else "exists", claim.trace_id)

    def _claim(self, arrived: ArrivedObject, path: str) -> Claim | None:
        named = self._named_trace(arrived)
        claim = self._claims.claim(arrived, path, named)
        if claim is not None or self._without_trace != "create":
            return claim
        draft = self._new_trace(arrived)
        draft = replace(draft, component=draft.component or self._component)
        return self._claims.create(arrived, path, draft, named)

    def _named_trace(self, arrived: ArrivedObject) -> str:
        """Return the trace id in the object's metadata; empty if it says none, or is not there to be asked."""
        version = {"VersionId": arrived.version} if arrived.version else {}
        try:
            head = self._s3.head_object(Bucket=arrived.bucket, Key=arrived.key, **version)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in _FORBIDDEN:
                _log.warning("status-grpc: the metadata of %s may not be read: s3:GetObject is missing", arrived.uri)
            elif code not in _GONE:
                raise
            return ""
        if not version and arrived.etag and head.get("ETag", "").strip('"') != arrived.etag:
            return ""  # written again since: this is the metadata of another upload
        named = head.get("Metadata", {}).get(TRACE_ID_KEY, "")
        return named if is_execution_name(named) else ""


def _input(arrived: ArrivedObject, path: str, trace_id: str) -> Mapping[str, Any]:
    """Return the input of the execution: `execution_name` is what steps find their trace by."""
    said = {
        "execution_name": trace_id,
        "bucket": arrived.bucket,
        "key": arrived.key,
        "version": arrived.version,
        "s3_path": path,
    }
    return {name: value for name, value in said.items() if value}
