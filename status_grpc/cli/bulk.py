"""`status-grpc update --bulk`: many events from a file, and a report of those that were not recorded.

The report is a file of the same kind: giving it to the same command sends again what failed, and nothing twice.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from status_grpc.cli.exits import OK, UNREACHABLE, USAGE, invalid_fields
from status_grpc.cli.json_forms import read_draft
from status_grpc.cli.output import aside, write_json
from status_grpc.domain.errors import InvalidArgument, PassingError, StatusError
from status_grpc.domain.events import EventDraft, JsonObject
from status_grpc.domain.ids import derived_event_id
from status_grpc.wire.json_values import NotJson, read_json

if TYPE_CHECKING:
    from status_grpc.client.sync import StatusClient

#: How many lines are sent at a time: few enough for the progress to be seen, many enough to be quick.
_LINES_AT_A_TIME = 500


@dataclass(slots=True)
class _Line:
    """One line of the file: what it says, and either the event that this is or what is wrong."""

    number: int
    said: Any
    draft: EventDraft | None = None
    error: str = ""


def update_in_bulk(client: StatusClient, source: BinaryIO, form: str) -> int:
    """Append every event of the file and write those that failed to standard output; return the exit code."""
    bulk = _Bulk(client)
    recorded, failed = 0, 0
    report: list[JsonObject] = []
    with _progress(source) as advance:
        lines = _read(source, advance)
        while chunk := list(islice(lines, _LINES_AT_A_TIME)):
            bulk.send(chunk)
            failures = [{"line": line.number, "error": line.error, "event": line.said} for line in chunk if line.error]
            recorded += len(chunk) - len(failures)
            failed += len(failures)
            if form == "json":
                report += failures
            else:
                for failure in failures:
                    write_json(failure)
    if form == "json":
        write_json({"recorded": recorded, "failed": report})
    aside(f"{recorded} events are recorded, {failed} are not.")
    return UNREACHABLE if bulk.lost else USAGE if failed else OK


@dataclass(slots=True)
class _Bulk:
    """The sending. `lost` is why nothing more can be sent, once that is so."""

    client: StatusClient
    lost: str = ""
    #: Traces of which an event failed for a reason that passes: what comes after it must not overtake it.
    held_up: set[str] = field(default_factory=set)

    def send(self, lines: list[_Line]) -> None:
        """Send the events, and note on each line what went wrong with it."""
        sendable = []
        for line in lines:
            if line.draft is None:
                continue
            if line.draft.trace_id in self.held_up:
                line.error = "an earlier event of its trace could not be recorded"
            else:
                sendable.append((line, line.draft))
        if not self.lost:
            self._send(sendable)
        if self.lost:
            for line, _ in sendable:
                line.error = line.error or self.lost

    def _send(self, sendable: list[tuple[_Line, EventDraft]]) -> None:
        try:
            # With a timeout of its own: a server that restarts in between is waited for.
            timeout = self.client.options.timeout
            results = self.client.batch_update([draft for _, draft in sendable], timeout=timeout)
        except StatusError as error:
            # Of this chunk some may be recorded; its events have ids, so sending them again does no harm.
            self.lost = error.message
            return
        for (line, draft), result in zip(sendable, results, strict=True):
            if result.error is not None:
                line.error = _said(result.error)
                if isinstance(result.error, PassingError):
                    self.held_up.add(draft.trace_id)


def _said(error: StatusError) -> str:
    return invalid_fields(error) if isinstance(error, InvalidArgument) else error.message


def _read(source: Iterable[bytes], advance: Callable[[int], None]) -> Iterator[_Line]:
    """Return the lines that say something, those of an earlier report included."""
    seen: Counter[str] = Counter()
    for number, text in enumerate(source, 1):
        advance(len(text))
        if not text.strip():
            continue
        try:
            said = read_json(text)
        except NotJson as error:
            yield _Line(number, text.decode(errors="replace").strip(), error=str(error))
            continue
        yield _event(number, said["event"] if isinstance(said, dict) and set(said) == _REPORTED else said, seen)


_REPORTED = {"line", "error", "event"}


def _event(number: int, said: Any, seen: Counter[str]) -> _Line:
    try:
        draft = read_draft(said)
        # The same line of the same file always gets the same id, and a second line with the same content another one:
        # the file may be sent again and again.
        content = json.dumps(said, sort_keys=True)
    except InvalidArgument as error:
        return _Line(number, said, error=invalid_fields(error))
    except RecursionError:
        return _Line(number, None, error="is nested too deep")
    if not draft.trace_event_id:
        seen[content] += 1
        said = {**said, "trace_event_id": derived_event_id("bulk", content, str(seen[content]))}
        draft = replace(draft, trace_event_id=said["trace_event_id"])
    return _Line(number, said, draft)


@contextmanager
def _progress(source: BinaryIO) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how much of the file is read."""
    if not sys.stderr.isatty() or not source.seekable():
        yield lambda _: None
        return
    size = os.fstat(source.fileno()).st_size
    with click.progressbar(length=size, file=sys.stderr, label="Events") as bar:
        yield bar.update
