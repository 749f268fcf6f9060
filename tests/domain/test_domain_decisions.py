"""The state machine under any interleaving and duplication of writes.

A transaction sees what a store would show it: the traces it names and the event ids it asks about, nothing else. What
each write must come to is told by a model in this file that knows nothing of the code under test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from builders import FINISHED_OK, NOON, append, create
from hypothesis import given, settings
from hypothesis import strategies as st

from status_grpc.domain.decisions import (
    AppendEvent,
    Beat,
    Command,
    CreateTrace,
    Deciding,
    Decision,
    Heard,
    KnownEvent,
    Recorded,
    Replayed,
    keys_to_look_up,
)
from status_grpc.domain.errors import (
    AlreadyExists,
    SequenceMismatch,
    TraceExists,
    TraceFull,
    TraceNotDone,
    TraceNotFound,
)
from status_grpc.domain.events import TraceEvent, TraceEventStatus, TraceStatus
from status_grpc.domain.traces import Trace, apply

TRACES = ("a", "b")
EVENT_IDS = ("", "one", "two", "three")


class Held:
    """What has been committed: traces, and their events in the order they were recorded."""

    def __init__(self, events_per_trace: int = 1000) -> None:
        self.events_per_trace = events_per_trace
        self.traces: dict[str, Trace] = {}
        self.events: dict[str, list[TraceEvent]] = {}
        self.states: dict[str, list[Trace]] = {}
        self._known: dict[tuple[str, str], KnownEvent] = {}

    def commit(self, commands: Sequence[Command], now: datetime = NOON) -> list[Decision]:
        named = {command.trace_id for command in commands}
        asked = {(trace_id, key) for trace_id, keys in keys_to_look_up(commands).items() for key in keys}
        deciding = Deciding(
            {trace_id: self.traces[trace_id] for trace_id in named if trace_id in self.traces},
            {key: known for key, known in self._known.items() if key in asked},
            self.events_per_trace,
        )
        decisions = deciding.decide_all(commands, now=now)
        for trace_id in deciding.changed:
            self.traces[trace_id] = deciding.traces[trace_id]
        for event, content_hash, _ in deciding.recorded:
            key = event.trace_id, event.trace_event_id
            assert key not in self._known, "recorded twice"
            self._known[key] = KnownEvent(event.sequence, content_hash)
            self.events.setdefault(event.trace_id, []).append(event)
        for decision in decisions:
            if isinstance(decision, Recorded | Heard):
                self.states.setdefault(decision.trace.trace_id, []).append(decision.trace)
        return decisions


@dataclass
class ModelEvent:
    event_id: str
    content: tuple[Any, ...]
    run: int
    finished: bool


class Model:
    """What each write must come to, told in the words of the contract."""

    def __init__(self) -> None:
        self.traces: dict[str, list[ModelEvent]] = {}

    def expect(self, command: Command) -> object:
        """Return the error's class, or ("replayed" or "recorded", sequence), or "heard"; and note what is recorded."""
        events = self.traces.get(command.trace_id)
        if isinstance(command, Beat):
            return TraceNotFound if events is None else "heard"
        if isinstance(command, CreateTrace):
            return self._expect_create(events, command)
        if events is None:
            return TraceNotFound
        before = self._before(events, command)
        if before is not None:
            return before
        if command.expected_sequence not in (None, len(events)):
            return SequenceMismatch
        run = events[-1].run
        if command.new_run:
            if not any(event.finished for event in events if event.run == run):
                return TraceNotDone
            run += 1
        return self._note(events, command, run)

    def _expect_create(self, events: list[ModelEvent] | None, command: CreateTrace) -> object:
        if events is None:
            return self._note(self.traces.setdefault(command.trace_id, []), command, 1)
        before = self._before(events, command)
        return before if before in (AlreadyExists, ("replayed", 1)) else TraceExists

    def _before(self, events: list[ModelEvent], command: CreateTrace | AppendEvent) -> object:
        for sequence, event in enumerate(events, 1):
            if event.event_id == command.trace_event_id:
                same = event.content == content_of(command)
                return ("replayed", sequence) if same else AlreadyExists
        return None

    @staticmethod
    def _note(events: list[ModelEvent], command: CreateTrace | AppendEvent, run: int) -> object:
        finished = command.draft.trace_status is TraceStatus.FINISHED
        events.append(ModelEvent(command.trace_event_id, content_of(command), run, finished))
        return "recorded", len(events)


def content_of(command: CreateTrace | AppendEvent) -> tuple[Any, ...]:
    draft = command.draft
    return draft.domain, draft.domain_id, draft.component, draft.trace_status, draft.trace_event_status, draft.errors


def outcome_of(decision: Decision) -> object:
    match decision:
        case Recorded(_, event):
            return "recorded", event.sequence
        case Replayed(_, sequence):
            return "replayed", sequence
        case Heard():
            return "heard"
    return type(decision)


