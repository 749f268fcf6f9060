"""Data lineage: which datasets the events of a trace say that it has read and written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from status_grpc.domain.events import (
    Dataset,
    EventDraft,
    JsonObject,
    Outcome,
    TraceEvent,
    TraceEventStatus,
    TraceStatus,
    trace_outcome,
)
from status_grpc.domain.limits import Limits


class LineageDirection(StrEnum):
    """Which way lineage is followed: to where something comes from, or to what became of it."""

    UPSTREAM = "UPSTREAM"
    DOWNSTREAM = "DOWNSTREAM"


@dataclass(frozen=True, slots=True)
class LineageEdge:
    """A trace has read or written a dataset.

    `sequence` is the first event of the trace that said so, `record_time` when it was recorded, `depth` how many edges
    this one is away from where the lineage begins, from 1.
    """

    trace_id: str
    written: bool
    dataset: Dataset
    sequence: int
    record_time: datetime
    depth: int


@dataclass(frozen=True, slots=True)
class LineageTrace:
    """What a lineage tells of a trace; `component` is that of its last event."""

    trace_id: str
    domain: str
    domain_id: str
    trace_status: TraceStatus
    trace_event_status: TraceEventStatus
    done: bool
    create_time: datetime
    finish_time: datetime | None
    component: str

    @property
    def outcome(self) -> Outcome:
        """As `Trace.outcome`."""
        return trace_outcome(self.done, self.trace_event_status)


@dataclass(frozen=True, slots=True)
class Lineage:
    """A graph of traces and datasets: its edges, the nearest first, and the traces that they are about.

    `truncated`: there is more than the limits of the question let through.
    """

    edges: tuple[LineageEdge, ...]
    traces: tuple[LineageTrace, ...]
    truncated: bool


#: The keys of `status_body` under which programs said what they read and wrote before events had `inputs` and
#: `outputs`. Those of files hold paths; the others may hold anything, and count only where it is a URI.
_INPUT_KEYS = ("files_incoming", "files", "input")
_OUTPUT_KEYS = ("files_outgoing", "output")
_KEYS_OF_FILES = frozenset({"files_incoming", "files", "files_outgoing"})
#: All of them: a body that has none of these needs no further look.
CONVENTION_KEYS = frozenset({*_INPUT_KEYS, *_OUTPUT_KEYS})

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S")
#: Control characters, and halves of characters.
_NEVER = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
#: What is said in the older way is held to the limits that `inputs` and `outputs` have by default.
_LIMITS = Limits()


def says_lineage(event: EventDraft | TraceEvent) -> bool:
    """Return whether an event may say what it has read or written: most say nothing, and this is what that costs."""
    if event.inputs or event.outputs:
        return True
    body = event.status_body
    if not body or CONVENTION_KEYS.isdisjoint(body):
        return False
    # A number of files, as some programs say it, names none.
    return any(isinstance(body[key], str | dict | list) for key in CONVENTION_KEYS.intersection(body))


def datasets_of(
    inputs: Sequence[Dataset], outputs: Sequence[Dataset], status_body: JsonObject | None
) -> tuple[list[Dataset], list[Dataset]]:
    """Return what an event has read and what it has written, each dataset once, in the order in which it says so.

    That is `inputs` and `outputs`, and behind them what the older convention says in `status_body`: `files_incoming`,
    `files` (what a step copied or looked at) and `input` were read, `files_outgoing` and `output` were written. Each
    of them holds a text, an object with `uri` and perhaps `version`, or a list of these. Under the keys of files a text
    counts if it is a URI (`scheme://...`) or a path (has a "/"; "N/A" is none); under `input` and `output`, where
    programs put all kinds of things, only if it is a URI. What does not count is left alone: the event has it.
    """
    read, written = dict.fromkeys(inputs), dict.fromkeys(outputs)
    if status_body and not CONVENTION_KEYS.isdisjoint(status_body):
        _add(read, status_body, _INPUT_KEYS)
        _add(written, status_body, _OUTPUT_KEYS)
    return list(read), list(written)


def _add(datasets: dict[Dataset, None], status_body: JsonObject, keys: Sequence[str]) -> None:
    for key in keys:
        for dataset in _said(status_body.get(key), paths_count=key in _KEYS_OF_FILES):
            if len(datasets) >= _LIMITS.datasets_per_event:
                return
            datasets[dataset] = None


def _said(value: Any, *, paths_count: bool) -> Iterator[Dataset]:
    for entry in value if isinstance(value, list) else (value,):
        uri, version = (entry.get("uri"), entry.get("version")) if isinstance(entry, dict) else (entry, "")
        if isinstance(uri, str) and _counts(uri, paths_count=paths_count):
            yield Dataset(uri, version if isinstance(version, str) and _is_version(version) else "")


def _counts(text: str, *, paths_count: bool) -> bool:
    if "://" in text:
        if not _URI.match(text):
            return False
    elif not paths_count or "/" not in text.strip("/") or text.upper() == "N/A":
        return False
    return text == text.strip() and not _NEVER.search(text) and len(text.encode()) <= _LIMITS.path_bytes


def _is_version(text: str) -> bool:
    return len(text) <= _LIMITS.name_length and not _NEVER.search(text)
