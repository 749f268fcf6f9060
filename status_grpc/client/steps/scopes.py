"""Scopes: the trace and the steps that the running code is in. Each thread and each task has its own."""

from __future__ import annotations

import os
import sys
from contextvars import ContextVar, Token
from pathlib import Path
from typing import Any

from status_grpc.client.options import ReportingOptions
from status_grpc.client.reporting.fields import check_errors
from status_grpc.client.reporting.plain import cleaned
from status_grpc.client.steps.exporting import imported_trace_id

_current: ContextVar[Scope | None] = ContextVar("status_grpc_scope", default=None)


class Scope:
    """A trace or a step while it runs: what is known about it so far."""

    def __init__(self, fields: dict[str, Any]) -> None:
        #: What will be told, by the names of an event's fields.
        self.fields = fields
        self.ended = False
        self.enclosing: Scope | None = None
        self._process = os.getpid()
        self._token: Token[Scope | None] | None = None

    def add(self, **fields: Any) -> None:
        """Set fields of the event that tells about this: any field of an event, such as status_body or errors.

        Raises TypeError or ValueError for errors that are not a list of {"message": {language: text}}.
        """
        if fields.get("errors") is not None:
            check_errors(fields["errors"])
        self.fields.update(fields)

    @property
    def trace_id(self) -> str:
        """The trace this belongs to: as it was told, else that of what is around it; empty when there is none."""
        own = self.fields.get("trace_id")
        if own:
            # As it is sent, so that child processes name the same trace.
            return cleaned(str(own))
        return self.enclosing.trace_id if self.enclosing is not None else imported_trace_id()

    @property
    def is_outermost(self) -> bool:
        """Whether nothing that still runs in this process is around it."""
        around = self.enclosing
        return around is None or around.ended or around.belongs_to_parent

    @property
    def belongs_to_parent(self) -> bool:
        """Whether it was begun by the process that this one was forked from."""
        return self._process != os.getpid()

    def component(self, options: ReportingOptions) -> str:
        """Return the component: as it was told, here or around it, else that of this process."""
        scope: Scope | None = self
        while scope is not None:
            component = cleaned(str(scope.fields.get("component") or ""))
            if component:
                return component
            scope = scope.enclosing
        return options.component or os.environ.get("SERVICE_NAME") or Path(sys.argv[0]).name or "python"

    def enter(self) -> None:
        """Make this the current scope, within the one that was."""
        self.enclosing = _current.get()
        self.resume()

    def resume(self) -> None:
        """Make this the current scope again."""
        self._token = _current.set(self)

    def leave(self) -> None:
        """Make the scope current that was before."""
        token, self._token = self._token, None
        if token is None:
            return
        try:
            _current.reset(token)
        except ValueError:
            # Entered in another context, as frameworks do with generators: that context ends by itself.
            pass


def current_scope() -> Scope | None:
    """Return the innermost trace or step that the running code is in."""
    return _current.get()


def status_add(**fields: Any) -> None:
    """Set fields of the event that the current step sends when it ends: `status_add(status_body={"rows": 7})`.

    Any field of an event: domain, domain_id, user, operation, status_body, meta, s3_path, errors, inputs and outputs
    (what was read and written: URIs, or (URI, version)) ... Outside of a step it does nothing. Raises TypeError or
    ValueError for errors that are not a list of {"message": {language: text}}.
    """
    scope = _current.get()
    if scope is not None:
        scope.add(**fields)
    elif fields.get("errors") is not None:
        check_errors(fields["errors"])