contents = st.fixed_dictionaries(
    {"component": st.sampled_from(("validator", "writer"))},
    optional={"trace_event_status": st.sampled_from(TraceEventStatus)},
) | st.fixed_dictionaries(
    {
        "component": st.just("state-machine"),
        "trace_status": st.just(TraceStatus.FINISHED),
        "trace_event_status": st.sampled_from(TraceEventStatus),
    }
)
trace_ids, event_ids = st.sampled_from(TRACES), st.sampled_from(EVENT_IDS)
creations = st.builds(lambda t, e, c: create(t, e, **c), trace_ids, event_ids, contents)
appendings = st.builds(
    lambda t, e, expected, new_run, c: append(t, e, expected_sequence=expected, new_run=new_run, **c),
    trace_ids,
    event_ids,
    st.none() | st.integers(0, 6),
    st.booleans(),
    contents,
)
commands = st.one_of(creations, appendings, appendings, appendings, st.builds(Beat, trace_ids))
#: Transactions of some commands each, with a clock that also runs backwards, as those of two replicas do.
histories = st.lists(
    st.tuples(st.lists(commands, min_size=1, max_size=6), st.integers(-5, 5).map(lambda s: timedelta(seconds=s))),
    max_size=10,
)


@settings(max_examples=300)
@given(histories)
def test_every_write_comes_to_what_the_contract_says(history: list[tuple[list[Command], timedelta]]) -> None:
    held, model = Held(), Model()
    for batch, since_noon in history:
        expected = [model.expect(command) for command in batch]
        assert [outcome_of(decision) for decision in held.commit(batch, NOON + since_noon)] == expected
    assert {key: len(events) for key, events in held.events.items()} == {
        key: len(events) for key, events in model.traces.items()
    }


@settings(max_examples=300)
@given(histories)
def test_a_history_keeps_its_promises(history: list[tuple[list[Command], timedelta]]) -> None:
    held = Held()
    for batch, since_noon in history:
        held.commit(batch, NOON + since_noon)
    for trace_id, events in held.events.items():
        trace = held.traces[trace_id]
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        assert len({event.trace_event_id for event in events}) == len(events)
        assert [event.record_time for event in events] == sorted(event.record_time for event in events)
        check_fold(trace, events)
        check_runs(trace, events)
        check_never_reopened_by_accident(held.states[trace_id])


def check_fold(trace: Trace, events: list[TraceEvent]) -> None:
    """Whoever reads the events can compute the state, but for heartbeats."""
    state: Trace | None = None
    for event in events:
        state = apply(state, event)
    assert state is not None
    assert replace(state, last_heard_time=trace.last_heard_time) == trace
    assert trace.last_heard_time >= state.last_heard_time
    assert trace.failed_event_count == sum(e.trace_event_status is TraceEventStatus.FAILED for e in events)


def check_runs(trace: Trace, events: list[TraceEvent]) -> None:
    """Runs count from 1; the first FINISHED event of each has decided it."""
    runs = [event.run for event in events]
    assert runs == sorted(runs)
    assert set(runs) == set(range(1, trace.run + 1))
    for run in range(1, trace.run + 1):
        ends = [e for e in events if e.run == run and e.trace_status is TraceStatus.FINISHED]
        if run < trace.run:
            assert ends, "a run was opened before the one before it had ended"
        elif ends:
            assert trace.done
            assert (trace.trace_status, trace.trace_event_status) == (TraceStatus.FINISHED, ends[0].trace_event_status)
            assert trace.finish_time == ends[0].record_time
        else:
            assert not trace.done
            assert trace.finish_time is None


def check_never_reopened_by_accident(states: list[Trace]) -> None:
    for before, after in pairwise(states):
        assert after.revision == before.revision + 1
        if before.done and after.run == before.run:
            assert after.done
            assert after.trace_event_status == before.trace_event_status
            assert after.finish_time == before.finish_time
        assert after.run in (before.run, before.run + before.done)
        assert (after.domain, after.domain_id) == (before.domain, before.domain_id)


@given(st.lists(commands, max_size=25), st.data())
def test_which_writes_share_a_transaction_makes_no_difference(batch: list[Command], data: st.DataObject) -> None:
    apart, together = Held(), Held()
    one_by_one = [decision for command in batch for decision in apart.commit([command])]
    grouped: list[Decision] = []
    rest = batch
    while rest:
        count = data.draw(st.integers(1, len(rest)))
        grouped += together.commit(rest[:count])
        rest = rest[count:]
    assert [outcome_of(decision) for decision in grouped] == [outcome_of(decision) for decision in one_by_one]
    assert together.events == apart.events
    assert together.traces == apart.traces


