"""Which datasets an event says it has read and written, also in the older way."""

from __future__ import annotations

from typing import Any

import pytest
from builders import draft
from hypothesis import given
from hypothesis import strategies as st
from strategies import datasets, drafts, json_values

from status_grpc.domain.events import Dataset, EventDraft
from status_grpc.domain.limits import Limits
from status_grpc.domain.lineage import CONVENTION_KEYS, datasets_of, says_lineage
from status_grpc.domain.validation import DraftRules

LIMITS = Limits()


def said(**body: Any) -> tuple[list[str], list[str]]:
    read, written = datasets_of((), (), body)
    return [dataset.uri for dataset in read], [dataset.uri for dataset in written]


@pytest.mark.parametrize(
    ("body", "read", "written"),
    [
        ({"files_incoming": ["raw/a.csv", "s3://b/c"], "files_outgoing": ["processed/a"]}, 2, 1),
        ({"files_incoming": [], "files_outgoing": [], "other": "s3://b/c"}, 0, 0),
        ({"files": ["raw/green/x/a b.csv"], "latest": True}, 1, 0),
        ({"files": "raw/x"}, 1, 0),
        ({"input": "s3://bucket/key", "output": {"uri": "https://host/x", "version": "3"}}, 1, 1),
        # What is not said to be a file counts only as a URI.
        ({"input": "raw/x", "output": "a/b"}, 0, 0),
        ({"input": 3, "output": {"rows": 1}}, 0, 0),
        ({"input": {"uri": 3}, "output": [None, [], {"uri": None}]}, 0, 0),
        # No paths: names alone, which other datasets have too, and what people write when there is none.
        ({"files": ["data.csv", "N/A", "n/a", "/", "", " raw/x", "raw/x\n", "raw\0/x", "dir/"]}, 0, 0),
        ({"files": ["s3://", "s3:// x", "x" * 2045 + "/é", "\ud800/x"]}, 1, 0),
        ({"inputs": ["s3://b/c"], "nested": {"files": ["raw/x"]}}, 0, 0),
        ("files", 0, 0),
    ],
)
def test_what_counts_in_the_older_way(body: Any, read: int, written: int) -> None:
    found = datasets_of((), (), body)
    assert (len(found[0]), len(found[1])) == (read, written), found


def test_each_is_said_once_and_what_is_explicit_comes_first() -> None:
    body = {"files": ["a/b", "raw/x", "a/b"], "files_incoming": ["c/d", {"uri": "c/d", "version": "2"}]}
    read, written = datasets_of((Dataset("x"), Dataset("raw/x"), Dataset("x")), (Dataset("x"),), body)
    assert read == [Dataset("x"), Dataset("raw/x"), Dataset("c/d"), Dataset("c/d", "2"), Dataset("a/b")]
    assert written == [Dataset("x")]


def test_the_older_way_holds_no_more_than_the_fields() -> None:
    read, _ = said(files=[f"raw/{n}" for n in range(5000)])
    assert read == [f"raw/{n}" for n in range(LIMITS.datasets_per_event)]


older = st.dictionaries(
    st.sampled_from(sorted(CONVENTION_KEYS)) | st.text(max_size=3),
    json_values
    | st.lists(st.text() | st.from_regex(r"\A[a-z]{1,3}(://|/)[a-z /\x00-\x20]{0,5}\Z"))
    | st.fixed_dictionaries({"uri": st.text(), "version": json_values}),
)


@given(older, st.lists(datasets), st.lists(datasets))
def test_whatever_is_said_is_a_dataset_that_the_fields_would_take(
    body: dict[str, Any], inputs: list[Dataset], outputs: list[Dataset]
) -> None:
    read, written = datasets_of(inputs, outputs, body)
    assert read[: len(set(inputs))] == list(dict.fromkeys(inputs))
    assert len(set(read)) == len(read)
    assert len(set(written)) == len(written)
    violations: list[Any] = []
    DraftRules(LIMITS).check_update(draft(trace_id="a", inputs=tuple(read), outputs=tuple(written)), violations)
    assert violations == []


@given(drafts() | st.builds(lambda body: draft(status_body=body), older))
def test_what_is_passed_over_on_the_way_of_a_write_says_nothing(event: EventDraft) -> None:
    if not says_lineage(event):
        assert datasets_of(event.inputs, event.outputs, event.status_body) == ([], [])
