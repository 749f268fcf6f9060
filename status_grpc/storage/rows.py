"""Rows to domain values and back. The only place that knows the order of the columns.

A dialect says how it takes times and JSON and how its driver gives times; what is read as JSON is text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson

from status_grpc.domain.events import (
    Dataset,
    ErrorDetail,
    ExceptionDetail,
    TraceEvent,
    TraceEventStatus,
    TraceStatus,
)
from status_grpc.domain.traces import Failure, ReportedError, Trace, new_event, new_state

_MICROSECOND = timedelta(microseconds=1)
#: How much an event grows at most by what the server fills in, beside ids and domains: those take up to four bytes a
#: character.
_COMPLETION_BYTES = 250


def bucket_of(create_time: datetime) -> int:
    """Return the month of a trace's creation as 202611."""
    return create_time.year * 100 + create_time.month


def to_json(value: Any) -> str:
    """Return the value as JSON text; integers of any size stay exact."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # orjson stops at 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def without_exponents(text: str) -> str:
    """Return a JSON text whose large floats are written out.

    PostgreSQL keeps 1e22 as an integer, with what was rounded away as zeros.
    """
    return _TOKEN.sub(_written_out, text) if _EXPONENT.search(text) else text


_EXPONENT = re.compile(r"\d[eE]\+?\d+(?:[],}]|$)")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|(-?\d+(?:\.\d+)?[eE]\+?\d+)')


def _written_out(token: re.Match[str]) -> str:
    return f"{float(token[1]):.1f}" if token[1] else token[0]


_TRACE_STATUSES = {status.value: status for status in TraceStatus}
_TRACE_EVENT_STATUSES = {status.value: status for status in TraceEventStatus}

#: The key of a trace and the columns that recording an event may change.
CHANGING_COLUMNS = (
    "trace_id",
    "revision",
    "s3_path",
    "trace_status",
    "trace_event_status",
    "done",
    "run",
    "update_time",
    "finish_time",
    "event_count",
    "failed_event_count",
    "last_sequence",
    "last_event_id",
    "last_heard_time",
    "expire_time",
    "component",
    "operation",
    "errors",
    "error_count",
    "first_failure",
)


class RowCodec:
    """Converts rows for one dialect."""

    def __init__(
        self,
        time_in: Callable[[datetime], Any],
        time_out: Callable[[Any], datetime],
        json_in: Callable[[Any], Any] = to_json,
    ) -> None:
        self.time_in = time_in
        self.time_out = time_out
        self.json_in = json_in
        # The time that all events of a transaction were recorded at, as it was last converted.
        self._recorded: tuple[datetime | None, Any] = None, None

    def new_trace_row(self, trace: Trace) -> tuple[Any, ...]:
        """Return the row of a trace, in the order of the columns of `traces`."""
        time_in = self.time_in
        return (
            trace.trace_id,
            bucket_of(trace.create_time),
            trace.revision,
            trace.domain,
            trace.domain_id,
            trace.user or None,
            trace.s3_path or None,
            trace.trace_status.value,
            trace.trace_event_status.value,
            trace.done,
            trace.run,
            time_in(trace.create_time),
            time_in(trace.update_time),
            time_in(trace.finish_time) if trace.finish_time else None,
            trace.event_count,
            trace.failed_event_count,
            trace.last_sequence,
            trace.last_event_id,
            time_in(trace.last_heard_time),
            time_in(trace.expire_time) if trace.expire_time else None,
            trace.component or None,
            trace.operation or None,
            self._errors_in(trace),
            trace.error_count,
            self._failure_in(trace),
        )

    def changed_trace_row(self, trace: Trace) -> tuple[Any, ...]:
        """Return what may have changed of a trace, in the order of CHANGING_COLUMNS."""
        time_in = self.time_in
        return (
            trace.trace_id,
            trace.revision,
            trace.s3_path or None,
            trace.trace_status.value,
            trace.trace_event_status.value,
            trace.done,
            trace.run,
            time_in(trace.update_time),
            time_in(trace.finish_time) if trace.finish_time else None,
            trace.event_count,
            trace.failed_event_count,
            trace.last_sequence,
            trace.last_event_id,
            time_in(trace.last_heard_time),
            time_in(trace.expire_time) if trace.expire_time else None,
            trace.component or None,
            trace.operation or None,
            self._errors_in(trace),
            trace.error_count,
            self._failure_in(trace),
        )

    def _errors_in(self, trace: Trace) -> Any:
        return self.json_in([_reported_json(error) for error in trace.errors]) if trace.errors else None

    def _failure_in(self, trace: Trace) -> Any:
        return self.json_in(_failure_json(trace.first_failure)) if trace.first_failure else None

    def trace(self, row: Sequence[Any]) -> Trace:
        """Return the trace of a row that holds all columns of `traces` in their order."""
        time_out = self.time_out
        (
            trace_id,
            _bucket,
            revision,
            domain,
            domain_id,
            user,
            s3_path,
            trace_status,
            trace_event_status,
            done,
            run,
            create_time,
            update_time,
            finish_time,
            event_count,
            failed_event_count,
            last_sequence,
            last_event_id,
            last_heard_time,
            expire_time,
            component,
            operation,
            errors,
            error_count,
            first_failure,
        ) = row
        # Earlier releases kept the first failure of a run that finished OK.
        ended_well = done and trace_event_status == TraceEventStatus.OK.value
        return new_state(
            trace_id=trace_id,
            domain=domain,
            domain_id=domain_id,
            user=user or "",
            s3_path=s3_path or "",
            trace_status=_TRACE_STATUSES[trace_status],
            trace_event_status=_TRACE_EVENT_STATUSES[trace_event_status],
            done=bool(done),
            run=run,
            create_time=time_out(create_time),
            update_time=time_out(update_time),
            finish_time=time_out(finish_time) if finish_time else None,
            event_count=event_count,
            failed_event_count=failed_event_count,
            last_sequence=last_sequence,
            last_heard_time=time_out(last_heard_time),
            expire_time=time_out(expire_time) if expire_time else None,
            component=component or "",
            operation=operation or "",
            errors=tuple(_to_reported(entry) for entry in json.loads(errors)) if errors else (),
            error_count=error_count,
            first_failure=None if ended_well or not first_failure else Failure(**json.loads(first_failure)),
            last_event_id=last_event_id,
            revision=revision,
        )

    def event_row(self, event: TraceEvent, bucket: int, content_hash: str, encoded_bytes: int) -> tuple[Any, ...]:
        """Return the row of an event, in the order of the columns of `trace_events`.

        `encoded_bytes` is the size it was received with; the row gets an upper bound of the size it is answered with.
        """
        time_in, json_in = self.time_in, self.json_in
        recorded_at, record_time = self._recorded
        if recorded_at is not event.record_time:
            record_time = time_in(event.record_time)
            self._recorded = event.record_time, record_time
        return (
            bucket,
            event.trace_id,
            event.sequence,
            event.trace_event_id,
            content_hash,
            encoded_bytes
            + _COMPLETION_BYTES
            + 4 * (len(event.trace_id) + len(event.domain) + len(event.domain_id))
            + len(event.legacy),
            event.run,
            record_time,
            event.domain,
            event.domain_id,
            time_in(event.start_time),
            time_in(event.end_time) if event.end_time else None,
            event.trace_status.value,
            event.trace_event_status.value,
            event.user or None,
            event.component,
            event.operation or None,
            event.s3_path or None,
            event.duration // _MICROSECOND if event.duration is not None else None,
            event.step_id or None,
            event.attempt or None,
            json_in(event.status_body) if event.status_body is not None else None,
            json_in(event.meta) if event.meta is not None else None,
            json_in(_exception_json(event.exception)) if event.exception else None,
            json_in([_error_json(error) for error in event.errors]) if event.errors else None,
            json_in([_dataset_json(dataset) for dataset in event.inputs]) if event.inputs else None,
            json_in([_dataset_json(dataset) for dataset in event.outputs]) if event.outputs else None,
            event.legacy or None,
        )

    def event(self, row: Sequence[Any]) -> TraceEvent:
        """Return the event of a row that holds all columns of `trace_events` in their order."""
        time_out = self.time_out
        (
            _bucket,
            trace_id,
            sequence,
            trace_event_id,
            _content_hash,
            encoded_bytes,
            run,
            record_time,
            domain,
            domain_id,
            start_time,
            end_time,
            trace_status,
            trace_event_status,
            user,
            component,
            operation,
            s3_path,
            duration_us,
            step_id,
            attempt,
            status_body,
            meta,
            exception,
            errors,
            inputs,
            outputs,
            legacy,
        ) = row
        return new_event(
            trace_id=trace_id,
            trace_event_id=trace_event_id,
            domain=domain,
            domain_id=domain_id,
            start_time=time_out(start_time),
            end_time=time_out(end_time) if end_time else None,
            trace_status=_TRACE_STATUSES[trace_status],
            trace_event_status=_TRACE_EVENT_STATUSES[trace_event_status],
            user=user or "",
            component=component,
            operation=operation or "",
            status_body=json.loads(status_body) if status_body else None,
            meta=json.loads(meta) if meta else None,
            s3_path=s3_path or "",
            duration=timedelta(microseconds=duration_us) if duration_us is not None else None,
            exception=_to_exception(json.loads(exception)) if exception else None,
            errors=tuple(_to_error(entry) for entry in json.loads(errors)) if errors else (),
            inputs=tuple(_to_dataset(entry) for entry in json.loads(inputs)) if inputs else (),
            outputs=tuple(_to_dataset(entry) for entry in json.loads(outputs)) if outputs else (),
            legacy=legacy or "",
            step_id=step_id or "",
            attempt=attempt or 0,
            sequence=sequence,
            record_time=time_out(record_time),
            run=run,
            encoded_bytes=encoded_bytes,
        )


def _exception_json(exception: ExceptionDetail) -> dict[str, str]:
    return {"type": exception.type, "message": exception.message, "traceback": exception.traceback}


def _to_exception(entry: dict[str, str]) -> ExceptionDetail:
    return ExceptionDetail(entry["type"], entry["message"], entry["traceback"])


def _error_json(error: ErrorDetail) -> dict[str, Any]:
    if error.details is None:
        return {"message": error.message}
    return {"message": error.message, "details": error.details}


def _to_error(entry: dict[str, Any]) -> ErrorDetail:
    return ErrorDetail(entry["message"], entry.get("details"))


def _dataset_json(dataset: Dataset) -> dict[str, str]:
    return {"uri": dataset.uri, "version": dataset.version} if dataset.version else {"uri": dataset.uri}


def _to_dataset(entry: dict[str, str]) -> Dataset:
    return Dataset(entry["uri"], entry.get("version", ""))


def _reported_json(reported: ReportedError) -> dict[str, Any]:
    return {
        "component": reported.component,
        "operation": reported.operation,
        "sequence": reported.sequence,
        "step_id": reported.step_id,
        "error": _error_json(reported.error),
    }


def _to_reported(entry: dict[str, Any]) -> ReportedError:
    return ReportedError(
        entry["component"], entry["operation"], entry["sequence"], entry["step_id"], _to_error(entry["error"])
    )


def _failure_json(failure: Failure) -> dict[str, Any]:
    return {
        "component": failure.component,
        "operation": failure.operation,
        "sequence": failure.sequence,
        "step_id": failure.step_id,
        "exception_type": failure.exception_type,
        "exception_message": failure.exception_message,
    }
