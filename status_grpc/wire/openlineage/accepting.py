"""From RunEvents to the events that record them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from status_grpc.domain.errors import FieldViolation, InvalidArgument
from status_grpc.domain.events import Dataset, EventDraft, ExceptionDetail, TraceEventStatus, TraceStatus
from status_grpc.domain.ids import derived_event_id
from status_grpc.domain.limits import Limits
from status_grpc.domain.validation import check_id, raise_if_any
from status_grpc.wire.openlineage.datasets import to_uri
from status_grpc.wire.openlineage.left_out import LeftOut, Report
from status_grpc.wire.openlineage.lenient_json import clean, is_clean, is_deeper
from status_grpc.wire.openlineage.parents import Run, parent_of, text_in
from status_grpc.wire.openlineage.reduction import body_of, cut, fitted

_LIMITS = Limits()

_STATUSES = {
    "START": (TraceStatus.STARTED, TraceEventStatus.OK),
    "RUNNING": (TraceStatus.CONTINUE, TraceEventStatus.OK),
    "OTHER": (TraceStatus.CONTINUE, TraceEventStatus.OK),
    "COMPLETE": (TraceStatus.FINISHED, TraceEventStatus.OK),
    "FAIL": (TraceStatus.FINISHED, TraceEventStatus.FAILED),
    "ABORT": (TraceStatus.FINISHED, TraceEventStatus.FAILED),
}

#: Levels of a RunEvent that are kept: two of the default `json_depth` are the body around it.
_LEVELS = _LIMITS.json_depth - 2
#: A RunEvent with more levels gets its event id from what is kept of it.
_MOST_LEVELS = 100

#: The zone's name, which Java prints behind the offset: 2026-01-31T12:00+01:00[Europe/Oslo].
_ZONE_NAME = re.compile(r"\[[^\]]*\]$")


@dataclass(frozen=True, slots=True)
class Accepted:
    """The event that records a RunEvent.

    `left_out` are the parts of the RunEvent that it does not record as they came.
    """

    draft: EventDraft
    left_out: tuple[LeftOut, ...] = ()


def accept(run_event: Any, limits: Limits = _LIMITS, *, now: datetime | None = None) -> Accepted | None:
    """Return the event that records a RunEvent (a parsed JSON object), or None for what is about no run.

    A run without a parent is a trace of its own: `runId` is the trace id, the job's namespace and name are domain and
    domain id; START, RUNNING, COMPLETE, FAIL and ABORT are STARTED, CONTINUE, FINISHED OK and (twice) FINISHED FAILED.
    A run with a parent is a step of the trace of its root, or of its parent where none is named: its events are
    CONTINUE. The job's name is the component, `runId` the step id. What has no place among the fields is kept in
    `status_body["openlineage"]`.

    The draft has its trace id, domain, domain id, and an event id made from the content: to record it, append it, and
    where there is no such trace, create the trace with it. Recorded again it changes nothing, in whatever order.

    Only `run.runId`, `job` and `eventType` can be refused. Any other part that cannot be recorded is cleaned, cut or
    left out, and `left_out` names it. `now` (default: the current time) replaces an `eventTime` that cannot be read.
    The draft's message has at most `limits.event_bytes`, and `draft.encoded_bytes` says how many.

    Raises InvalidArgument, which names the fields that are missing or wrong.
    """
    if not isinstance(run_event, dict):
        raise InvalidArgument([FieldViolation("event", "must be a JSON object")])
    if _is_about_no_run(run_event):
        return None
    report = Report()
    event, event_id = _cleaned(run_event, report)
    run, kind = _identity(event, limits)
    facets = _facets(event["run"], report)
    parent = parent_of(facets, run, limits, report)
    trace = parent or run
    status, outcome = _STATUSES[kind]
    time = _time(event.get("eventTime"), report) or now or datetime.now(UTC)
    draft = EventDraft(
        trace_id=trace.run_id,
        trace_event_id=event_id,
        domain=cut("job.namespace", trace.namespace, limits.name_length, report),
        domain_id=cut("job.name", trace.name, limits.domain_id_length, report),
        start_time=time,
        end_time=time if status is TraceStatus.FINISHED else None,
        trace_status=TraceStatus.CONTINUE if parent else status,
        trace_event_status=outcome,
        component=cut("job.name", run.name, limits.name_length, report),
        status_body={"openlineage": body_of(event, report)},
        exception=_exception(kind, facets.get("errorMessage"), limits, report),
        inputs=_datasets("inputs", event, limits, report),
        outputs=_datasets("outputs", event, limits, report),
        step_id=run.run_id,
    )
    return Accepted(fitted(draft, limits.event_bytes, report), report.left_out)


def _is_about_no_run(event: Mapping[str, Any]) -> bool:
    """Return whether it is a DatasetEvent or a JobEvent."""
    if "run" in event or "eventType" in event:
        return False
    return "dataset" in event or "job" in event


def _cleaned(event: dict[str, Any], report: Report) -> tuple[dict[str, Any], str]:
    """Return the event as it can be stored, and its event id.

    The same event has the same id.
    """
    canonical = None if is_deeper(event, _MOST_LEVELS) else _canonical(event)
    if canonical is None or not is_clean(canonical) or is_deeper(event, _LEVELS):
        event = clean(event, _LEVELS, report.add)
    return event, derived_event_id("openlineage", canonical or json.dumps(event, sort_keys=True))


def _canonical(event: dict[str, Any]) -> str | None:
    """Return the event as sorted JSON, None if that cannot be encoded."""
    try:
        text = json.dumps(event, sort_keys=True, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError):
        return None
    return text


def _identity(event: Mapping[str, Any], limits: Limits) -> tuple[Run, str]:
    """Return the run and the event type. Raises InvalidArgument."""
    violations: list[FieldViolation] = []
    value = event.get("eventType")
    kind = value.strip().upper() if isinstance(value, str) else "OTHER" if value is None else ""
    if kind not in _STATUSES:
        violations.append(FieldViolation("eventType", f"is none of {', '.join(_STATUSES)}"))
    run, job = (_object(name, event.get(name), violations) for name in ("run", "job"))
    run_id = _required("run.runId", run.get("runId"), violations)
    if run_id:
        check_id("run.runId", run_id, limits, violations)
    namespace, name = (_required(f"job.{key}", job.get(key), violations) for key in ("namespace", "name"))
    raise_if_any(violations)
    return Run(run_id, namespace, name), kind


def _object(field: str, value: Any, violations: list[FieldViolation]) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    violations.append(FieldViolation(field, "is required" if value is None else "must be a JSON object"))
    return {}


def _required(field: str, value: Any, violations: list[FieldViolation]) -> str:
    if isinstance(value, str) and value:
        return value
    violations.append(FieldViolation(field, "is required" if value in (None, "") else "must be a text"))
    return ""


def _time(value: Any, report: Report) -> datetime | None:
    """Return the time of a text.

    It is read as ISO 8601, or as Java prints it. Without an offset it is UTC.
    """
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(_ZONE_NAME.sub("", value.strip()).upper())
            return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        pass
    report.add("eventTime", "a time that is missing or cannot be read is replaced by the time of arrival")
    return None


def _facets(of: Mapping[str, Any], report: Report) -> dict[str, Any]:
    facets = of.get("facets")
    if facets is None or isinstance(facets, dict):
        return facets or {}
    report.add("run.facets", "facets that are not an object are left out")
    return {}


def _datasets(field: str, event: Mapping[str, Any], limits: Limits, report: Report) -> tuple[Dataset, ...]:
    value = event.get(field)
    if value is None:
        return ()
    if not isinstance(value, list):
        report.add(field, "datasets that are not a list are left out")
        return ()
    found = tuple(dict.fromkeys(_each_dataset(field, value, limits, report)))
    most = limits.datasets_per_event
    if len(found) > most:
        report.add(field, f"datasets beyond the first {most} are left out")
    return found[:most]


def _each_dataset(field: str, entries: list[Any], limits: Limits, report: Report) -> Iterator[Dataset]:
    for index, entry in enumerate(entries):
        place = f"{field}[{index}]"
        namespace, name = text_in(entry, "namespace"), text_in(entry, "name")
        if not namespace or not name:
            report.add(place, "a dataset without a namespace or a name is left out")
            continue
        uri = to_uri(namespace, name)
        if len(uri.encode()) > limits.path_bytes:
            report.add(place, f"a dataset whose URI is longer than {limits.path_bytes} bytes is left out")
            continue
        yield Dataset(uri, cut(f"{place}.facets.version", _version(entry), limits.name_length, report))


def _version(entry: Mapping[str, Any]) -> str:
    facets = entry.get("facets")
    facet = facets.get("version") if isinstance(facets, dict) else None
    version = facet.get("datasetVersion") if isinstance(facet, dict) else None
    return str(version) if isinstance(version, str | int | float) else ""


def _exception(kind: str, facet: Any, limits: Limits, report: Report) -> ExceptionDetail | None:
    message = facet.get("message") if isinstance(facet, dict) else None
    if isinstance(message, str):
        place = "run.facets.errorMessage"
        return ExceptionDetail(
            message=cut(f"{place}.message", message, limits.exception_message_length, report),
            traceback=cut(f"{place}.stackTrace", text_in(facet, "stackTrace"), limits.traceback_length, report),
        )
    return ExceptionDetail("Aborted", "the run was aborted") if kind == "ABORT" else None
