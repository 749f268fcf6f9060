"""Lines of an export of the older service's table, and the events that they hold.

A line is an item of DynamoDB's JSON export, full (`{"Item": {"trace_id": {"S": "..."}, ...}}`) or incremental
(`{"Metadata": ..., "Keys": ..., "NewImage": ...}`), an event as the older service spoke it, or an entry of an earlier
report of what could not be recorded.
"""

from __future__ import annotations

import gzip
import json
import re
import sqlite3
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO, cast

from status_grpc.cli.exits import invalid_fields
from status_grpc.client.reporting.plain import plain_object
from status_grpc.domain.errors import FieldViolation, InvalidArgument
from status_grpc.domain.events import EventDraft, JsonObject, TraceStatus
from status_grpc.domain.ids import derived_event_id
from status_grpc.domain.limits import Limits
from status_grpc.domain.text import escape_surrogates
from status_grpc.domain.validation import check_id
from status_grpc.wire.old_events import OLDER_NAMES, read_old_event

_GZIP = b"\x1f\x8b"
_REPORTED = {"file", "line", "error", "event"}
_LIMITS = Limits()
_EXACT = 2**53
#: Deeper than DynamoDB nests its items, in which each value has an object of its own around it.
_DEEPEST = 100
#: What of an incremental export says that a line is one. A line of a deletion has no new image.
_INCREMENTAL = {"Keys", "Metadata"}
#: Longer numbers than any double holds are texts from the start: it takes long to make integers of them.
_MOST_DIGITS = 400
#: What an event means. Anything else that cannot be read is left out.
_MEANING = frozenset({"trace_id", "trace_status", "trace_event_status"})
#: What the service must have. Anything else that it refuses is left out.
_NEEDED = _MEANING | {"trace_event_id", "domain", "domain_id", "component"}
#: What is left out of an event that is too large, until it fits.
_LARGE = ("status_body", "meta", "errors", "exception")
#: The component and the domain of an event that names none. The service wants some.
_UNKNOWN = "unknown"
_EVENT_FIELD = re.compile(r"\bevent\.(\w+)")
_UUID_AT_END = re.compile(r"-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


@dataclass(slots=True)
class Line:
    """One line of a file, with its event or its fault."""

    file: str
    number: int
    said: Any
    draft: EventDraft | None = None
    error: str = ""

    def report(self) -> JsonObject:
        """Return what is told of a line that is not recorded; it can be imported again."""
        return {"file": self.file, "line": self.number, "error": self.error, "event": self.said}

    def leave_out(self, error: InvalidArgument) -> bool:
        """Leave out of the event what the service refuses.

        Returns whether anything was left out.
        """
        draft = self.draft
        assert draft is not None
        # Once something is left out the meta is ours.
        kept = _NEEDED | {"meta"} if self.lacks_fields else _NEEDED
        refused = [name for name in _fields_of(error.violations) - kept if getattr(draft, name, None)]
        if any(violation.field.endswith("event") for violation in error.violations):
            refused = [name for name in _LARGE if name not in kept and getattr(draft, name)][:1]
        if refused:
            self.draft = _without(draft, refused)
        return bool(refused)

    @property
    def lacks_fields(self) -> bool:
        """Whether something was left out of the event."""
        return self.draft is not None and _LEFT_OUT in (self.draft.meta or {})


class LineReader:
    """Reads lines, and counts what their events do not keep."""

    def __init__(self) -> None:
        #: How many lines only say that an item was deleted.
        self.deletions = 0
        #: How many fractions lost digits in a double.
        self.rounded = 0
        self._kinds: dict[str, Callable[[Any], Any]] = {
            "S": str,
            "N": self._number,
            "BOOL": bool,
            "NULL": lambda _: None,
            "M": lambda item: {name: self._plain(value) for name, value in item.items()},
            "L": lambda item: [self._plain(value) for value in item],
            "SS": list,
            "NS": lambda item: [self._number(text) for text in item],
            # Bytes stay in base64, as the export has them.
            "B": str,
            "BS": list,
        }

    def read(self, files: Iterable[BinaryIO], advance: Callable[[int], None]) -> Iterator[Line]:
        """Yield the lines of the files, packed by gzip or not.

        `advance` is called with the number of bytes of each part that was read.
        """
        for file in files:
            name = escape_surrogates(str(getattr(file, "name", "-")))
            counted = cast(BinaryIO, _Counted(file, advance))
            packed = file.peek(2)[:2] == _GZIP  # type: ignore[attr-defined]  # it is buffered
            number = 0
            try:
                for number, text in enumerate(gzip.GzipFile(fileobj=counted) if packed else _lines(counted), 1):
                    line = self._line(name, number, text) if text.strip() else None
                    if line is not None:
                        yield line
            except (OSError, EOFError, zlib.error) as error:
                yield Line(name, number + 1, None, error=f"the file cannot be read further: {error}")

    def _line(self, file: str, number: int, text: bytes) -> Line | None:
        """Return the line, or None if an item was deleted."""
        try:
            said = json.loads(text, parse_int=_whole, parse_float=self._fraction, parse_constant=str)
        except (ValueError, RecursionError) as error:
            reason = "is nested too deep" if isinstance(error, RecursionError) else f"is not JSON: {error}"
            return Line(file, number, text.decode(errors="replace").strip(), error=reason)
        said = plain_object(said, _DEEPEST)
        if isinstance(said, dict) and set(said) == _REPORTED:
            said = said["event"]
        try:
            item = _item(said)
            if item is None:
                self.deletions += 1
                return None
            if item is not said:
                said = {name: self._attribute(name, value) for name, value in item.items()}
            return Line(file, number, said, draft=_draft(said))
        except InvalidArgument as error:
            return Line(file, number, said, error=invalid_fields(error))

    def _attribute(self, name: str, value: object) -> Any:
        """Return the value of an attribute.

        A value without a type of DynamoDB is returned as it is, unless the event needs it.
        """
        try:
            return self._plain(value)
        except InvalidArgument:
            if OLDER_NAMES.get(name, name) in _MEANING:
                raise
            return value

    def _plain(self, value: object) -> Any:
        """Return a typed value of DynamoDB as JSON. Raises InvalidArgument."""
        if not isinstance(value, dict) or len(value) != 1:
            raise _no_value()
        ((kind, item),) = value.items()
        try:
            return self._kinds[kind](item)
        except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError):
            raise _no_value() from None

    def _number(self, text: str) -> int | float | str:
        number = Decimal(text)
        if number.adjusted() > _MOST_DIGITS:
            return text
        return int(number) if number == number.to_integral_value() else self._fraction(text)

    def _fraction(self, text: str) -> float | str:
        """Return the number as a double, or the text beyond all doubles."""
        number = float(text)
        if not isfinite(number):
            return text
        self.rounded += Decimal(repr(number)) != Decimal(text)
        return number


