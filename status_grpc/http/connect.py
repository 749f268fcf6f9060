"""Connect and gRPC-Web for tracestatus.v1.StatusService."""

from __future__ import annotations

from starlette.routing import BaseRoute

from status_grpc.http.edge import Edge


def connect_routes(_: Edge) -> list[BaseRoute]:
    """Return the routes of /tracestatus.v1.StatusService/."""
    return []
