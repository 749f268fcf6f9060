"""The trace context of who calls (W3C Trace Context): kept with what it reports, when the edges say so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

from status_grpc.domain.events import EventDraft

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE_CHARACTERS = 512

_caller: ContextVar[Mapping[str, str] | None] = ContextVar("caller", default=None)


@contextmanager
def called_with(headers: Mapping[str, str]) -> Iterator[None]:
    """Within this, what is reported is kept with the trace context of these headers, if they carry a valid one."""
    token = _caller.set(_context_of(headers))
    try:
        yield
    finally:
        _caller.reset(token)


def _context_of(headers: Mapping[str, str]) -> dict[str, str] | None:
    parent, state = headers.get(TRACEPARENT, ""), headers.get(TRACESTATE, "")
    if not _TRACEPARENT.fullmatch(parent):
        return None
    context = {TRACEPARENT: parent}
    if state and len(state) <= _TRACESTATE_CHARACTERS and state.isascii() and state.isprintable():
        context[TRACESTATE] = state
    return context


def caller_context() -> Mapping[str, str] | None:
    """Return the trace context of who calls, None if there is none."""
    return _caller.get()


def with_context(draft: EventDraft, context: Mapping[str, str] | None) -> EventDraft:
    """Return the draft with the caller's trace context in its `meta`, unless the caller has put one there itself."""
    if context is None:
        return draft
    meta = draft.meta or {}
    if TRACEPARENT in meta or TRACESTATE in meta:
        return draft
    # What the edge has kept is the encoding without it.
    return replace(draft, meta={**meta, **context}, encodings={})
