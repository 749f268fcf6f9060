"""Follow an asynchronous pipeline to its end."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from status_grpc._version import __version__

if TYPE_CHECKING:
    from status_grpc.client.aio import AsyncStatusClient
    from status_grpc.client.aio_follow import AsyncFollow
    from status_grpc.client.follow import Follow
    from status_grpc.client.options import ClientOptions, ReportingOptions
    from status_grpc.client.reporting.default import configure, flush
    from status_grpc.client.retrying import Reconnect
    from status_grpc.client.steps.scopes import status_add
    from status_grpc.client.steps.step import Step, status_step
    from status_grpc.client.steps.tracing import OpenTrace, trace
    from status_grpc.client.steps.wrapper import status_wrapper
    from status_grpc.client.sync import StatusClient
    from status_grpc.client.values import (
        Checkpoint,
        PathMatch,
        RunEventResult,
        TraceHistory,
        Update,
        UpdateResult,
        Written,
    )
    from status_grpc.domain.errors import (
        AlreadyExists,
        CursorAhead,
        DeadlineExceeded,
        HistoryChanged,
        Internal,
        InvalidArgument,
        Overloaded,
        PathNotFound,
        PermissionDenied,
        ResourceExhausted,
        SequenceMismatch,
        StatusError,
        TraceExists,
        TraceFull,
        TraceNotDone,
        TraceNotFound,
        Unauthenticated,
        Unavailable,
    )
    from status_grpc.domain.events import (
        Dataset,
        ErrorDetail,
        EventDraft,
        ExceptionDetail,
        Outcome,
        TraceEvent,
        TraceEventStatus,
        TraceStatus,
    )
    from status_grpc.domain.lineage import Lineage, LineageDirection, LineageEdge, LineageTrace
    from status_grpc.domain.traces import Failure, ReportedError, Trace

# Where each public name lives. A module is imported when one of its names is first asked for, so that a step which
# only reports, or a tool which only prints, loads no more than it uses.
_HOMES = {
    "status_grpc.client.aio": ("AsyncStatusClient",),
    "status_grpc.client.aio_follow": ("AsyncFollow",),
    "status_grpc.client.follow": ("Follow",),
    "status_grpc.client.retrying": ("Reconnect",),
    "status_grpc.client.options": ("ClientOptions", "ReportingOptions"),
    "status_grpc.client.reporting.default": ("configure", "flush"),
    "status_grpc.client.steps.scopes": ("status_add",),
    "status_grpc.client.steps.step": ("Step", "status_step"),
    "status_grpc.client.steps.tracing": ("OpenTrace", "trace"),
    "status_grpc.client.steps.wrapper": ("status_wrapper",),
    "status_grpc.client.sync": ("StatusClient",),
    "status_grpc.client.values": (
        "Checkpoint",
        "PathMatch",
        "RunEventResult",
        "TraceHistory",
        "Update",
        "UpdateResult",
        "Written",
    ),
    "status_grpc.domain.errors": (
        "AlreadyExists",
        "CursorAhead",
        "DeadlineExceeded",
        "HistoryChanged",
        "Internal",
        "InvalidArgument",
        "Overloaded",
        "PathNotFound",
        "PermissionDenied",
        "ResourceExhausted",
        "SequenceMismatch",
        "StatusError",
        "TraceExists",
        "TraceFull",
        "TraceNotDone",
        "TraceNotFound",
        "Unauthenticated",
        "Unavailable",
    ),
    "status_grpc.domain.events": (
        "Dataset",
        "ErrorDetail",
        "EventDraft",
        "ExceptionDetail",
        "Outcome",
        "TraceEvent",
        "TraceEventStatus",
        "TraceStatus",
    ),
    "status_grpc.domain.lineage": ("Lineage", "LineageDirection", "LineageEdge", "LineageTrace"),
    "status_grpc.domain.traces": ("Failure", "ReportedError", "Trace"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AlreadyExists",
    "AsyncFollow",
    "AsyncStatusClient",
    "Checkpoint",
    "ClientOptions",
    "CursorAhead",
    "Dataset",
    "DeadlineExceeded",
    "ErrorDetail",
    "EventDraft",
    "ExceptionDetail",
    "Failure",
    "Follow",
    "HistoryChanged",
    "Internal",
    "InvalidArgument",
    "Lineage",
    "LineageDirection",
    "LineageEdge",
    "LineageTrace",
    "OpenTrace",
    "Outcome",
    "Overloaded",
    "PathMatch",
    "PathNotFound",
    "PermissionDenied",
    "Reconnect",
    "ReportedError",
    "ReportingOptions",
    "ResourceExhausted",
    "RunEventResult",
    "SequenceMismatch",
    "StatusClient",
    "StatusError",
    "Step",
    "Trace",
    "TraceEvent",
    "TraceEventStatus",
    "TraceExists",
    "TraceFull",
    "TraceHistory",
    "TraceNotDone",
    "TraceNotFound",
    "TraceStatus",
    "Unauthenticated",
    "Unavailable",
    "Update",
    "UpdateResult",
    "Written",
    "__version__",
    "configure",
    "flush",
    "status_add",
    "status_step",
    "status_wrapper",
    "trace",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
