"""What commands write to standard output: tables for people, JSON for programs; and asides on standard error."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from typing import TextIO, TypeAlias

import click

from status_grpc.cli.texts import pad, printable, width
from status_grpc.domain.events import Outcome

# What JSON lets pass unescaped and a terminal might not: DEL, the C1 controls, what reorders a line, and lone
# surrogates, which UTF-8 cannot encode.
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_COLORS = {Outcome.RUNNING: "cyan", Outcome.OK: "green", Outcome.FAILED: "red"}


@dataclass(frozen=True, slots=True)
class ColoredText:
    """A text on one line in the color of an outcome."""

    text: str
    outcome: Outcome


#: A text on one line, the list of its lines, or an outcome, which is shown in its color.
Cell: TypeAlias = str | list[str] | Outcome | ColoredText


def write_json(value: object) -> None:
    """Write one JSON value on one line."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, ensure_ascii=not utf8, separators=(", ", ": "))
    write(_UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def write(line: str = "") -> None:
    """Write one line of data, at once: whoever reads a pipe waits for it."""
    # Not click.echo: it takes a terminal without UTF-8 for a mistake, and writes UTF-8 to it.
    sys.stdout.write(f"{line if _has_colors(sys.stdout) else click.unstyle(line)}\n")
    sys.stdout.flush()


def aside(line: str) -> None:
    """Tell a person something that is not data."""
    sys.stderr.write(f"{line if _has_colors(sys.stderr) else click.unstyle(line)}\n")


def on_terminal() -> bool:
    """Return whether a person reads what is written."""
    return sys.stdout.isatty()


def colored(outcome: Outcome, text: str | None = None) -> str:
    """Return the text in the color of the outcome.

    `text` defaults to the outcome itself.
    """
    return click.style(text or str(outcome), fg=_COLORS[outcome])


def bold(text: str) -> str:
    """Return the text so that it stands out."""
    return click.style(text, bold=True)


def dim(text: str) -> str:
    """Return the text so that it stands back."""
    return click.style(text, dim=True)


def local_time(time: datetime | str | None) -> str:
    """Return the local time with its offset, to the second."""
    if isinstance(time, str):
        time = datetime.fromisoformat(time)
    return "" if time is None else _local(time).isoformat(" ", "seconds")


def local_time_exact(time: datetime) -> str:
    """Return the local time with its offset, to the millisecond."""
    return _local(time).isoformat(" ", "milliseconds")


def _local(time: datetime) -> datetime:
    try:
        return time.astimezone()
    except (OverflowError, ValueError):  # the first and the last day of the calendar
        return time.astimezone(UTC)


def write_fields(fields: Sequence[tuple[str, Cell]]) -> None:
    """Write names and values, one pair a line; those without a value are left out."""
    columns = max(len(name) for name, _ in fields)
    for name, value in fields:
        if value:
            write(f"{bold(pad(name, columns))}  {_styled(' '.join(_lines(value)), value)}")


def write_table(headers: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Write a table.

    A terminal that is too narrow for it gets a list of fields for each row.
    """
    rows = list(rows)
    cells = [[_lines(cell) for cell in row] for row in rows]
    widths = [
        max(width(line) for line in (header, *(line for row in cells for line in row[index])))
        for index, header in enumerate(headers)
    ]
    if on_terminal() and sum(widths) + 2 * len(widths) - 2 > shutil.get_terminal_size().columns:
        for row in rows:
            write_fields(list(zip(headers, row, strict=True)))
            write()
        return
    titles = [pad(header, columns) for header, columns in zip(headers, widths, strict=True)]
    write(bold("  ".join(titles).rstrip()))
    for row, texts in zip(rows, cells, strict=True):
        for lines in zip_longest(*texts, fillvalue=""):
            padded = [_styled(line, cell, columns) for line, cell, columns in zip(lines, row, widths, strict=True)]
            write("  ".join(padded).rstrip())


def _lines(cell: Cell) -> list[str]:
    """Return the printable lines of the cell, at least one."""
    if isinstance(cell, list):
        return [printable(line) for line in cell] or [""]
    return [printable(cell.text if isinstance(cell, ColoredText) else str(cell))]


def _styled(line: str, cell: Cell, columns: int = 0) -> str:
    """Return a line of the cell, colored and padded."""
    spaces = " " * (columns - width(line))
    if line and isinstance(cell, Outcome | ColoredText):
        line = colored(cell if isinstance(cell, Outcome) else cell.outcome, line)
    return line + spaces


def write_csv(names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write comma-separated values. A spreadsheet has no use for control characters either."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([printable(value) for value in row] for row in rows)
    write(text.getvalue().rstrip("\n"))


def _has_colors(stream: TextIO) -> bool:
    """Return whether colors may be written to the stream (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def make_streams_safe() -> None:
    """Let characters that the terminal's encoding does not have come out as question marks, not as an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
