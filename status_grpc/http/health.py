"""Whether the server is alive, and whether it is ready: as grpc.health.v1 says, for those who ask by HTTP."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from status_grpc.http.edge import Edge


def health_routes(edge: Edge) -> list[BaseRoute]:
    """Return the routes of /healthz and /readyz."""

    async def alive(_: Request) -> JSONResponse:
        return JSONResponse({"status": "alive"})

    async def ready(_: Request) -> JSONResponse:
        if edge.is_ready():
            return JSONResponse({"status": "ready"})
        return JSONResponse({"message": "not ready: draining, or the database is away"}, 503)

    return [Route("/healthz", alive), Route("/readyz", ready)]
