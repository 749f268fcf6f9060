"""From RunEvents to the events that record them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from status_grpc.domain.errors import FieldViolation
from status_grpc.domain.events import Dataset, EventDraft, ExceptionDetail, TraceEventStatus, TraceStatus
from status_grpc.domain.ids import derived_event_id
from status_grpc.domain.limits import Limits
from status_grpc.domain.validation import check_id, raise_if_any
from status_grpc.wire.openlineage.datasets import to_uri

_LIMITS = Limits()

_STATUSES = {
    "START": (TraceStatus.STARTED, TraceEventStatus.OK),
    "RUNNING": (TraceStatus.CONTINUE, TraceEventStatus.OK),
    "OTHER": (TraceStatus.CONTINUE, TraceEventStatus.OK),
    "COMPLETE": (TraceStatus.FINISHED, TraceEventStatus.OK),
    "FAIL": (TraceStatus.FINISHED, TraceEventStatus.FAILED),
    "ABORT": (TraceStatus.FINISHED, TraceEventStatus.FAILED),
}

#: How large (as JSON, which grows to a multiple as a Struct) and how deep a RunEvent may be that is kept as it came.
_MOST_CHARACTERS = 150_000
_DEEPEST = _LIMITS.json_depth - 2


@dataclass(frozen=True, slots=True)
class _Run:
    run_id: str
    namespace: str
    name: str


def draft_of(run_event: Any) -> EventDraft | None:
    """Return the event that records a RunEvent (a parsed JSON object), or None for what is about no run.

    A run without a parent is a trace of its own: `runId` is the trace id, the job's namespace and name are domain and
    domain id; START, RUNNING, COMPLETE, FAIL and ABORT are STARTED, CONTINUE, FINISHED OK and (twice) FINISHED FAILED.
    A run with a parent is a step of the trace of its root, or of its parent where none is named: its events are
    CONTINUE. The job's name is the component, `runId` the step id. What has no place among the fields is kept in
    `status_body["openlineage"]`.

    The draft has its trace id, domain, domain id, and an event id made from the content: to record it, append it, and
    where there is no such trace, create the trace with it. Recorded again it changes nothing, in whatever order.

    Raises InvalidArgument, which names the fields that are missing or wrong.
    """
    if _is_about_no_run(run_event):
        return None
    reading = _Reading()
    event = reading.object("event", run_event)
    kind = event.get("eventType", "OTHER")
    if not isinstance(kind, str) or kind not in _STATUSES:
        reading.wrong("eventType", f"is none of {', '.join(_STATUSES)}")
    time = reading.time("eventTime", event.get("eventTime"))
    run = reading.run("", event)
    facets = reading.facets("run.facets", event.get("run"))
    parent = reading.parent(facets.get("parent"), run)
    inputs, outputs = reading.datasets("inputs", event), reading.datasets("outputs", event)
    canonical = reading.canonical(event)
    raise_if_any(reading.violations)
    status, outcome = _STATUSES[kind]
    trace = parent or run
    return EventDraft(
        trace_id=trace.run_id,
        trace_event_id=derived_event_id("openlineage", canonical),
        domain=_cut(trace.namespace, _LIMITS.name_length),
        domain_id=_cut(trace.name, _LIMITS.domain_id_length),
        start_time=time,
        end_time=time if status is TraceStatus.FINISHED else None,
        trace_status=TraceStatus.CONTINUE if parent else status,
        trace_event_status=outcome,
        component=_cut(run.name, _LIMITS.name_length),
        status_body={"openlineage": _kept(event, canonical)},
        exception=_exception(kind, facets.get("errorMessage")),
        inputs=inputs,
        outputs=outputs,
        step_id=run.run_id,
    )


def _is_about_no_run(event: Any) -> bool:
    """Return whether it is a DatasetEvent or a JobEvent."""
    if not isinstance(event, dict) or "run" in event or "eventType" in event:
        return False
    return "dataset" in event or "job" in event


class _Reading:
    """Takes a RunEvent apart and notes what is wrong with it."""

    def __init__(self) -> None:
        self.violations: list[FieldViolation] = []

    def wrong(self, field: str, description: str) -> None:
        self.violations.append(FieldViolation(field, description))

    def object(self, field: str, value: Any) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self.wrong(field, "is required" if value is None else "must be a JSON object")
        return {}

    def text(self, field: str, value: Any) -> str:
        if isinstance(value, str) and value:
            if "\0" in value:
                self.wrong(field, "must not contain U+0000")
            return value
        self.wrong(field, "is required" if value in (None, "") else "must be a text")
        return ""

    def time(self, field: str, value: Any) -> datetime | None:
        text = self.text(field, value)
        if not text:
            return None
        try:
            time = datetime.fromisoformat(text)
            return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            self.wrong(field, "must be a time such as 2026-01-31T12:00:00Z")
            return None

    def canonical(self, event: dict[str, Any]) -> str:
        """Return a text that is the same for the same event."""
        try:
            text = json.dumps(event, sort_keys=True, ensure_ascii=False)
            text.encode()
        except RecursionError:
            self.wrong("event", "is nested too deep")
        except ValueError:
            self.wrong("event", "has half of a character in a text")
        else:
            return text
        return ""

    def run(self, prefix: str, value: Mapping[str, Any]) -> _Run:
        """Read an object with `run` and `job`."""
        run, job = (self.object(f"{prefix}{name}", value.get(name)) for name in ("run", "job"))
        run_id = self.text(f"{prefix}run.runId", run.get("runId"))
        if run_id:
            check_id(f"{prefix}run.runId", run_id, _LIMITS, self.violations)
        return _Run(
            run_id,
            self.text(f"{prefix}job.namespace", job.get("namespace")),
            self.text(f"{prefix}job.name", job.get("name")),
        )

    def facets(self, field: str, value: Any) -> dict[str, Any]:
        facets = value.get("facets") if isinstance(value, dict) else None
        return {} if facets is None else self.object(field, facets)

    def parent(self, facet: Any, run: _Run) -> _Run | None:
        """Return the run whose trace this is, or None when it is the run itself."""
        if facet is None:
            return None
        prefix = "run.facets.parent"
        parent = self.object(prefix, facet)
        root = parent.get("root")
        above = (
            self.run(f"{prefix}.", parent) if root is None else self.run(f"{prefix}.root.", self.object(prefix, root))
        )
        return above if above.run_id != run.run_id else None

    def datasets(self, field: str, event: Mapping[str, Any]) -> tuple[Dataset, ...]:
        value = event.get(field)
        if value is None:
            return ()
        if not isinstance(value, list):
            self.wrong(field, "must be a list")
            return ()
        return tuple(dict.fromkeys(self._datasets(field, value)))

    def _datasets(self, field: str, entries: list[Any]) -> Iterator[Dataset]:
        for index, entry in enumerate(entries):
            place = f"{field}[{index}]"
            dataset = self.object(place, entry)
            namespace = self.text(f"{place}.namespace", dataset.get("namespace"))
            name = self.text(f"{place}.name", dataset.get("name"))
            version = self.facets(f"{place}.facets", dataset).get("version")
            number = version.get("datasetVersion") if isinstance(version, dict) else None
            text = "" if number is None else str(number)
            if namespace and name:
                yield Dataset(to_uri(namespace, name), _cut(text, _LIMITS.name_length))


def _exception(kind: str, facet: Any) -> ExceptionDetail | None:
    if isinstance(facet, dict) and isinstance(facet.get("message"), str):
        trace = facet.get("stackTrace")
        return ExceptionDetail(
            message=_cut(facet["message"], _LIMITS.exception_message_length),
            traceback=_cut(trace if isinstance(trace, str) else "", _LIMITS.traceback_length),
        )
    return ExceptionDetail("Aborted", "the run was aborted") if kind == "ABORT" else None


def _kept(event: dict[str, Any], canonical: str) -> dict[str, Any]:
    """Return the event as it came, or what it is made of if a status_body cannot hold it."""
    if len(canonical) <= _MOST_CHARACTERS and _depth(event) <= _DEEPEST and "\\u0000" not in canonical:
        return event
    left_out = sorted(
        f"{place}.facets.{name}"
        for place in ("run", "job")
        if isinstance(event[place].get("facets"), dict)
        for name in event[place]["facets"]
    )
    small: dict[str, Any] = {
        key: event[key] for key in ("eventType", "eventTime", "producer", "schemaURL") if key in event
    }
    return {**small, "left_out": _cut(", ".join(left_out) or "facets of datasets", 4096)}


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return depth


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
