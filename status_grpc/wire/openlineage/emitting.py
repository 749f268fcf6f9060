"""From the events of a trace to RunEvents."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from status_grpc._version import __version__
from status_grpc.domain.events import TraceEvent, TraceEventStatus, TraceStatus
from status_grpc.domain.ids import derived_event_id
from status_grpc.domain.lineage import datasets_of
from status_grpc.domain.traces import Trace
from status_grpc.wire.openlineage.datasets import dataset_message

PRODUCER = f"urn:status-grpc:{__version__}"
_SPEC = "https://openlineage.io/spec"
_SCHEMA = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"


def run_events(trace: Trace, events: Iterable[TraceEvent]) -> Iterator[dict[str, Any]]:
    """Yield RunEvents (JSON objects) that tell a trace; `events` are all of its events, or the first ones, in order.

    Each run of the trace is a run of the job `{domain}` / `{domain_id}`, each execution of a step (what has one step
    id; an event without one stands for itself) a run of the job `{domain_id}.{component}.{operation}` whose parent it
    is. A run begins with START and ends with COMPLETE or FAIL; a step that has not ended when its run ends is told as
    ABORT. The same events give the same RunEvents: whoever takes them twice knows them again.
    """
    telling: _Telling | None = None
    for event in events:
        if telling is None or telling.number != event.run:
            telling = _Telling(trace, event)
            yield telling.message("START", telling.own, event, event.start_time)
        yield from telling.tell(event)


class _Job:
    """A run of a job: of the trace, or of a step in it."""

    def __init__(self, run_id: str, name: str) -> None:
        self.run_id = run_id
        self.name = name
        self.ended = False


class _Telling:
    """Tells one run of a trace."""

    def __init__(self, trace: Trace, first: TraceEvent) -> None:
        self.number = first.run
        self._trace = trace
        self.own = _Job(_run_id(trace.trace_id, str(first.run) if first.run > 1 else ""), trace.domain_id)
        self._steps: dict[str, _Job] = {self.own.run_id: self.own}

    def tell(self, event: TraceEvent) -> Iterator[dict[str, Any]]:
        """Yield what the event says: of its step, and if it ends the run, of the trace."""
        finished = event.trace_status is TraceStatus.FINISHED
        end = event.end_time or (event.start_time if not event.step_id else event.record_time)
        run_id = self._step_run_id(event)
        step = self._steps.get(run_id)
        begins = step is None
        if step is None:
            step = self._steps[run_id] = _Job(run_id, _job_name(self._trace, event))
            yield self.message("START", step, event, event.start_time)
        if step is self.own:
            if not finished and event.sequence > 1:
                yield self.message("RUNNING", step, event, end)
        elif step.ended:
            yield self.message("OTHER", step, event, end)
        elif event.end_time is not None or finished or not event.step_id:
            step.ended = True
            yield self.message(_end(event), step, event, end)
        elif not begins:
            yield self.message("RUNNING", step, event, end)
        if finished and not self.own.ended:
            yield from self._finish(event, end)

    def _finish(self, event: TraceEvent, end: datetime) -> Iterator[dict[str, Any]]:
        for step in self._steps.values():
            if not step.ended and step is not self.own:
                step.ended = True
                yield self.message("ABORT", step, None, end)
        self.own.ended = True
        yield self.message(_end(event), self.own, event, end)

    def _step_run_id(self, event: TraceEvent) -> str:
        if event.step_id:
            return _run_id(event.step_id, "", within=event.trace_id)
        return derived_event_id("openlineage event", event.trace_id, event.trace_event_id)

    def message(self, kind: str, job: _Job, event: TraceEvent | None, time: datetime) -> dict[str, Any]:
        """Return a RunEvent of this kind about a run; `event` is what it is made of."""
        facets: dict[str, Any] = {}
        if job is not self.own:
            facets["parent"] = _facet(
                "1-2-0/ParentRunFacet", run={"runId": self.own.run_id}, job=self._job(self.own.name)
            )
        if event is not None and kind == "FAIL":
            facets.update(_error_facet(event))
        facets["tags"] = _facet("1-0-0/TagsRunFacet", tags=list(self._tags(event)))
        message: dict[str, Any] = {
            "eventType": kind,
            "eventTime": time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "producer": PRODUCER,
            "schemaURL": _SCHEMA,
            "run": {"runId": job.run_id, "facets": facets},
            "job": self._job(job.name),
        }
        # What a step has read and written is told of the step; of the trace only what is said of the trace itself.
        if event is not None and (job is not self.own or self._step_run_id(event) == job.run_id):
            read, written = datasets_of(event.inputs, event.outputs, event.status_body)
            message["inputs"] = [dataset_message(dataset, PRODUCER) for dataset in read]
            message["outputs"] = [dataset_message(dataset, PRODUCER) for dataset in written]
        return message

    def _job(self, name: str) -> dict[str, Any]:
        return {"namespace": self._trace.domain, "name": name}

    def _tags(self, event: TraceEvent | None) -> Iterator[dict[str, str]]:
        said = {"trace_id": self._trace.trace_id}
        if event is not None:
            said |= {"sequence": str(event.sequence), "component": event.component, "user": event.user}
        for key, value in said.items():
            if value:
                yield {"key": key, "value": value, "source": "STATUS_GRPC"}


def _run_id(name: str, number: str, within: str = "") -> str:
    """Return a UUID, as OpenLineage has it: the name itself where it is one."""
    if not number:
        try:
            if str(uuid.UUID(name)) == name:
                return name
        except ValueError:
            pass
    return derived_event_id("openlineage run", within, name, number)


def _job_name(trace: Trace, event: TraceEvent) -> str:
    component = event.component
    whose = component if component.startswith(trace.domain_id) else f"{trace.domain_id}.{component}"
    return f"{whose}.{event.operation}" if event.operation else whose


def _end(event: TraceEvent) -> str:
    return "FAIL" if event.trace_event_status is TraceEventStatus.FAILED else "COMPLETE"


def _error_facet(event: TraceEvent) -> dict[str, Any]:
    """Return the facet errorMessage, if the event says what went wrong."""
    exception, texts = event.exception, [text for error in event.errors for text in list(error.message.values())[:1]]
    if exception is not None:
        message = ": ".join(part for part in (exception.type, exception.message) if part)
    else:
        message = "; ".join(texts)
    if not message:
        return {}
    content = {"message": message, "programmingLanguage": "UNKNOWN"}
    if exception is not None and exception.traceback:
        content["stackTrace"] = exception.traceback
        if exception.traceback.startswith("Traceback ("):
            content["programmingLanguage"] = "PYTHON"
    return {"errorMessage": _facet("1-0-1/ErrorMessageRunFacet", **content)}


def _facet(place: str, **content: Any) -> dict[str, Any]:
    name = place.partition("/")[2]
    return {"_producer": PRODUCER, "_schemaURL": f"{_SPEC}/facets/{place}.json#/$defs/{name}", **content}
