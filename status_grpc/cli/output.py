"""What commands write to standard output: tables for people, JSON for programs; and asides on standard error."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime

import click

from status_grpc.cli.texts import pad, printable, width

# What JSON lets pass unescaped and a terminal might not: DEL, the C1 controls, and what reorders a line.
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_COLORS = {"FAILED": "red", "OK": "green"}


def write_json(value: object) -> None:
    """Write one JSON value on one line."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, ensure_ascii=not utf8, separators=(", ", ": "))
    write(_UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def write(line: str = "") -> None:
    """Write one line of data, at once: whoever reads a pipe waits for it."""
    click.echo(line, color=_color())


def aside(line: str) -> None:
    """Tell a person something that is not data."""
    click.echo(line, err=True, color=_color())


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


def local_time(time: datetime | None) -> str:
    """Return the time as it is on this machine's clock, to the second."""
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


def write_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table; as a list of fields for each row when the terminal is too narrow for it."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(width(row[index]) for row in (headers, *cells)) for index in range(len(headers))]
    if on_terminal() and sum(widths) + 2 * len(widths) - 2 > shutil.get_terminal_size().columns:
        for row in cells:
            write_fields(list(zip(headers, row, strict=True)))
            write()
        return
    write(bold(_line(headers, widths)))
    for row in cells:
        write(_line([colored_outcomes(cell, columns) for cell, columns in zip(row, widths, strict=True)], widths))


def colored_outcomes(text: str, columns: int = 0) -> str:
    """Return the text, padded, in a color if it is an outcome."""
    return colored(text, pad(text, columns)) if text in _COLORS else pad(text, columns)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(pad(cell, columns) for cell, columns in zip(cells, widths, strict=True)).rstrip()


def _color() -> bool | None:
    """Return False where no color is wanted (https://no-color.org); None lets click look at the stream."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def make_streams_safe() -> None:
    """Let characters that the terminal's encoding does not have come out as escapes, not as an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
