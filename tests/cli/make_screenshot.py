"""Makes docs/watch.svg: what `watch` shows of a trace that runs, as it stands on the screen of a terminal."""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

import pyte
from command_line import COMMAND, Traces, serving
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.style import Style
from rich.text import Text
from terminal import Terminal

from status_grpc import ErrorDetail, StatusClient

PICTURE = Path(__file__).parents[2] / "docs" / "watch.svg"
_TRACE_ID = "bike-trips-1f0cb0b4-9c46-5f0e-8b1b-0d2f6a1e7c55"
_COLUMNS = 80
# Whoever looks at the picture should not have to load a font from elsewhere.
_FORMAT = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def capture(environment: dict[str, str], folder: Path) -> pyte.Screen:
    """Return the terminal's screen while the third step of a trace is running."""
    environment = environment | {"TERM": "xterm-256color"}
    with serving(environment, folder) as address, StatusClient(address) as client:
        traces = Traces(client)
        path = "raw/green/bike-trips/version=1/trips.csv"
        traces.create(trace_id=_TRACE_ID, domain_id="bike-trips/1", operation="upload", s3_path=path)
        command = [*COMMAND, "watch", _TRACE_ID, "--server", address]
        terminal = Terminal(command, environment, columns=_COLUMNS)
        validating = {"component": "csv-validator", "operation": "validate", "step_id": "s-1"}
        traces.update(_TRACE_ID, **validating)
        terminal.expect("validate")
        error = ErrorDetail({"en": "Row 3 has no price"})
        now = datetime.now(UTC)
        traces.update(_TRACE_ID, **validating, end_time=now, duration=timedelta(seconds=3), errors=[error])
        traces.update(_TRACE_ID, component="csv-to-parquet", operation="convert", step_id="s-2")
        terminal.expect("convert")
        terminal.expect("last heard 2 s ago")
        screen = terminal.emulator
        terminal.terminate()
        terminal.end()
    return screen


def svg(screen: pyte.Screen) -> str:
    """Return the screen as a picture."""
    console = Console(file=io.StringIO(), record=True, width=_COLUMNS, force_terminal=True, color_system="standard")
    for row, line in enumerate(screen.display):
        if line.strip():
            console.print(Text.assemble(*_pieces(screen, row)))
    title = f"status-grpc watch {_TRACE_ID}"
    return console.export_svg(title=title, code_format=_FORMAT, unique_id="watch")


def _pieces(screen: pyte.Screen, row: int) -> Iterator[tuple[str, Style]]:
    chars = [screen.buffer[row][column] for column in range(_COLUMNS)]
    for (color, bold), run in groupby(chars, key=lambda char: (char.fg, char.bold)):
        named = {"default": None, "brown": "yellow"}.get(color, color)
        yield "".join(char.data for char in run), Style(color=named, bold=bold)


def words(picture: str) -> list[str]:
    """Return what is written in a picture, without what differs from one time to the next: times, the spinner."""
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", picture)
    return [word for text in texts for word in re.sub(r"&#160;|[\d.]+|[\u2800-\u28ff]", " ", text).split()]


def main() -> None:
    """Write the picture anew."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STATUS_GRPC_")}
    with tempfile.TemporaryDirectory() as folder:
        PICTURE.write_text(svg(capture(kept | {"LC_ALL": "C.UTF-8", "TZ": "UTC"}, Path(folder))), encoding="utf-8")


if __name__ == "__main__":
    main()
