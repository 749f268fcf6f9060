"""Which dataset the key of an object names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from status_grpc.aws.arrivals import ArrivedObject
from status_grpc.domain.events import EventDraft

#: Keys of datasets, by default: at the root of raw/ or below one of the access levels.
DATASET_KEYS = (
    "raw/{dataset}/version={version}/",
    "raw/green/{dataset}/version={version}/",
    "raw/yellow/{dataset}/version={version}/",
    "raw/red/{dataset}/version={version}/",
)

_PLACEHOLDER = re.compile(r"\{(dataset|version)\}")


def dataset_traces(templates: Sequence[str] = DATASET_KEYS) -> Callable[[ArrivedObject], EventDraft]:
    """Return a function for Router's `new_trace` that reads the key.

    The function makes the first event of an object's trace. A template is the beginning of a key, up to a slash.
    `{dataset}` and `{version}` stand for text without slashes, everything else for itself. A key that fits no template
    names no dataset, so its trace is of its bucket. Raises ValueError for a template without either placeholder or
    without a slash at its end.
    """
    patterns = [_pattern(template) for template in templates]

    def first_event(arrived: ArrivedObject) -> EventDraft:
        for pattern in patterns:
            match = pattern.fullmatch(arrived.key)
            if match is not None:
                return EventDraft(domain="dataset", domain_id=f"{match['dataset']}/{match['version']}")
        return EventDraft(domain="s3", domain_id=arrived.bucket)

    return first_event


def _pattern(template: str) -> re.Pattern[str]:
    literals = _PLACEHOLDER.split(template)
    if sorted(literals[1::2]) != ["dataset", "version"] or not template.endswith("/"):
        raise ValueError(f"{template!r} is not a template such as {DATASET_KEYS[0]}")
    parts = [f"(?P<{part}>[^/]+)" if index % 2 else re.escape(part) for index, part in enumerate(literals)]
    return re.compile("".join(parts) + ".+", re.DOTALL)
