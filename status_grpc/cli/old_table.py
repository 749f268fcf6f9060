"""Lines of an export of the older service's table, and the events that they hold.

A line is an item of DynamoDB's JSON export (`{"Item": {"trace_id": {"S": "..."}, ...}}`), an event as the older service
spoke it, or an entry of an earlier report of what could not be recorded.
"""

from __future__ import annotations

import gzip
import json
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, BinaryIO, cast

from status_grpc.cli.exits import invalid_fields
from status_grpc.domain.errors import FieldViolation, InvalidArgument
from status_grpc.domain.events import EventDraft, JsonObject, TraceStatus
from status_grpc.domain.ids import derived_event_id
from status_grpc.domain.limits import Limits
from status_grpc.wire.json_values import NotJson, parse_value
from status_grpc.wire.old_events import read_old_event

_GZIP = b"\x1f\x8b"
_REPORTED = {"file", "line", "error", "event"}
_REQUIRED = ("trace_id", "start_time")
_EXACT = 2**53
_UUID_AT_END = re.compile(r"-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


@dataclass(slots=True)
class Line:
    """One line that says something: where it stands, what it says, and either its event or what is wrong with it."""

    file: str
    number: int
    said: Any
    draft: EventDraft | None = None
    error: str = ""

    def report(self) -> JsonObject:
        """Return what is told of a line that is not recorded; it can be imported again."""
        return {"file": self.file, "line": self.number, "error": self.error, "event": self.said}


def read_lines(files: Iterable[BinaryIO], advance: Callable[[int], None]) -> Iterator[Line]:
    """Yield the lines of the files, packed by gzip or not; tell `advance` how many bytes of the files were read."""
    for file in files:
        name = str(getattr(file, "name", "-"))
        counted = cast(BinaryIO, _Counted(file, advance))
        packed = file.peek(2)[:2] == _GZIP  # type: ignore[attr-defined]  # it is buffered
        number = 0
        try:
            for number, text in enumerate(gzip.GzipFile(fileobj=counted) if packed else _lines(counted), 1):
                if text.strip():
                    yield _line(name, number, text)
        except (OSError, EOFError) as error:
            yield Line(name, number + 1, None, error=f"the file cannot be read further: {error}")


class _Counted:
    """A file that tells how much of it is read."""

    def __init__(self, file: BinaryIO, advance: Callable[[int], None]) -> None:
        self._file = file
        self._advance = advance

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._advance(len(data))
        return data

    def readline(self) -> bytes:
        line = self._file.readline()
        self._advance(len(line))
        return line


def _lines(file: BinaryIO) -> Iterator[bytes]:
    return iter(file.readline, b"")


def _line(file: str, number: int, text: bytes) -> Line:
    try:
        said = parse_value(text)
    except NotJson as error:
        return Line(file, number, text.decode(errors="replace").strip(), error=str(error))
    if isinstance(said, dict) and set(said) == _REPORTED:
        said = said["event"]
    try:
        if isinstance(said, dict) and isinstance(said.get("Item"), dict):
            said = {name: _plain(value) for name, value in said["Item"].items()}
        return Line(file, number, said, draft=_draft(said))
    except InvalidArgument as error:
        return Line(file, number, said, error=invalid_fields(error))


def _draft(said: object) -> EventDraft:
    """Return the event. Raises InvalidArgument."""
    if not isinstance(said, dict):
        raise InvalidArgument([FieldViolation("event", "must be a JSON object")])
    violations: list[FieldViolation] = []
    draft, _ = read_old_event(said, Limits(), violations, [], required=_REQUIRED)
    if draft.start_time is None and not violations:  # events are sorted by it
        violations.append(FieldViolation("event.start_time", "must be a time such as 2026-01-31T12:00:00+00:00"))
    if violations:
        raise InvalidArgument(violations)
    draft = replace(draft, status_body=_carried(draft.status_body), meta=_carried(draft.meta))
    draft = replace(draft, errors=tuple(replace(error, details=_carried(error.details)) for error in draft.errors))
    if not draft.trace_event_id:
        content = json.dumps(said, sort_keys=True)
        draft = replace(draft, trace_event_id=derived_event_id("import", draft.trace_id, content))
    return draft


def _carried(value: Any) -> Any:
    """Return the value as gRPC carries it exactly: an integer that a double would round becomes a text."""
    if isinstance(value, dict):
        return {key: _carried(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_carried(item) for item in value]
    if isinstance(value, int) and abs(value) > _EXACT:
        return str(value)
    return value


def _plain(value: object) -> Any:
    """Return the JSON value of one of DynamoDB, which says its type. Raises InvalidArgument."""
    if not isinstance(value, dict) or len(value) != 1:
        raise _no_value()
    ((kind, item),) = value.items()
    try:
        return _KINDS[kind](item)
    except (KeyError, TypeError, AttributeError, InvalidOperation, OverflowError):
        raise _no_value() from None


def _no_value() -> InvalidArgument:
    return InvalidArgument([FieldViolation("Item", 'has a value that is none of DynamoDB, such as {"S": "text"}')])


def _number(text: str) -> int | float:
    number = Decimal(text)
    return int(number) if number == number.to_integral_value() else float(number)


_KINDS: dict[str, Callable[[Any], Any]] = {
    "S": str,
    "N": _number,
    "BOOL": bool,
    "NULL": lambda _: None,
    "M": lambda item: {name: _plain(value) for name, value in item.items()},
    "L": lambda item: [_plain(value) for value in item],
    "SS": list,
    "NS": lambda item: [_number(text) for text in item],
    # Bytes stay in base64, as the export has them.
    "B": str,
    "BS": list,
}


_COLUMNS = ("trace_id", "place", "start", "file", "number", "said", "domain_id")


class Sorted:
    """Lines by trace, in a file of their own: an export is in no order, and may be larger than memory.

    The traces come in the order in which they began, the events of each in the order of their start times, the one that
    says STARTED first.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute(f"CREATE TABLE lines ({', '.join(_COLUMNS)})")

    def add(self, line: Line) -> None:
        """Keep a line that holds an event."""
        draft = line.draft
        assert draft is not None
        assert draft.start_time is not None
        place = int(draft.trace_status is not TraceStatus.STARTED)
        self._connection.execute(
            "INSERT INTO lines VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                draft.trace_id,
                place,
                draft.start_time.isoformat(timespec="microseconds"),
                line.file,
                line.number,
                json.dumps(line.said),
                draft.domain_id or None,
            ),
        )

    def __len__(self) -> int:
        """How many lines there are."""
        count: int = self._connection.execute("SELECT count(*) FROM lines").fetchone()[0]
        return count

    def __iter__(self) -> Iterator[Line]:
        """Yield the lines in their order, each event fit to begin its trace."""
        self._connection.execute("CREATE INDEX IF NOT EXISTS by_trace ON lines (trace_id, place, start)")
        rows = self._connection.execute(
            "SELECT file, number, said, named FROM lines JOIN (SELECT trace_id, min(start) AS began, "
            "max(domain_id) AS named FROM lines GROUP BY trace_id) USING (trace_id) "
            "ORDER BY began, trace_id, place, start, lines.rowid"
        )
        for file, number, text, named in rows:
            said = json.loads(text)
            draft = _draft(said)
            if not draft.domain_id:
                # What says no domain_id is of the trace's: an update takes it over by itself, a first event has to say.
                draft = replace(draft, domain_id=named or _UUID_AT_END.sub("", draft.trace_id))
            yield Line(file, number, said, draft)


@contextmanager
def sorting() -> Iterator[Sorted]:
    """Give a place to sort lines in, for as long as it is needed."""
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(Path(folder) / "lines.db")) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        yield Sorted(connection)
