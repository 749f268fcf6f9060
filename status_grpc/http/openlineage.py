"""Takes OpenLineage RunEvents."""

from __future__ import annotations

from starlette.routing import BaseRoute

from status_grpc.http.edge import Edge


def lineage_routes(_: Edge) -> list[BaseRoute]:
    """Return the route of /api/v1/lineage."""
    return []
