"""Ids: unique, short, fit to name a Step Functions execution, and the same again for a retry."""

from __future__ import annotations

import re
import time
import unicodedata
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import ids, texts

from status_grpc.domain import ids as ids_module
from status_grpc.domain.ids import MINTED_ID_LENGTH, dataset_id, derived_event_id, mint_event_id, mint_trace_id

#: StartExecution, parameter "name": 1 to 80 characters, and none of these.
#: https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
REFUSED_BY_STEP_FUNCTIONS = set('<>{}[]?*"#%\\^|~`$&,;:/')


def is_execution_name(name: str) -> bool:
    return 1 <= len(name) <= 80 and not any(
        c in REFUSED_BY_STEP_FUNCTIONS or c.isspace() or unicodedata.category(c) in ("Cc", "Cs", "Cn") for c in name
    )


domain_ids = texts(300, 1) | st.from_regex(r"[a-z-]{1,200}/[0-9]{1,3}", fullmatch=True)


@given(domain_ids, ids(1))
def test_a_minted_trace_id_can_name_an_execution(domain_id: str, event_id: str) -> None:
    minted = mint_trace_id(domain_id, event_id)
    assert len(minted) <= MINTED_ID_LENGTH
    assert is_execution_name(minted)
    assert not minted.startswith("-")
    uuid.UUID(minted[-36:])


@given(domain_ids, ids(1))
def test_a_retried_create_mints_the_same_trace_id(domain_id: str, event_id: str) -> None:
    assert mint_trace_id(domain_id, event_id) == mint_trace_id(domain_id, event_id)


@given(st.lists(st.tuples(domain_ids, ids(1)), max_size=20, unique_by=lambda pair: (dataset_id(pair[0]), pair[1])))
def test_other_datasets_and_other_events_get_other_trace_ids(pairs: list[tuple[str, str]]) -> None:
    assert len({mint_trace_id(domain_id, event_id) for domain_id, event_id in pairs}) == len(pairs)


@given(st.text("abcæøå", min_size=200, max_size=1024), ids(1))
def test_long_dataset_ids_that_differ_only_at_their_end_get_two_ids(dataset: str, event_id: str) -> None:
    assert mint_trace_id(f"{dataset}x", event_id) != mint_trace_id(f"{dataset}y", event_id)
    assert mint_trace_id(dataset, mint_event_id()) != mint_trace_id(dataset, mint_event_id())


@pytest.mark.parametrize(
    ("domain_id", "prefix"),
    [
        ("bicycle-counts/1", "bicycle-counts-"),
        ("bicycle-counts", "bicycle-counts-"),
        ("bicycle_counts.v2/1/latest", "bicycle_counts.v2-"),
        ("sykkel tellinger/1", "sykkel-tellinger-"),
        ("a" * 200, "a" * 43 + "-"),
        ("/data/x.csv", "data-x.csv-"),
        ("årsrapport/2026", "rsrapport-"),
        ("---x", "x-"),
        ("ååå/1", "trace-"),
        ("/", "trace-"),
        (f"/{'a' * 200}", "a" * 43 + "-"),
        ("caf\udce9/1", "caf-xe9-"),
    ],
)
def test_a_trace_id_begins_with_its_dataset(domain_id: str, prefix: str) -> None:
    minted = mint_trace_id(domain_id, "first")
    assert minted[:-36] == prefix


@pytest.mark.parametrize(
    ("domain_id", "minted"),
    [
        ("bicycle-counts/1", "bicycle-counts-b7d1c459-1434-5d39-b5e3-03934066482f"),
        ("bicycle_counts.v2/1/latest", "bicycle_counts.v2-b16f652a-1478-5400-a034-34834ec171b7"),
        ("sykkel tellinger/1", "sykkel-tellinger-1bda3ed9-e39e-53d5-8898-6154a5447b0d"),
        ("blå-bær/2", "bl--b-r-fce076c0-d257-5b74-a739-7ddce72cf731"),
        ("a" * 200, f"{'a' * 43}-8a2a85be-ac06-5e02-8978-971bfbcf4367"),
    ],
)
def test_ids_minted_by_earlier_releases_stay(domain_id: str, minted: str) -> None:
    assert mint_trace_id(domain_id, "first") == minted


def test_event_ids_are_uuids_that_begin_with_the_time() -> None:
    before = time.time_ns() // 1_000_000
    minted = [mint_event_id() for _ in range(1000)]
    after = time.time_ns() // 1_000_000
    assert len(set(minted)) == 1000
    for event_id in minted:
        assert str(uuid.UUID(event_id)) == event_id
        assert uuid.UUID(event_id).version == 7
        assert uuid.UUID(event_id).variant == uuid.RFC_4122
        assert before <= uuid.UUID(event_id).int >> 80 <= after


def test_event_ids_sort_as_they_were_made() -> None:
    """To a 4096th of a millisecond, if the clock is not set back meanwhile."""
    minted = []
    for _ in range(20):
        minted.append(mint_event_id())
        time.sleep(0.001)
    assert minted == sorted(minted)


def test_event_ids_of_one_moment_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids_module, "time_ns", lambda: 1_750_000_000_123_456_789)
    minted = {mint_event_id() for _ in range(1000)}
    assert len(minted) == 1000
    assert {event_id[:18] for event_id in minted} == {"01977420-dc7b-774f"}


@given(st.lists(ids(), min_size=1, max_size=4), st.lists(ids(), min_size=1, max_size=4))
def test_a_derived_id_tells_its_parts_apart(parts: list[str], others: list[str]) -> None:
    assert (derived_event_id(*parts) == derived_event_id(*others)) is (parts == others)
    assert re.fullmatch(r"[0-9a-f-]{36}", derived_event_id(*parts))
