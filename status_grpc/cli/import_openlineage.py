"""`status-grpc import --openlineage`: RunEvents from files, and a report of those that were not recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from status_grpc.cli.exits import OK, UNREACHABLE, USAGE, invalid_fields
from status_grpc.cli.output import aside, write_json
from status_grpc.domain.errors import InvalidArgument, StatusError
from status_grpc.domain.events import JsonObject
from status_grpc.wire.json_values import NotJson
from status_grpc.wire.openlineage import clean, read_json

if TYPE_CHECKING:
    from status_grpc.client.sync import StatusClient

#: What is sent at a time: events, and bytes of their JSON. A larger event is sent alone.
_CHUNK_ITEMS = 200
_CHUNK_BYTES = 1024 * 1024
#: Levels of an event that a report repeats.
_REPORTED_LEVELS = 100

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(slots=True)
class _Entry:
    """One event of a file: where it stands, what it says, and why it is not recorded."""

    file: str
    line: int
    said: Any
    size: int
    error: str = ""

    def report(self) -> JsonObject:
        """Return what is told of an event that is not recorded."""
        # As it can be written: a surrogate or NaN has no place in the output.
        said = clean(self.said, _REPORTED_LEVELS, lambda _path, _reason: None)
        return {"file": self.file, "line": self.line, "error": self.error, "event": said}


@dataclass(slots=True)
class _Summary:
    """Counts what became of the events."""

    recorded: int = 0
    recorded_before: int = 0
    passed_over: int = 0
    failures: int = 0
    failed: list[JsonObject] = field(default_factory=list)
    #: Why parts of events were left out: the number of events, and the first of them.
    left_out: dict[str, JsonObject] = field(default_factory=dict)

    def add_left_out(self, entry: _Entry, parts: Iterable[str]) -> None:
        """Count why parts of a recorded event were left out."""
        seen = set()
        for part in parts:
            place, _, reason = part.partition(": ")
            kind = self.left_out.setdefault(
                reason, {"reason": reason, "events": 0, "file": entry.file, "line": entry.line, "field": place}
            )
            if reason not in seen:
                seen.add(reason)
                kind["events"] += 1

    def write(self, form: str) -> None:
        """Write the summary to standard error, and as JSON to standard output."""
        if form == "json":
            write_json(
                {
                    "recorded": self.recorded,
                    "recorded_before": self.recorded_before,
                    "passed_over": self.passed_over,
                    "failed": self.failed,
                    "left_out": list(self.left_out.values()),
                }
            )
        for kind in self.left_out.values():
            first = f"first in {kind['file']}, line {kind['line']}: {kind['field']}"
            aside(f"Of {kind['events']} events, {kind['reason']} ({first}).")
        counts = [f"{self.recorded} events are recorded", f"{self.failures} are not"]
        if self.recorded_before:
            counts.insert(1, f"{self.recorded_before} were recorded before")
        if self.passed_over:
            counts.append(f"{self.passed_over} are about no run")
        aside(f"{', '.join(counts)}.")


def import_run_events(client: StatusClient, files: Sequence[BinaryIO], form: str) -> int:
    """Record the events of the files and write those that failed to standard output; return the exit code."""
    summary = _Summary()
    lost = ""
    for chunk in _chunks(entry for file in files for entry in _read(file)):
        readable = [entry for entry in chunk if not entry.error]
        lost = lost or _record(client, readable, summary)
        for entry in readable if lost else ():
            entry.error = entry.error or lost
        for entry in chunk:
            if not entry.error:
                continue
            summary.failures += 1
            if form == "json":
                summary.failed.append(entry.report())
            else:
                write_json(entry.report())
    summary.write(form)
    return UNREACHABLE if lost else USAGE if summary.failures else OK


def _chunks(entries: Iterable[_Entry]) -> Iterator[list[_Entry]]:
    chunk: list[_Entry] = []
    size = 0
    for entry in entries:
        if chunk and (len(chunk) >= _CHUNK_ITEMS or size + entry.size > _CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(entry)
        size += entry.size
    if chunk:
        yield chunk


def _record(client: StatusClient, entries: list[_Entry], summary: _Summary) -> str:
    """Send the events and note on each what went wrong; return why nothing more can be sent, or nothing."""
    try:
        # With a timeout of its own: a server that restarts in between is waited for.
        results = client.record_run_events([entry.said for entry in entries], timeout=client.options.timeout)
    except StatusError as error:
        return error.message
    for entry, result in zip(entries, results, strict=True):
        if result is None:
            summary.passed_over += 1
        elif result.error is not None:
            entry.error = _sentence(result.error)
        else:
            summary.recorded += not result.recorded_before
            summary.recorded_before += result.recorded_before
            summary.add_left_out(entry, result.left_out)
    return ""


def _sentence(error: StatusError) -> str:
    return invalid_fields(error) if isinstance(error, InvalidArgument) else error.message


def _read(file: BinaryIO) -> Iterator[_Entry]:
    """Yield the events of a file: one a line, or all of them in a list, as far as it is JSON."""
    name = str(getattr(file, "name", "-"))
    for number, line in enumerate(file, 1):
        if number == 1 and line.removeprefix(_BYTE_ORDER_MARK).lstrip().startswith(b"["):
            yield from _read_list(name, line + file.read())
            return
        if line.strip():
            yield _parsed(name, number, line)


def _read_list(name: str, text: bytes) -> Iterator[_Entry]:
    entry = _parsed(name, 1, text)
    if entry.error:
        entry.said = None
        yield entry
        return
    # The size of each is not known; the client library makes smaller chunks where they differ.
    size = len(text) // max(len(entry.said), 1)
    yield from (_Entry(name, number, said, size) for number, said in enumerate(entry.said, 1))


def _parsed(name: str, number: int, text: bytes) -> _Entry:
    try:
        return _Entry(name, number, read_json(text), len(text))
    except NotJson as error:
        return _Entry(name, number, text.decode(errors="replace").strip(), len(text), str(error))