def _whole(text: str) -> int | str:
    return int(text) if len(text) <= _MOST_DIGITS else text


def _item(said: Any) -> Any:
    """Return the item of DynamoDB that a line holds.

    A line of another kind is returned as it is. None: the item was deleted.
    """
    if not isinstance(said, dict):
        return said
    for name in ("Item", "NewImage"):
        if isinstance(said.get(name), dict):
            return said[name]
    return None if set(said) >= _INCREMENTAL else said


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


def _draft(said: object) -> EventDraft:
    """Return the event, without what cannot be part of one.

    Raises InvalidArgument if the event cannot be understood.
    """
    if not isinstance(said, dict):
        raise InvalidArgument([FieldViolation("event", "must be a JSON object")])
    fields = _carried(said)
    left_out: dict[str, str] = {}
    while True:
        violations: list[FieldViolation] = []
        cleaned: list[FieldViolation] = []
        draft, _ = read_old_event(fields, _LIMITS, violations, cleaned, required=("trace_id",))
        refused = _fields_of(violations)
        if refused & _MEANING or not refused <= {OLDER_NAMES.get(name, name) for name in fields}:
            raise InvalidArgument(violations)
        if not refused:
            break
        left_out |= dict.fromkeys(refused, _REFUSED)
        fields = {name: value for name, value in fields.items() if OLDER_NAMES.get(name, name) not in refused}
    left_out |= {note.field.removeprefix("event."): note.description for note in cleaned}
    if left_out:
        draft = replace(draft, meta={**(draft.meta or {}), _LEFT_OUT: left_out})
    bad_id: list[FieldViolation] = []
    check_id("event.trace_event_id", draft.trace_event_id, _LIMITS, bad_id)
    if bad_id:
        content = json.dumps(said, sort_keys=True)
        draft = replace(draft, trace_event_id=derived_event_id("import", draft.trace_id, content))
    return replace(
        draft,
        domain=draft.domain[: _LIMITS.name_length],
        domain_id=draft.domain_id[: _LIMITS.domain_id_length],
        component=draft.component[: _LIMITS.name_length] or _UNKNOWN,
        start_time=draft.start_time or draft.end_time,
    )


