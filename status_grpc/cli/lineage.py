"""`status-grpc lineage`: where a file comes from, what became of it, what a trace has read and made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from status_grpc.cli.connecting import with_client
from status_grpc.cli.json_forms import lineage_object
from status_grpc.cli.output import Cell, aside, local_time, write, write_json, write_table
from status_grpc.cli.parameters import format_option
from status_grpc.cli.texts import printable
from status_grpc.domain.lineage import Lineage, LineageDirection

if TYPE_CHECKING:
    from status_grpc.client.sync import StatusClient

_DIRECTIONS = {"up": LineageDirection.UPSTREAM, "down": LineageDirection.DOWNSTREAM}


@click.command()
@click.argument("start", metavar="URI|TRACE")
@click.option(
    "--direction",
    type=click.Choice(list(_DIRECTIONS)),
    default="up",
    show_default=True,
    help="up: where it comes from. down: what became of it.",
)
@click.option("--depth", type=click.IntRange(min=1), help="How many edges away at most. [default: 100, at most 200]")
@click.option("--limit", type=click.IntRange(min=1), help="How many edges at most. [default: 1000, at most 10000]")
@click.option("--version", default="", help="Only this version of the dataset.")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["dataset", "trace"]),
    help="What URI|TRACE is. [default: a dataset if it has a slash, else a trace]",
)
@format_option("table", "json", "dot", "mermaid", "openlineage", "svg")
@with_client
def lineage(
    client: StatusClient,
    /,
    start: str,
    direction: str,
    depth: int | None,
    limit: int | None,
    version: str,
    kind: str | None,
    form: str,
) -> None:
    """Tell where a dataset comes from or what became of it, or what a trace has read or made.

    json is one object {"direction", "edges", "traces", "truncated"}; dot is for Graphviz, mermaid for Markdown, svg a
    picture. openlineage tells every trace of the lineage in RunEvents, one a line.

    \b
    Examples:
      status-grpc lineage s3://lake/processed/bikes.parquet
      status-grpc lineage s3://lake/raw/bikes.csv --direction down --depth 1
      status-grpc lineage my-dataset-1f0c... --direction down --format svg > lineage.svg
    """
    is_trace = kind == "trace" if kind else "/" not in start
    way = _DIRECTIONS[direction]
    found = client.get_lineage(
        "" if is_trace else start,
        trace_id=start if is_trace else "",
        version=version,
        direction=way,
        max_depth=depth or 0,
        max_edges=limit or 0,
    )
    if form == "json":
        write_json(lineage_object(found, way))
    elif form == "openlineage":
        for event in _run_events(client, found):
            write_json(event)
    elif form == "table":
        _write_table(found)
    else:
        write(_picture(form)(start, found, way))
    if not found.edges:
        aside(f"No event has said where {printable(start)} {'comes from' if direction == 'up' else 'went'}.")
    if found.truncated:
        aside("There is more: see --depth and --limit.")


def _picture(form: str) -> Callable[[str, Lineage, LineageDirection], str]:
    if form == "svg":
        from status_grpc.cli.lineage_svg import svg

        return svg
    from status_grpc.cli.lineage_graph import dot, mermaid

    return dot if form == "dot" else mermaid


def _run_events(client: StatusClient, found: Lineage) -> Iterator[dict[str, Any]]:
    from status_grpc.cli.reading import read_history
    from status_grpc.wire.openlineage import run_events

    for trace in found.traces:
        yield from run_events(*read_history(client, trace.trace_id))


def _write_table(found: Lineage) -> None:
    traces = {trace.trace_id: trace for trace in found.traces}
    rows: list[list[Cell]] = [
        [
            str(edge.depth),
            edge.trace_id,
            "wrote" if edge.written else "read",
            edge.dataset.uri,
            edge.dataset.version,
            local_time(edge.record_time),
            traces[edge.trace_id].outcome if edge.trace_id in traces else "",
        ]
        for edge in found.edges
    ]
    write_table(("Depth", "Trace ID", "Did", "Dataset", "Version", "Recorded", "Outcome"), rows)
