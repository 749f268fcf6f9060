"""The parent facet of a run, in its current and older shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from status_grpc.domain.errors import FieldViolation
from status_grpc.domain.limits import Limits
from status_grpc.domain.validation import check_id
from status_grpc.wire.openlineage.left_out import Report

#: The facet's names: today's, and that of older integrations.
_FACETS = ("parent", "parentRun")
_RUN_IDS = ("runId", "run_id")
_NAMESPACES = ("namespace", "job_namespace", "jobNamespace")
_NAMES = ("name", "job_name", "jobName")
#: How the flat shape names the root of the parent.
_FLAT_ROOT = {
    "root_parent_run_id": "run_id",
    "root_parent_job_namespace": "job_namespace",
    "root_parent_job_name": "job_name",
}


@dataclass(frozen=True, slots=True)
class Run:
    """A run and its job."""

    run_id: str
    namespace: str
    name: str


def parent_of(facets: Mapping[str, Any], run: Run, limits: Limits, report: Report) -> Run | None:
    """Return the run above this one, or None.

    That is the root of the parent, or the parent if no root is named. The facet is `parent` or `parentRun`; it holds
    `run.runId` and `job`, or all values side by side, as dbt has sent it. A parent without a job gets the job of `run`.
    """
    key = next((name for name in _FACETS if facets.get(name) is not None), None)
    if key is None:
        return None
    place, facet = f"run.facets.{key}", facets[key]
    if not isinstance(facet, Mapping):
        report.add(place, "a parent that is not an object is left out")
        return None
    flat_root = {name: facet[flat] for flat, name in _FLAT_ROOT.items() if facet.get(flat) is not None}
    root = facet.get("root") if facet.get("root") is not None else flat_root or None
    above = None
    if root is not None:
        above = _run(f"{place}.root", root, run, limits, report)
    above = above or _run(place, facet, run, limits, report)
    return above if above is not None and above.run_id != run.run_id else None


def _run(place: str, value: Any, child: Run, limits: Limits, report: Report) -> Run | None:
    run, job = (value.get(name) if isinstance(value, Mapping) else None for name in ("run", "job"))
    run_id = text_in(run, *_RUN_IDS) or text_in(value, *_RUN_IDS)
    violations: list[FieldViolation] = []
    check_id(place, run_id, limits, violations)
    if violations:
        report.add(place, "a parent without a valid run id is left out")
        return None
    namespace, name = (text_in(job, *keys) or text_in(value, *keys) for keys in (_NAMESPACES, _NAMES))
    if not namespace or not name:
        report.add(place, "a parent without a job is taken to have the job of its child")
    return Run(run_id, namespace or child.namespace, name or child.name)


def text_in(value: Any, *keys: str) -> str:
    """Return the first text under one of the keys, or ""."""
    found = (value.get(key) for key in keys) if isinstance(value, Mapping) else ()
    return next((text for text in found if isinstance(text, str) and text), "")
