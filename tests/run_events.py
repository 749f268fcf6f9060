"""RunEvents of OpenLineage, and ends with any JSON around their core."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

#: What JSON writers of several languages write, whether it is JSON or not. `characters()` has surrogates, too.
_texts = st.text(st.characters(), max_size=8) | st.sampled_from(["\ud83d", "\udcff/x", "a\0b", "x" * 3000, "é" * 2000])
_numbers = (
    st.integers()
    | st.sampled_from([2**1024, -(10**400), 2**63, 2**64])
    | st.floats()  # NaN and infinity are among them
)
wild_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | _numbers | _texts,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(_texts, below, max_size=3),
    max_leaves=8,
)

_datasets = st.lists(
    wild_json | st.fixed_dictionaries({"namespace": _texts, "name": _texts}, optional={"facets": wild_json}),
    max_size=4,
)
_error = st.fixed_dictionaries({"message": wild_json}, optional={"stackTrace": wild_json})
_facets = st.fixed_dictionaries({}, optional={"errorMessage": _error | wild_json, "spark": wild_json, "x\0": wild_json})
_times = st.sampled_from(["2026-11-23T12:00Z", "now", "9999-12-31T23:59:59-14:00"]) | wild_json

#: The outcome of each type that ends a run.
OUTCOMES = {"COMPLETE": "OK", "FAIL": "FAILED", "ABORT": "FAILED"}


@st.composite
def ends(draw: st.DrawFn, run_id: str) -> dict[str, Any]:
    """Any event that ends this run, whatever else it carries."""
    name = draw(st.sampled_from(list(OUTCOMES)))
    decorations = {
        "eventTime": _times,
        "inputs": _datasets | wild_json,
        "outputs": _datasets | wild_json,
        "producer": wild_json,
        "schemaURL": wild_json,
        "more": wild_json,
    }
    event: dict[str, Any] = draw(st.fixed_dictionaries({}, optional=decorations))
    run = draw(st.fixed_dictionaries({}, optional={"facets": _facets | wild_json.filter(_names_no_parent)}))
    job = draw(st.fixed_dictionaries({}, optional={"facets": wild_json}))
    return event | {
        "eventType": draw(st.sampled_from([name, name.lower(), name.title()])),
        "run": run | {"runId": run_id},
        "job": job | {"namespace": draw(_texts.filter(bool)), "name": draw(_texts.filter(bool))},
    }


def _names_no_parent(facets: Any) -> bool:
    return not isinstance(facets, dict) or not {"parent", "parentRun"}.intersection(facets)


def outcome_of(event: dict[str, Any]) -> str:
    """The outcome that the trace of this end has."""
    return OUTCOMES[event["eventType"].upper()]


def as_json(events: Any, *, ensure_ascii: bool = True) -> bytes:
    """Write the value with NaN, and surrogates as escapes or bytes."""
    return json.dumps(events, ensure_ascii=ensure_ascii).encode("utf-8", "surrogatepass")


def run_event(kind: str, run_id: str, **fields: Any) -> dict[str, Any]:
    """A RunEvent without decorations."""
    return {
        "eventType": kind,
        "eventTime": "2026-11-23T12:00:00Z",
        "producer": "https://example.org/engine",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": run_id},
        "job": {"namespace": "airflow", "name": "bikes.load"},
    } | fields