def _fields_of(violations: Iterable[FieldViolation]) -> set[str]:
    return {name for violation in violations for name in _EVENT_FIELD.findall(violation.field)}


#: The key of meta that names the fields that were left out, as it does for events of the client library.
_LEFT_OUT = "left_out"
_REFUSED = "refused"
_UNSAID = EventDraft()


def _without(draft: EventDraft, names: Iterable[str]) -> EventDraft:
    """Return the event without these fields, which its meta names."""
    draft = replace(draft, **{name: getattr(_UNSAID, name) for name in names})
    earlier = (draft.meta or {}).get(_LEFT_OUT)
    named = dict.fromkeys(sorted(names), _REFUSED) | (earlier if isinstance(earlier, dict) else {})
    return replace(draft, meta={**(draft.meta or {}), _LEFT_OUT: named})


def _carried(value: Any) -> Any:
    """Return the value as gRPC carries it exactly: an integer that a double would round becomes a text."""
    if isinstance(value, dict):
        return {key: _carried(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_carried(item) for item in value]
    if isinstance(value, int) and abs(value) > _EXACT:
        return str(value)
    return value


def _no_value() -> InvalidArgument:
    return InvalidArgument([FieldViolation("Item", 'has a value that is none of DynamoDB, such as {"S": "text"}')])


_COLUMNS = ("trace_id", "place", "start", "file", "number", "said", "domain", "domain_id")
#: Where in its trace an event comes that names no time.
_LAST = "9999-12-31"


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
        place = int(draft.trace_status is not TraceStatus.STARTED)
        self._connection.execute(
            "INSERT INTO lines VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                draft.trace_id,
                place,
                _LAST if draft.start_time is None else draft.start_time.isoformat(timespec="microseconds"),
                line.file,
                line.number,
                json.dumps(line.said),
                draft.domain or None,
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
            "SELECT file, number, said, kind, named FROM lines JOIN (SELECT trace_id, min(start) AS began, "
            "max(domain) AS kind, max(domain_id) AS named FROM lines GROUP BY trace_id) USING (trace_id) "
            "ORDER BY began, trace_id, place, start, lines.rowid"
        )
        for file, number, text, kind, named in rows:
            said = json.loads(text)
            draft = _draft(said)
            if not draft.domain_id:
                # What says no domain_id is of the trace's: an update takes it over by itself, a first event has to say.
                draft = replace(draft, domain_id=named or _UUID_AT_END.sub("", draft.trace_id) or draft.trace_id)
            draft = replace(draft, domain=draft.domain or kind or _UNKNOWN)
            yield Line(file, number, said, draft)


@contextmanager
def sorting() -> Iterator[Sorted]:
    """Give a place to sort lines in, for as long as it is needed."""
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(Path(folder) / "lines.db")) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        yield Sorted(connection)
