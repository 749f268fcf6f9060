"""What is made of a JSON body on each route: plain functions, which the JSON process runs as well."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from google.protobuf import symbol_database
from tracestatus.v1 import status_service_pb2

from status_grpc.domain.errors import FieldViolation, InvalidArgument
from status_grpc.domain.events import EventDraft, TraceEventStatus, TraceStatus
from status_grpc.domain.limits import Limits
from status_grpc.domain.validation import DraftRules, raise_if_any
from status_grpc.wire.events import with_message
from status_grpc.wire.json_messages import parse_json
from status_grpc.wire.json_values import NotJson
from status_grpc.wire.old_events import REQUIRED_TO_CREATE, REQUIRED_TO_UPDATE, read_old_event, without_field
from status_grpc.wire.openlineage import Accepted, accept, read_json
from status_grpc.wire.parsing import Malformed
from status_grpc.wire.tolerant_json import parse_tolerant
from status_grpc.wire.weight import weigh_json

assert status_service_pb2.DESCRIPTOR  # its messages are in the symbol database

#: Fields that are not read. The URL names the trace, and ids are new. The first event is STARTED and OK.
_NOT_READ_TO_UPDATE = ("trace_id", "trace_event_id")
_NOT_READ_TO_CREATE = ("trace_id", "trace_event_id", "trace_status", "trace_event_status")
#: What is left out of an event that is too large, the largest first.
_PARTS = ("status_body", "meta", "errors")

#: How many events a batch may have.
MOST_RUN_EVENTS = 10_000

#: The result for each event of a batch. None: it is about no run.
RunEvent: TypeAlias = "Accepted | InvalidArgument | None"


@dataclass(frozen=True, slots=True)
class OldEvent:
    """An event of the older contract, checked and of a size that fits."""

    draft: EventDraft
    #: What only the older routes return.
    legacy: str
    #: The parts that were cleaned or left out.
    cleaned: list[FieldViolation] = field(default_factory=list)


def read_creation(body: bytes, limits: Limits) -> OldEvent:
    """Return the first event of a trace. Raises InvalidArgument."""
    cleaned: list[FieldViolation] = []
    violations: list[FieldViolation] = []
    names = {"required": REQUIRED_TO_CREATE, "ignored": _NOT_READ_TO_CREATE}
    draft, legacy = read_old_event(_object(body, cleaned), limits, violations, cleaned, **names)
    raise_if_any(violations)
    draft = replace(draft, trace_status=TraceStatus.STARTED, trace_event_status=TraceEventStatus.OK)
    DraftRules(limits).check_create(draft, violations)
    raise_if_any(violations)
    return _sized(draft, legacy, cleaned, limits)


def read_update(body: bytes, limits: Limits, trace_id: str) -> OldEvent:
    """Return an event of the trace that the URL names. Raises InvalidArgument."""
    cleaned: list[FieldViolation] = []
    violations: list[FieldViolation] = []
    names = {"required": REQUIRED_TO_UPDATE, "ignored": _NOT_READ_TO_UPDATE}
    draft, legacy = read_old_event(_object(body, cleaned), limits, violations, cleaned, **names)
    raise_if_any(violations)
    draft = replace(draft, trace_id=trace_id)
    DraftRules(limits).check_update(draft, violations)
    raise_if_any(violations)
    return _sized(draft, legacy, cleaned, limits)


def _object(body: bytes, cleaned: list[FieldViolation]) -> dict[str, Any]:
    try:
        value = parse_tolerant(body, lambda description: cleaned.append(FieldViolation("body", description)))
    except NotJson as error:
        raise InvalidArgument([FieldViolation("body", str(error))]) from None
    if not isinstance(value, dict):
        raise InvalidArgument([FieldViolation("body", "must be a JSON object")])
    return value


def _sized(draft: EventDraft, legacy: str, cleaned: list[FieldViolation], limits: Limits) -> OldEvent:
    """Leave out the largest part until the event fits. Raises InvalidArgument if it never does."""
    sized = with_message(draft)
    if sized.encoded_bytes <= limits.event_bytes:
        return OldEvent(sized, legacy, cleaned)
    largest = max(_PARTS, key=lambda name: len(json.dumps(_json_part(draft, name))))
    if not getattr(draft, largest):
        excess = f"takes {sized.encoded_bytes} bytes as an encoded event, more than {limits.event_bytes}"
        raise InvalidArgument([FieldViolation("body", excess)])
    cleaned.append(FieldViolation(f"event.{largest}", "did not fit into an event and was left out"))
    return _sized(*without_field(draft, legacy, largest), cleaned, limits)


def _json_part(draft: EventDraft, name: str) -> Any:
    value = getattr(draft, name)
    return [[error.message, error.details] for error in value] if name == "errors" else value


def read_run_event(body: bytes, limits: Limits) -> Accepted | None:
    """Return the event that records a RunEvent. Raises InvalidArgument."""
    return _accepted(_run_events(body), limits)


def read_run_events(body: bytes, limits: Limits) -> Sequence[RunEvent]:
    """Return the events that record a list of RunEvents. Raises InvalidArgument if it is no list."""
    value = _run_events(body)
    if not isinstance(value, list):
        raise InvalidArgument([FieldViolation("body", "must be a list of events")])
    if len(value) > MOST_RUN_EVENTS:
        excess = f"has {len(value)} events, more than {MOST_RUN_EVENTS}"
        raise InvalidArgument([FieldViolation("body", excess)])
    items: list[RunEvent] = []
    for entry in value:
        try:
            items.append(_accepted(entry, limits))
        except InvalidArgument as error:
            items.append(error.with_traceback(None))
    return items


def _run_events(body: bytes) -> Any:
    try:
        return read_json(body)
    except NotJson as error:
        raise InvalidArgument([FieldViolation("body", str(error))]) from None


def _accepted(value: Any, limits: Limits) -> Accepted | None:
    accepted = accept(value, limits)
    if accepted is not None:
        violations: list[FieldViolation] = []
        DraftRules(limits).check_create(accepted.draft, violations)
        if accepted.draft.encoded_bytes > limits.event_bytes:
            violations.append(FieldViolation("body", "is too large, even without what can be left out"))
        raise_if_any(violations)
    return accepted


def encode_request(body: bytes, message_type: str) -> bytes:
    """Return the encoding of a request in JSON. Raises InvalidArgument, which names the field."""
    violation = weigh_json(body)
    if violation is not None:
        raise InvalidArgument([violation])
    message = parse_json(symbol_database.Default().GetSymbol(message_type), body)
    if isinstance(message, Malformed):
        raise InvalidArgument([message.violation])
    return message.SerializeToString()
