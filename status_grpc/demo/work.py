"""What the components of the demo's pipeline do with a file, and what they say about it.

Each is a handler as on a cloud platform: it takes the event that the platform calls it with, and returns a result.
"""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote_plus
from uuid import uuid4

from status_grpc.client.sync import StatusClient
from status_grpc.client.values import Written
from status_grpc.domain.events import Dataset, ErrorDetail, TraceEventStatus, TraceStatus

Event: TypeAlias = dict[str, Any]

_COLUMNS = ["station", "date", "trips"]


@dataclass(slots=True)
class Context:
    """What a component has at hand: its name, the status service, and a folder that stands for the bucket."""

    component: str
    client: StatusClient
    bucket: Path
    #: How long a step takes at least, in seconds: without it there would be little to watch.
    pace: float
    #: The ids of the events that the status service has acknowledged.
    recorded: list[str] = field(default_factory=list)

    def acknowledged(self, written: Written) -> Written:
        """Remember what was recorded."""
        self.recorded.append(written.event.trace_event_id)
        return written

    @contextmanager
    def step(self, trace_id: str, operation: str, source: str) -> Iterator[Outcome]:
        """Report the beginning of a step and its end, with what the step puts into its outcome."""
        step_id, began, start_time = str(uuid4()), time.monotonic(), datetime.now(UTC)
        common: Any = {"trace_id": trace_id, "component": self.component, "operation": operation, "step_id": step_id}
        self.acknowledged(self.client.update(**common, start_time=start_time))
        outcome = Outcome()
        yield outcome
        time.sleep(max(0.0, self.pace - (time.monotonic() - began)))
        end_time = max(start_time, datetime.now(UTC))
        self.acknowledged(
            self.client.update(
                **common,
                start_time=start_time,
                end_time=end_time,
                duration=end_time - start_time,
                inputs=[Dataset(source)],
                outputs=[Dataset(uri) for uri in outcome.outputs],
                errors=outcome.errors,
                status_body=outcome.numbers or None,
            )
        )


@dataclass(slots=True)
class Outcome:
    """What came of a step."""

    outputs: list[str] = field(default_factory=list)
    errors: list[ErrorDetail] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)


def upload(event: Event, context: Context) -> Event:
    """Start a trace, hand its id back, and only then let the object arrive in the bucket."""
    written = context.acknowledged(
        context.client.create(
            domain="dataset",
            domain_id=event["dataset"],
            component=context.component,
            operation="upload",
            user=event["user"],
            s3_path=event["s3_path"],
        )
    )
    _write(context.bucket / event["s3_path"], event["content"])
    return {"trace_id": written.trace.trace_id}


def route(event: Event, context: Context) -> Event:
    """Find the trace of the object that has arrived, and name the execution of the pipeline after it."""
    key = unquote_plus(event["Records"][0]["s3"]["object"]["key"])
    return {"execution_name": context.client.get_by_path(key).trace.trace_id, "key": key}


def validate(event: Event, context: Context) -> Event:
    """Check a CSV file. Mistakes in it are this step's result, not its failure: it reports OK, with errors."""
    with context.step(event["execution_name"], "validate", event["key"]) as outcome:
        rows = _rows(context.bucket / event["key"])
        outcome.numbers["rows"] = len(rows)
        outcome.errors = [error for number, row in enumerate(rows, 1) for error in _mistakes(number, row)]
    return {**event, "valid": not outcome.errors}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, _COLUMNS))[1:]


def _mistakes(number: int, row: dict[str, str]) -> Iterator[ErrorDetail]:
    if not _is(date.fromisoformat, row["date"]):
        yield ErrorDetail(
            {
                "nb": f"Rad {number}: «{row['date']}» er ikke en dato",
                "en": f'Row {number}: "{row["date"]}" is not a date',
            },
            {"row": number, "column": "date"},
        )
    if not _is(int, row["trips"]):
        yield ErrorDetail(
            {
                "nb": f"Rad {number}: «{row['trips']}» er ikke et tall",
                "en": f'Row {number}: "{row["trips"]}" is not a number',
            },
            {"row": number, "column": "trips"},
        )


def _is(kind: Callable[[str], object], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def convert(event: Event, context: Context) -> Event:
    """Turn the rows of a CSV file into columns (as JSON: Parquet itself would need a library)."""
    key = event["key"].replace("raw/", "intermediate/").replace(".csv", ".columns.json")
    with context.step(event["execution_name"], "convert", event["key"]) as outcome:
        rows = _rows(context.bucket / event["key"])
        columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in _COLUMNS}
        columns["trips"] = [int(trips) for trips in columns["trips"]]
        _write(context.bucket / key, json.dumps(columns))
        outcome.outputs.append(key)
        outcome.numbers["trips"] = sum(columns["trips"])
    return {**event, "key": key}


def copy(event: Event, context: Context) -> Event:
    """Put the result where its readers find it."""
    key = event["key"].replace("intermediate/", "processed/")
    with context.step(event["execution_name"], "copy", event["key"]) as outcome:
        target = context.bucket / key
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(context.bucket / event["key"], target)
        outcome.outputs.append(key)
        outcome.numbers["bytes"] = target.stat().st_size
    return {**event, "key": key}


def report_end(event: Event, context: Context) -> Event:
    """Tell how an execution of the pipeline ended; of the reason the platform's event says nothing."""
    detail = event["detail"]
    succeeded = detail["status"] == "SUCCEEDED"
    context.acknowledged(
        context.client.update(
            trace_id=detail["name"],
            component=context.component,
            operation="execution",
            trace_status=TraceStatus.FINISHED,
            trace_event_status=TraceEventStatus.OK if succeeded else TraceEventStatus.FAILED,
        )
    )
    return {}


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


#: The components of the pipeline, in the order of their work.
COMPONENTS: dict[str, Callable[[Event, Context], Event]] = {
    "data-uploader": upload,
    "pipeline-router": route,
    "csv-validator": validate,
    "csv-to-parquet": convert,
    "s3-writer": copy,
    "state-machine-event": report_end,
}
