"""Following a trace by Server-Sent Events."""

from __future__ import annotations

from starlette.routing import BaseRoute

from status_grpc.http.edge import Edge


def event_routes(_: Edge) -> list[BaseRoute]:
    """Return the routes of /v1/traces/{id}/events."""
    return []
