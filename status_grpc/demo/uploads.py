"""The two uploads of the demo: the file, what the platform does with it, and what a follower must see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote_plus

from status_grpc.demo.processes import Platform
from status_grpc.domain.events import TraceEvent, TraceEventStatus
from status_grpc.domain.traces import Trace

#: The same for both: the second upload replaces the first, and each has a trace of its own.
S3_PATH = "raw/green/bike-trips/version=1/edition=20200101T114457/trips.csv"
_DATASET, _USER = "bike-trips/1", "ola"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that is uploaded, and how that must end."""

    title: str
    content: str
    outcome: TraceEventStatus
    #: Component, operation, trace status and event status of each event.
    events: Sequence[tuple[str, str, str, str]]
    #: How many errors the trace tells of.
    errors: int = 0


def _step(component: str, operation: str) -> list[tuple[str, str, str, str]]:
    """Return the beginning and the end of a step."""
    return [(component, operation, "CONTINUE", "OK")] * 2


_UPLOADED = ("data-uploader", "upload", "STARTED", "OK")

GOOD = Upload(
    title="a file as it should be",
    content="station,date,trips\nTorggata,2020-01-01,312\nTøyen,2020-01-01,208\nBryn,2020-01-01,57\n",
    outcome=TraceEventStatus.OK,
    events=[
        _UPLOADED,
        *_step("csv-validator", "validate"),
        *_step("csv-to-parquet", "convert"),
        *_step("s3-writer", "copy"),
        ("state-machine-event", "execution", "FINISHED", "OK"),
    ],
)
BAD = Upload(
    title="the same path again, with mistakes in the file",
    content="station,date,trips\nTorggata,2020-01-01,312\nTøyen,2020-01-01,many\nBryn,2020-31-01,57\n",
    outcome=TraceEventStatus.FAILED,
    events=[
        _UPLOADED,
        *_step("csv-validator", "validate"),
        ("state-machine-event", "execution", "FINISHED", "FAILED"),
    ],
    errors=2,
)


def run(upload: Upload, platform: Platform) -> None:
    """Upload the file, and do what a cloud platform does when an object arrives: all in other processes."""
    event = {"dataset": _DATASET, "user": _USER, "s3_path": S3_PATH, "content": upload.content}
    platform.call("data-uploader", event)
    arrival = {"Records": [{"s3": {"object": {"key": quote_plus(S3_PATH)}}}]}
    execution = platform.call("pipeline-router", arrival)
    result = platform.call("csv-validator", execution)
    if result["valid"]:
        result = platform.call("csv-to-parquet", result)
        platform.call("s3-writer", result)
    status = "SUCCEEDED" if result["valid"] else "FAILED"
    platform.call("state-machine-event", {"detail": {"name": execution["execution_name"], "status": status}})


def findings(upload: Upload, seen: Sequence[TraceEvent], trace: Trace, recorded: Sequence[str]) -> list[str]:
    """Return what a follower saw that it should not have seen, or did not see; nothing if all is well."""
    found = []
    sequences = [event.sequence for event in seen]
    if sequences != list(range(1, len(seen) + 1)):
        found.append(f"the events came with the sequences {sequences}")
    if [event.trace_event_id for event in seen] != list(recorded):
        found.append(f"{len(recorded)} events were recorded, {len(seen)} came, and they are not the same")
    reports = [(event.component, event.operation, event.trace_status, event.trace_event_status) for event in seen]
    if reports != list(upload.events):
        found.append(f"the events were {reports}")
    if not trace.done or trace.trace_event_status is not upload.outcome:
        found.append(f"the trace ended as {trace.trace_event_status}")
    if len(trace.errors) != upload.errors or any(set(entry.error.message) != {"nb", "en"} for entry in trace.errors):
        found.append(f"the trace tells of {len(trace.errors)} errors")
    return found
