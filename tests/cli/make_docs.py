"""Makes the second half of docs/cli.md, from the code: what `watch` looks like, and the --help of each command."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from rich.console import Console

from status_grpc.cli.live import LiveView
from status_grpc.cli.main import commands
from status_grpc.domain.events import ErrorDetail, TraceEvent, TraceEventStatus, TraceStatus
from status_grpc.domain.traces import Trace, apply

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"
_MARKER = "<!-- From here on: python tests/cli/make_docs.py -->\n"
_NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
# Their help is the server's settings.
_NOT_HERE = {"serve"}


def generated() -> str:
    """Return the part of the file that is made."""
    parts = [
        "\n## What watch looks like\n",
        "On a terminal, while the trace runs (`make screenshot` takes this anew):\n",
    ]
    parts += ["![The steps of a trace, one of them running](watch.svg)\n"]
    parts += ["The same as text, after a server that was away:\n", *_screens()]
    parts += ["\n## Commands\n", "`status-grpc serve --help` lists the server's settings.\n"]
    root = click.Context(commands, info_name="status-grpc", terminal_width=100, max_content_width=100)
    for name in commands.list_commands(root):
        if name not in _NOT_HERE:
            command = commands.get_command(root, name)
            assert command is not None
            parts += _help(command, root, name)
    return "\n".join(parts)


def _help(command: click.Command, parent: click.Context, name: str) -> list[str]:
    context = click.Context(command, parent=parent, info_name=name, terminal_width=100, max_content_width=100)
    parts = [f"### {context.command_path}\n", f"```text\n{command.get_help(context)}\n```\n"]
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            subcommand = command.get_command(context, below)
            assert subcommand is not None
            parts += _help(subcommand, context, below)
    return parts


class _Still(LiveView):
    """A view at one moment."""

    moment = _NOON

    def _now(self) -> datetime:
        return self.moment

    def _spinner(self) -> str:
        return "⠹"

    def shown(self) -> str:
        self._console.file = io.StringIO()
        self._console.print(self._frame())
        text = self._console.file.getvalue()
        return "\n".join(line.rstrip() for line in text.splitlines())


def _screens() -> list[str]:
    view = _Still("", "en", Console(file=io.StringIO(), width=100, height=40, force_terminal=False))
    trace: Trace | None = None
    screens = []
    for event in _events():
        trace = apply(trace, event)
        view.event(event)
        view._trace, view.moment = trace, event.record_time + timedelta(seconds=3.2)
        if event.component == "csv-to-parquet" and event.end_time is None:
            view.notice("Connected again, resumed after event 3.")
            screens += [f"```text\n{view.shown()}\n```\n", "At its end, which stays on the screen:\n"]
    assert trace is not None
    view.end(trace)
    marks = (
        "\n`•` is what was reported without an end; it becomes `✓` when the trace finishes OK. `!` is OK with errors."
    )
    return [*screens, f"```text\n{view.shown()}\n```", marks]


def _events() -> list[TraceEvent]:
    validated = ErrorDetail({"en": "Row 3 has no price"})
    ok, failed = TraceEventStatus.OK, TraceEventStatus.FAILED
    return [
        _event(1, 0, "data-uploader", "upload", TraceStatus.STARTED, ok),
        _event(2, 2, "csv-validator", "validate", TraceStatus.CONTINUE, ok, began=2),
        _event(3, 5, "csv-validator", "validate", TraceStatus.CONTINUE, ok, began=2, ended=5, errors=(validated,)),
        _event(4, 6, "csv-to-parquet", "convert", TraceStatus.CONTINUE, ok, began=6),
        _event(5, 16, "csv-to-parquet", "convert", TraceStatus.CONTINUE, ok, began=6, ended=16),
        _event(6, 17, "state-machine-event", "execution", TraceStatus.FINISHED, failed),
    ]


def _event(
    sequence: int,
    at: int,
    component: str,
    operation: str,
    trace_status: TraceStatus,
    outcome: TraceEventStatus,
    *,
    began: int | None = None,
    ended: int | None = None,
    errors: tuple[ErrorDetail, ...] = (),
) -> TraceEvent:
    return TraceEvent(
        trace_id="bike-trips-1f0cb0b4-9c46-5f0e-8b1b-0d2f6a1e7c55",
        trace_event_id=str(sequence),
        domain="dataset",
        domain_id="bike-trips/1",
        start_time=_NOON + timedelta(seconds=at if began is None else began),
        end_time=None if ended is None else _NOON + timedelta(seconds=ended),
        trace_status=trace_status,
        trace_event_status=outcome,
        component=component,
        operation=operation,
        s3_path="raw/green/bike-trips/version=1/trips.csv",
        errors=errors,
        step_id="" if began is None else component,
        sequence=sequence,
        record_time=_NOON + timedelta(seconds=at),
        run=1,
    )


def main() -> None:
    """Write the file anew."""
    written, _, _ = DOCS.read_text(encoding="utf-8").partition(_MARKER)
    DOCS.write_text(written + _MARKER + generated(), encoding="utf-8")


if __name__ == "__main__":
    main()
