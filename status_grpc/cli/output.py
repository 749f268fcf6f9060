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
from datetime import datetime
from itertools import zip_longest
from typing import TextIO

import click

from status_grpc.cli.texts import pad, printable, width

# What JSON lets pass unescaped and a terminal might not: DEL, the C1 controls, what reorders a line, and lone
# surrogates, which UTF-8 cannot encode.
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_COLORS = {"FAILED": "red", "OK": "green"}


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


def colored(word: str, text: str | None = None) -> str:
    """Return the text (the word itself, by default) in the color of this outcome."""
    return click.style(text or word, fg=_COLORS.get(word))


def bold(text: str) -> str:
    """Return the text so that it stands out."""
    return click.style(text, bold=True)


def dim(text: str) -> str:
    """Return the text so that it stands back."""
    return click.style(text, dim=True)


def local_time(time: datetime | str | None) -> str:
    """Return the time as it is on this machine's clock, to the second."""
    if isinstance(time, str):
        time = datetime.fromisoformat(time)
    return "" if time is None else time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def local_time_exact(time: datetime) -> str:
    """Return the time as it is on this machine's clock, to the millisecond."""
    local = time.astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03d}"


def write_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Write names and values, one pair a line; those without a value are left out."""
    columns = max(len(name) for name, _ in fields)
    for name, value in fields:
        if value:
            write(f"{bold(pad(name, columns))}  {colored_outcomes(printable(value))}")


def write_table(headers: Sequence[str], rows: Iterable[Sequence[str | list[str]]]) -> None:
    """Write a table; as a list of fields for each row when the terminal is too narrow for it.

    A cell is a text on one line, or the list of its lines.
    """
    cells = [[_lines(cell) for cell in row] for row in rows]
    widths = [
        max(width(line) for line in (header, *(line for row in cells for line in row[index])))
        for index, header in enumerate(headers)
    ]
    if on_terminal() and sum(widths) + 2 * len(widths) - 2 > shutil.get_terminal_size().columns:
        for row in cells:
            write_fields([(header, " ".join(cell)) for header, cell in zip(headers, row, strict=True)])
            write()
        return
    titles = [pad(header, columns) for header, columns in zip(headers, widths, strict=True)]
    write(bold("  ".join(titles).rstrip()))
    for row in cells:
        for lines in zip_longest(*row, fillvalue=""):
            padded = [colored_outcomes(line, columns) for line, columns in zip(lines, widths, strict=True)]
            write("  ".join(padded).rstrip())


def _lines(cell: str | list[str]) -> list[str]:
    return [printable(line) for line in ([cell] if isinstance(cell, str) else cell)] or [""]


def write_csv(names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write comma-separated values. A spreadsheet has no use for control characters either."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([printable(value) for value in row] for row in rows)
    write(text.getvalue().rstrip("\n"))


def colored_outcomes(text: str, columns: int = 0) -> str:
    """Return the text, in a color if it is an outcome, with as many spaces behind it as fill the columns."""
    spaces = " " * (columns - width(text))
    return (colored(text) if text in _COLORS else text) + spaces


def _has_colors(stream: TextIO) -> bool:
    """Return whether colors may be written to the stream (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def make_streams_safe() -> None:
    """Let characters that the terminal's encoding does not have come out as question marks, not as an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