@given(st.lists(commands, max_size=20), st.data())
def test_repeating_what_can_be_repeated_changes_nothing(batch: list[Command], data: st.DataObject) -> None:
    held = Held()
    first = held.commit(batch) if batch else []
    events = {trace_id: list(events) for trace_id, events in held.events.items()}
    recorded = [
        (command, decision.event)
        for command, decision in zip(batch, first, strict=True)
        if isinstance(decision, Recorded) and not isinstance(command, Beat) and command.retryable
    ]
    if not recorded:
        return
    again = data.draw(st.lists(st.sampled_from(recorded), min_size=1))
    for (command, event), decision in zip(again, held.commit([command for command, _ in again]), strict=True):
        assert isinstance(decision, Replayed)
        assert decision.sequence == event.sequence
        assert decision.trace == held.traces[command.trace_id]
    assert held.events == events


def test_a_retry_is_answered_before_expected_sequence_and_new_run_are_looked_at() -> None:
    held = Held()
    held.commit([create("a"), append("a", "end", expected_sequence=1, **FINISHED_OK)])
    held.commit([append("a", "again", new_run=True, expected_sequence=2)])
    replay_of_end = append("a", "end", expected_sequence=1, **FINISHED_OK)
    replay_of_run = append("a", "again", new_run=True, expected_sequence=2)
    assert [outcome_of(d) for d in held.commit([replay_of_end, replay_of_run])] == [("replayed", 2), ("replayed", 3)]


def test_two_events_with_the_same_start_time_are_two_events() -> None:
    held = Held()
    held.commit([create("a", start_time=NOON), append("a", start_time=NOON), append("a", start_time=NOON)])
    assert [event.sequence for event in held.events["a"]] == [1, 2, 3]


def test_a_trace_may_arrive_as_one_finished_event() -> None:
    held = Held()
    held.commit([create("a", **FINISHED_OK)])
    assert held.traces["a"].done
    assert held.events["a"][0].trace_status is TraceStatus.FINISHED


def test_the_first_event_is_started_and_ok_unless_it_says_otherwise() -> None:
    held = Held()
    held.commit([create("a"), append("a")])
    first, second = held.events["a"]
    assert (first.trace_status, first.trace_event_status) == (TraceStatus.STARTED, TraceEventStatus.OK)
    assert (second.trace_status, second.trace_event_status) == (TraceStatus.CONTINUE, TraceEventStatus.OK)
    assert (second.domain, second.domain_id) == (first.domain, first.domain_id)


def test_another_domain_is_recorded_as_sent_and_the_trace_keeps_its_own() -> None:
    held = Held()
    held.commit([create("a"), append("a", domain="other", domain_id="x")])
    assert (held.events["a"][1].domain, held.events["a"][1].domain_id) == ("other", "x")
    assert (held.traces["a"].domain, held.traces["a"].domain_id) == ("dataset", "cycling/1")


@pytest.mark.parametrize("end_before_now", [True, False])
def test_the_default_start_time_is_now_and_never_after_the_end(end_before_now: bool) -> None:
    end = NOON + timedelta(hours=-1 if end_before_now else 1)
    held = Held()
    held.commit([create("a", end_time=end)])
    assert held.events["a"][0].start_time == min(NOON, end)


def test_a_full_trace_refuses_events_but_never_the_one_that_ends_a_run() -> None:
    held = Held(events_per_trace=3)
    held.commit([create("a"), append("a"), append("a")])
    decisions = held.commit([append("a"), append("a", "end", **FINISHED_OK), append("a", **FINISHED_OK), append("a")])
    assert [outcome_of(d) for d in decisions] == [TraceFull, ("recorded", 4), TraceFull, TraceFull]
    decisions = held.commit([append("a", new_run=True), append("a", new_run=True, **FINISHED_OK)])
    assert [outcome_of(d) for d in decisions] == [TraceFull, ("recorded", 5)]
    assert held.commit([append("a", "end", **FINISHED_OK)]) == [Replayed(held.traces["a"], 4, "end")], (
        "a retry is no event"
    )


def test_a_heartbeat_is_heard_and_is_no_event() -> None:
    held = Held()
    held.commit([create("a")])
    held.commit([Beat("a")], NOON + timedelta(minutes=1))
    held.commit([Beat("a")], NOON)  # from a replica whose clock is behind
    trace = held.traces["a"]
    assert (trace.last_sequence, trace.update_time) == (1, NOON)
    assert trace.last_heard_time == NOON + timedelta(minutes=1)


def test_an_expire_time_is_kept_until_another_one_is_given() -> None:
    held = Held()
    held.commit([create("a", expire_time=NOON), append("a")])
    assert held.traces["a"].expire_time == NOON
    held.commit([append("a", expire_time=NOON + timedelta(hours=1)), append("a")])
    assert held.traces["a"].expire_time == NOON + timedelta(hours=1)
