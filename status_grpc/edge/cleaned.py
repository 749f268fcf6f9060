"""Logs what was cleaned or left out of reports, once per kind."""

from __future__ import annotations

import re
from collections.abc import Iterable

import structlog

from status_grpc.domain.errors import FieldViolation

#: How many kinds are remembered. There are as many as fields and descriptions; a bound in case one holds more.
_MOST_KINDS = 500
_INDEX = re.compile(r"\[\d+\]")

log = structlog.get_logger(__name__)
_logged: set[tuple[str, FieldViolation]] = set()


def log_cleaned(route: str, cleaned: Iterable[FieldViolation], *, trace_id: str) -> None:
    """Log each kind of change once."""
    for change in cleaned:
        kind = route, FieldViolation(_INDEX.sub("", change.field), change.description)
        if kind not in _logged and len(_logged) < _MOST_KINDS:
            _logged.add(kind)
            log.warning(
                "part of an event was cleaned; later ones of this kind are not logged",
                route=route,
                field=kind[1].field.removeprefix("event."),
                change=change.description,
                trace_id=trace_id,
            )
