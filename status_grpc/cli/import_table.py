"""`status-grpc import --dynamodb-export`: the traces of the older service's table, with their ids, times and order."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import TYPE_CHECKING, BinaryIO

import click

from status_grpc.cli.exits import OK, UNREACHABLE, USAGE, invalid_fields
from status_grpc.cli.old_table import Line, LineReader, sorting
from status_grpc.cli.output import aside, write_json
from status_grpc.domain.errors import InvalidArgument, PassingError, StatusError, TraceExists
from status_grpc.domain.events import JsonObject

if TYPE_CHECKING:
    from status_grpc.client.sync import StatusClient

#: How many events are sent at a time, and how many traces are started at once.
_AT_A_TIME = 500
_AT_ONCE = 16


def import_table(client: StatusClient, files: Sequence[BinaryIO], form: str) -> int:
    """Record the events of the files and write those that failed to standard output; return the exit code."""
    report = _Report(form)
    reader = LineReader()
    with sorting() as lines:
        with _progress("Reading", _size(files)) as advance:
            for line in reader.read(files, advance):
                if line.error:
                    report.failed(line)
                else:
                    lines.add(line)
        sending = _Sending(client)
        with _progress("Recording", len(lines)) as advance:
            ordered = iter(lines)
            while chunk := list(islice(ordered, _AT_A_TIME)):
                sending.send(chunk)
                for line in chunk:
                    if line.error:
                        report.failed(line)
                report.recorded += sum(not line.error for line in chunk)
                report.left_out += sum(not line.error and line.lacks_fields for line in chunk)
                advance(len(chunk))
    report.end({"deleted": reader.deletions, "rounded": reader.rounded, "left_out": report.left_out})
    if sending.lost:
        aside(f"{sending.lost} Importing the same again goes on where this ended.")
        return UNREACHABLE
    return USAGE if report.failures else OK


@dataclass(slots=True)
class _Report:
    """What is told of the import."""

    form: str
    recorded: int = 0
    failures: int = 0
    #: How many of the recorded events lack a field.
    left_out: int = 0
    kept: list[JsonObject] = field(default_factory=list)

    def failed(self, line: Line) -> None:
        """Tell of a line that is not recorded."""
        self.failures += 1
        if self.form == "json":
            self.kept.append(line.report())
        else:
            write_json(line.report())

    def end(self, counts: dict[str, int]) -> None:
        """Write how many events there were, and the other counts."""
        counts = {name: count for name, count in counts.items() if count}
        if self.form == "json":
            write_json({"recorded": self.recorded, "failed": self.kept} | counts)
        aside(f"{self.recorded} events are recorded, {self.failures} are not.")
        for name, count in counts.items():
            aside(f"{count} {_COUNTED[name]}")


_COUNTED = {
    "deleted": "lines say that an item was deleted. Deletions are not imported.",
    "rounded": "numbers were rounded, because a double holds about 16 digits.",
    "left_out": "events were recorded without a field, or with a changed one. Their meta.left_out names it.",
}


@dataclass(slots=True)
class _Sending:
    """The sending of lines in their order. `lost` is why nothing more can be sent, once that is so."""

    client: StatusClient
    lost: str = ""
    #: The trace whose events the last chunk ended with.
    _begun: str = ""

    def send(self, chunk: list[Line]) -> None:
        """Record the events, and note on each line what went wrong with it."""
        traces = [(trace_id, list(lines)) for trace_id, lines in groupby(chunk, key=_trace_id)]
        beginning = [lines for trace_id, lines in traces if trace_id != self._begun]
        if not self.lost:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                rest = [line for lines in pool.map(self._begin, beginning) for line in lines]
            self._append([*(line for trace_id, lines in traces if trace_id == self._begun for line in lines), *rest])
        else:
            _fail(chunk, self.lost)
        self._begun = traces[-1][0]

    def _begin(self, lines: list[Line]) -> list[Line]:
        """Start the trace with the first of its events that can be recorded; return those that are left to append."""
        for number, line in enumerate(lines):
            try:
                self._create(line)
            except TraceExists:
                return lines[number:]  # it began otherwise; what it has is recognised
            except PassingError as error:
                self.lost = error.message
                _fail(lines[number:], self.lost)
                return []
            except StatusError as error:
                line.error = _said(error)
            else:
                return lines[number + 1 :]
        return []

    def _create(self, line: Line) -> None:
        """Start the trace with this event. Raises StatusError.

        What the service refuses of the event is left out.
        """
        while True:
            assert line.draft is not None
            try:
                self.client.create(line.draft)
            except InvalidArgument as error:
                if not line.leave_out(error):
                    raise
            else:
                return

    def _append(self, lines: list[Line]) -> None:
        if self.lost or not lines:
            _fail(lines, self.lost)
            return
        try:
            results = self.client.batch_update([line.draft for line in lines if line.draft is not None])
        except StatusError as error:
            self.lost = error.message
            _fail(lines, self.lost)
            return
        again = []
        for line, result in zip(lines, results, strict=True):
            if isinstance(result.error, PassingError):
                self.lost = result.error.message
            if isinstance(result.error, InvalidArgument) and line.leave_out(result.error):
                again.append(line)
            elif result.error is not None:
                line.error = _said(result.error)
        self._append(again)


def _fail(lines: Iterable[Line], error: str) -> None:
    for line in lines:
        line.error = line.error or error


def _trace_id(line: Line) -> str:
    assert line.draft is not None
    return line.draft.trace_id


def _said(error: StatusError) -> str:
    return invalid_fields(error) if isinstance(error, InvalidArgument) else error.message


def _size(files: Sequence[BinaryIO]) -> int:
    """Return how many bytes there are to read, 0 if that is not known."""
    return sum(os.fstat(file.fileno()).st_size for file in files) if all(file.seekable() for file in files) else 0


@contextmanager
def _progress(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how much is done."""
    if not sys.stderr.isatty() or not length:
        yield lambda _: None
        return
    with click.progressbar(length=length, file=sys.stderr, label=label) as bar:
        yield bar.update
