"""What a run found: a table for the terminal, everything for a file."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench import Row

HEADS = ("", "what", "value", "", "baseline", "", "ratio (lowest to highest)", "bar", "", "")


def table(rows: Sequence[Row]) -> str:
    """One line per row, numbers to the right, the note below its row."""
    cells = [HEADS[:-1], *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    numeric = {2, 4}

    def line(values: Sequence[str]) -> str:
        aligned = (
            value.rjust(width) if column in numeric else value.ljust(width)
            for column, (value, width) in enumerate(zip(values, widths, strict=True))
        )
        return "  ".join(aligned).rstrip()

    lines = [line(cells[0])]
    for row, values in zip(rows, cells[1:], strict=True):
        lines.append(line(values))
        if row.note:
            lines.append(f"{' ' * (widths[0] + 4)}{row.note}")
    return "\n".join(lines)


def markdown(rows: Sequence[Row], settings: dict[str, Any]) -> str:
    """The same for a document, with what the figures depend on."""
    lines = ["| | what | value | baseline | ratio (lowest to highest) | bar | |", "|---|---|--:|--:|---|---|---|"]
    for row in rows:
        name, what, value, unit, base, base_name, ratio, bar, met = _cells(row)
        baseline = f"{base} ({base_name})" if row.ratios or row.baseline else ""
        lines.append(f"| {name} | {what} | {value} {unit} | {baseline} | {ratio} | {bar} | {met} |")
        if row.note:
            lines.append(f"| | *{row.note}* | | | | | |")
    facts = [f"- {name}: {value}" for name, value in settings.items() if name != "packages"]
    packages = ", ".join(f"{name} {version}" for name, version in settings["packages"].items())
    return "\n".join([*lines, "", *facts, f"- packages: {packages}"])


def insert(document: Path, text: str) -> None:
    """Put the text between the two lines of a document that mark the place."""
    begin, end = "<!-- figures: begin -->", "<!-- figures: end -->"
    before, _, rest = document.read_text().partition(begin)
    _, _, after = rest.partition(end)
    document.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.workload,
        row.what,
        number(row.value),
        row.unit,
        number(row.baseline),
        row.baseline_name,
        _ratio(row),
        _bar(row),
        {None: "", True: "met", False: "MISSED"}[row.met],
    )


def _ratio(row: Row) -> str:
    if not row.ratios:
        return "-"
    return f"{row.ratio:.2f} ({min(row.ratios):.2f} to {max(row.ratios):.2f})"


def _bar(row: Row) -> str:
    if row.bar is None:
        return ""
    sign = ">=" if row.higher_is_better else "<="
    return f"{sign} {row.bar:g}" + (f" {row.unit}".rstrip() if row.bar_is == "value" else "")


def number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def write_json(path: Path, settings: dict[str, Any], rows: Sequence[Row], failures: dict[str, str]) -> None:
    """Everything, raw repetitions included."""
    content = {"settings": settings, "rows": [row.as_json() for row in rows], "failures": failures}
    path.write_text(json.dumps(_finite(content), indent=1) + "\n")


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value
