"""Claims: which trace an object belongs to, settled once however many routers are told of the object at a time.

A claim is an event of the trace. Its id is made from the object, so that an object that has claimed a trace is found to
have; and it is recorded only if nothing was recorded since the trace was seen to be unclaimed, so that no two objects
claim the same one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from status_grpc.aws.arrivals import ArrivedObject
from status_grpc.aws.errors import Unroutable
from status_grpc.aws.recorded import are_recorded
from status_grpc.client.sync import StatusClient
from status_grpc.domain.errors import AlreadyExists, PathNotFound, SequenceMismatch, TraceNotFound, Unavailable
from status_grpc.domain.events import EventDraft, TraceEvent
from status_grpc.domain.ids import derived_event_id, mint_trace_id

#: What marks an event as a claim: the key in its `meta` under which the object is.
CLAIMED_OBJECT = "claimed_object"

#: How many traces of a path the service names at most.
_MOST_TRACES = 100
#: How often others may report to a trace between a look at it and its claim, until the message has to come again.
_MOST_ATTEMPTS = 100
#: How often to look for a trace that may be being created, in seconds.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


@dataclass(frozen=True, slots=True)
class Claim:
    """The trace that belongs to the object, and whether that was settled only now."""

    trace_id: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class _Open:
    """A trace that nothing had claimed at this sequence."""

    trace_id: str
    sequence: int


class Claims:
    """Finds and claims the traces of objects. `patience`: how many seconds to wait for one that is being created."""

    def __init__(self, client: StatusClient, *, component: str = "pipeline-router", patience: float = 5.0) -> None:
        self._client = client
        self._component = component
        self._patience = patience

    def claim(self, arrived: ArrivedObject, path: str, named: str = "") -> Claim | None:
        """Return the trace of this object, claiming one if it has none yet; None if there is none to claim.

        That is `named`, if that is a trace created with this path that is neither done nor claimed; else the oldest
        such trace. Raises Unroutable when there are too many traces of the path to know which is the oldest, and
        StatusError.
        """
        deadline = time.monotonic() + self._patience
        pause = _SHORTEST_PAUSE
        search = _Search(self._client, arrived, path, self._component)
        while True:
            left = deadline - time.monotonic()
            claim = search.claim(named, named_may_come=left > 0)
            if claim is not None:
                return claim
            if left <= 0:
                search.check_complete()
                return None
            time.sleep(min(pause, left))
            pause = min(pause * 2, _LONGEST_PAUSE)

    def create(self, arrived: ArrivedObject, path: str, draft: EventDraft, named: str = "") -> Claim | None:
        """Create a trace that is this object's from its first event on.

        It gets the id `named` if no trace has it. If there is a trace to claim by now, that is claimed.
        """
        event_id = claim_id(arrived)
        meta = {**(draft.meta or {}), CLAIMED_OBJECT: _described(arrived)}
        draft = replace(draft, trace_event_id=event_id, s3_path=path, meta=meta)
        minted = mint_trace_id(draft.domain_id, event_id)
        if named:
            claim = self._create(replace(draft, trace_id=named))
            if claim is None:
                # Somebody else's. If it was created only now, it may be the one that was waited for.
                claim = _Search(self._client, arrived, path, self._component).claim(named, named_may_come=False)
            if claim is not None:
                return claim
        return self._create(replace(draft, trace_id=minted))

    def _create(self, draft: EventDraft) -> Claim | None:
        """Create the trace; None if its id is that of another one."""
        try:
            self._client.create(draft)
        except AlreadyExists:
            # Perhaps in other words, by another version of this program.
            if not are_recorded(self._client, [(draft.trace_id, draft.trace_event_id)])[0]:
                return None
            return Claim(draft.trace_id, is_new=False)
        return Claim(draft.trace_id, is_new=True)


def claim_id(arrived: ArrivedObject) -> str:
    """Return the id of the event with which this object claims its trace."""
    return derived_event_id("claim", *arrived.identity)


def _described(arrived: ArrivedObject) -> dict[str, Any]:
    # Nothing that could differ between two tellings of the same write: the same id needs the same content.
    said = {"bucket": arrived.bucket, "key": arrived.key, "version": arrived.version, "sequencer": arrived.sequencer}
    return {name: value for name, value in said.items() if value}


class _Search:
    """One look at the traces of a path."""

    def __init__(self, client: StatusClient, arrived: ArrivedObject, path: str, component: str) -> None:
        self._client = client
        self._path = path
        self._draft = EventDraft(
            trace_event_id=claim_id(arrived),
            component=component,
            operation="route",
            meta={CLAIMED_OBJECT: _described(arrived)},
        )
        # Traces that cannot be claimed any more: neither an end nor a claim is taken back.
        self._closed: set[str] = set()
        self._is_complete = True

    def claim(self, named: str, *, named_may_come: bool) -> Claim | None:
        """Return the claim that stands or can be made now.

        While the trace that is named may still come, no other is claimed: that may be another upload's.
        """
        if named:
            claim = self._first_of(lambda: [named])
            if claim is not None or (named_may_come and named not in self._closed):
                return claim
        return self._first_of(self._of_path)

    def check_complete(self) -> None:
        """Raise Unroutable if there may be traces that this search could not see."""
        if not self._is_complete:
            raise Unroutable(
                f"{_MOST_TRACES} traces or more were created with the path {self._path!r}: the oldest are not seen."
            )

    def _first_of(self, candidates: Callable[[], Sequence[str]]) -> Claim | None:
        """Claim the first of the candidates that can be claimed, unless this object has claimed one already."""
        while True:
            # The order of these two makes it safe. What is closed when it is looked at is not claimed later: if this
            # object has claimed it, the question after that finds out. And of what is open, all try the same first.
            looked_at = candidates()
            found = [state for trace_id in looked_at if (state := self._look_at(trace_id)) is not None]
            mine = self._mine({*self._of_path(), *looked_at})
            if mine:
                return Claim(mine, is_new=False)
            if not found:
                return None
            claim = self._take(found[0])
            if claim is not None:
                return claim
            # Somebody else was quicker, so that there is one candidate less.

    def _take(self, state: _Open) -> Claim | None:
        """Claim an open trace; returns None if it is closed by now."""
        for _ in range(_MOST_ATTEMPTS):
            try:
                self._client.update(self._draft, trace_id=state.trace_id, expected_sequence=state.sequence)
            except AlreadyExists:
                return Claim(state.trace_id, is_new=False)
            except SequenceMismatch:
                # A step may have reported, or another router claimed.
                news = self._client.get_trace(state.trace_id, after_sequence=state.sequence)
                if news.trace.done or any(map(_is_claim, news.events)):
                    return None
                state = _Open(state.trace_id, news.trace.last_sequence)
            else:
                return Claim(state.trace_id, is_new=True)
        raise Unavailable(f"others keep reporting to trace {state.trace_id!r}: it cannot be claimed")

    def _of_path(self) -> Sequence[str]:
        """Return the traces of the path, oldest first."""
        try:
            trace_ids = self._client.get_by_path(self._path).trace_ids
        except PathNotFound:
            return ()
        self._is_complete = len(trace_ids) < _MOST_TRACES
        return trace_ids[::-1]

    def _mine(self, trace_ids: set[str]) -> str:
        """Return the trace that this object has claimed; empty if there is none."""
        asked = sorted(trace_ids)
        answers = are_recorded(self._client, [(trace_id, self._draft.trace_event_id) for trace_id in asked])
        return next((trace_id for trace_id, claimed in zip(asked, answers, strict=True) if claimed), "")

    def _look_at(self, trace_id: str) -> _Open | None:
        """Return the trace if it is open: created with the path, not done, and claimed by nothing."""
        if trace_id in self._closed:
            return None
        try:
            history = self._client.get_trace(trace_id, max_events=1)
            if not history.trace.done and history.events[0].s3_path == self._path:
                history = self._client.get_trace(trace_id)
                if not history.trace.done and not any(map(_is_claim, history.events)):
                    return _Open(trace_id, history.events[-1].sequence)
        except TraceNotFound:
            return None  # not yet
        self._closed.add(trace_id)
        return None


def _is_claim(event: TraceEvent) -> bool:
    return event.meta is not None and CLAIMED_OBJECT in event.meta
