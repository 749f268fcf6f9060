"""`status-grpc import --openlineage`: RunEvents from files, and a report of those that were not recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from status_grpc.cli.exits import OK, UNREACHABLE, USAGE, invalid_fields
from status_grpc.cli.output import aside, write_json
from status_grpc.domain.errors import InvalidArgument, StatusError
from status_grpc.domain.events import JsonObject

if TYPE_CHECKING:
    from status_grpc.client.sync import StatusClient

#: How many events are sent at a time.
_AT_A_TIME = 500


@dataclass(slots=True)
class _Entry:
    """One event of a file: where it stands, what it says, and why it is not recorded."""

    file: str
    line: int
    said: Any
    error: str = ""

    def report(self) -> JsonObject:
        """Return what is told of an event that is not recorded."""
        return {"file": self.file, "line": self.line, "error": self.error, "event": self.said}


def import_run_events(client: StatusClient, files: Sequence[BinaryIO], form: str) -> int:
    """Record the events of the files and write those that failed to standard output; return the exit code."""
    recorded, passed_over, lost = 0, 0, ""
    failed: list[JsonObject] = []
    failures = 0
    entries = (entry for file in files for entry in _read(file))
    while chunk := list(islice(entries, _AT_A_TIME)):
        readable = [entry for entry in chunk if not entry.error]
        lost = lost or _record(client, readable)
        for entry in readable if lost else ():
            entry.error = entry.error or lost
        for entry in chunk:
            if entry.error:
                failures += 1
                if form == "json":
                    failed.append(entry.report())
                else:
                    write_json(entry.report())
        passed_over += sum(entry.said is _ABOUT_NO_RUN for entry in chunk)
        recorded += sum(not entry.error and entry.said is not _ABOUT_NO_RUN for entry in chunk)
    if form == "json":
        write_json({"recorded": recorded, "passed_over": passed_over, "failed": failed})
    about_no_run = f", {passed_over} are about no run" if passed_over else ""
    aside(f"{recorded} events are recorded, {failures} are not{about_no_run}.")
    return UNREACHABLE if lost else USAGE if failures else OK


#: Stands for what an event said that there is nothing to record of.
_ABOUT_NO_RUN = object()


def _record(client: StatusClient, entries: list[_Entry]) -> str:
    """Send the events and note on each what went wrong; return why nothing more can be sent, or nothing."""
    try:
        # With a timeout of its own: a server that restarts in between is waited for.
        results = client.record_run_events([entry.said for entry in entries], timeout=client.options.timeout)
    except StatusError as error:
        return error.message
    for entry, result in zip(entries, results, strict=True):
        if result is None:
            entry.said = _ABOUT_NO_RUN
        elif result.error is not None:
            entry.error = _said(result.error)
    return ""


def _said(error: StatusError) -> str:
    return invalid_fields(error) if isinstance(error, InvalidArgument) else error.message


def _read(file: BinaryIO) -> Iterator[_Entry]:
    """Yield the events of a file: one a line, or all of them in a list, as far as it is JSON."""
    name = str(getattr(file, "name", "-"))
    for number, line in enumerate(file, 1):
        if number == 1 and line.lstrip().startswith(b"["):
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
    yield from (_Entry(name, number, said) for number, said in enumerate(entry.said, 1))


def _parsed(name: str, number: int, text: bytes) -> _Entry:
    try:
        return _Entry(name, number, json.loads(text))
    except (ValueError, RecursionError) as error:
        return _Entry(name, number, text.decode(errors="replace").strip(), f"is not JSON: {error}")
