"""The interface of `okdata.aws.status`: a program written for it runs with nothing changed but its imports.

Where the old library took the configuration of its SDK, anything is taken and ignored: the service is found by the
STATUS_GRPC_* variables.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

from status_grpc.client.reporting.fields import check_errors, to_draft
from status_grpc.client.steps import scopes, wrapper
from status_grpc.client.sync import StatusClient
from status_grpc.domain.errors import StatusError
from status_grpc.domain.events import TraceEventStatus, TraceStatus
from status_grpc.wire.old_events import old_event

__all__ = ["Status", "StatusData", "StatusMeta", "TraceEventStatus", "TraceStatus", "status_add", "status_wrapper"]

F = TypeVar("F", bound=Callable[..., Any])

_log = logging.getLogger("status_grpc")

#: The language that every error has a text in.
_LANGUAGE = "nb"
#: How long `Status.done` may take, in seconds.
_TIMEOUT = 10.0


def status_wrapper(sdk_config: Any = None) -> Any:
    """Report each call of a Lambda handler `(event, context)`: `@status_wrapper`, `@status_wrapper(sdk_config())`.

    An exception means that the trace has failed. Without `event["execution_name"]` or a trace_id by `status_add`
    nothing is sent.
    """
    decorate = wrapper.status_wrapper(on_exception="finish")
    return decorate(sdk_config) if callable(sdk_config) else decorate


def status_add(**fields: Any) -> None:
    """Set fields of the event that is sent when the handler returns.

    Raises TypeError or ValueError for errors that are not a list of {"message": {"nb": text}}.
    """
    if fields.get("errors") is not None:
        check_errors(fields["errors"], _LANGUAGE)
    scopes.status_add(**fields)


@dataclasses.dataclass
class StatusMeta:
    """Where the component runs, and which revision of it."""

    function_name: str | None = None
    function_version: str | None = None
    function_stage: str | None = None
    function_api_id: str | None = None
    git_rev: str | None = None
    git_branch: str | None = None


@dataclasses.dataclass
class StatusData:
    """The fields of one event; `duration` is in milliseconds.

    Raises TypeError or ValueError for errors that are not a list of {"message": {"nb": text}}.
    """

    trace_id: str | None = None
    domain: str = "N/A"
    domain_id: str | None = None
    start_time: datetime = dataclasses.field(default_factory=lambda: datetime.now(UTC))
    end_time: datetime = dataclasses.field(default_factory=lambda: datetime.now(UTC))
    trace_status: TraceStatus = TraceStatus.CONTINUE
    trace_event_status: TraceEventStatus = TraceEventStatus.OK
    user: str | None = None
    component: str = "N/A"
    operation: str | None = None
    status_body: dict[str, Any] | None = None
    meta: StatusMeta | Mapping[str, Any] | None = None
    s3_path: str | None = None
    duration: float | None = None
    exception: str | None = None
    errors: list[dict[str, Any]] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.meta, Mapping):
            self.meta = StatusMeta(**self.meta)
        self.exception = str(self.exception) if self.exception else None
        if self.errors:
            check_errors(self.errors, _LANGUAGE)

    @classmethod
    def parse_obj(cls, obj: Mapping[str, Any]) -> Self:
        """Return the fields of a dict."""
        return cls(**obj)

    def dict(self, exclude_none: bool = False) -> dict[str, Any]:
        """Return the fields as a dict, those of `meta` as well; without those that are None if so wanted."""
        return dataclasses.asdict(self, dict_factory=_without_none if exclude_none else dict)

    def json(self, exclude_none: bool = False, **kwargs: Any) -> str:
        """Return the fields as JSON, times in ISO 8601."""
        return json.dumps(self.dict(exclude_none), default=_json_default, **kwargs)


class Status:
    """One event of a trace, sent by `done`. `data` may be a dict of fields or just a trace id."""

    def __init__(self, data: StatusData | Mapping[str, Any] | str, config: Any = None) -> None:
        del config  # the service is found by the environment
        if isinstance(data, str):
            data = StatusData(trace_id=data)
        elif isinstance(data, Mapping):
            data = StatusData.parse_obj(data)
        self.status_data = data

    def add(self, **fields: Any) -> None:
        """Set fields of the event. Raises TypeError or ValueError for errors that are none."""
        if fields.get("errors") is not None:
            check_errors(fields["errors"], _LANGUAGE)
        for name, value in fields.items():
            setattr(self.status_data, name, value)

    def done(self) -> dict[str, Any] | None:
        """Send the event; return it as it was stored: {} without a trace id, None when it could not be sent."""
        data = self.status_data
        data.end_time = datetime.now(UTC)
        if data.trace_id is None:
            _log.warning("status-grpc: an event without trace_id is not sent")
            return {}
        fields = data.dict(exclude_none=True)
        try:
            written = _client().update(to_draft(fields), timeout=_TIMEOUT)
        except (StatusError, ValueError) as error:  # ValueError: STATUS_GRPC_* variables that cannot be
            _log.error("status-grpc: an event was not sent: %s: %s", type(error).__name__, error)
            return None
        return old_event(written.event)


@functools.cache
def _client() -> StatusClient:
    return StatusClient()


def _without_none(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in items if value is not None}


def _json_default(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
