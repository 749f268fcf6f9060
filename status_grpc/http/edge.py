"""What the routes of the HTTP edge are made with."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from status_grpc.domain.limits import Limits
from status_grpc.edge.calls import StatusCalls
from status_grpc.edge.requests import Requests
from status_grpc.http.hosting.connections import TrustedProxies
from status_grpc.http.json_process import JsonProcess
from status_grpc.http.upstream import Upstream
from status_grpc.service.following import Following
from status_grpc.service.traces import Traces

#: The address of the caller whose request is being answered. None: outside of a request.
caller: ContextVar[str | None] = ContextVar("caller", default=None)


@dataclass(slots=True)
class Room:
    """How much of something there is room for at once."""

    most: int
    taken: int = 0

    def take(self, amount: int) -> bool:
        """Take so much, and return whether there was room for it."""
        if self.taken + amount > self.most:
            return False
        self.taken += amount
        return True

    def give(self, amount: int) -> None:
        """Give back what was taken."""
        self.taken -= amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """The use cases, and how this server is set."""

    traces: Traces
    following: Following
    #: tracestatus.v1.StatusService by messages: requests in, encoded responses out.
    calls: StatusCalls
    requests: Requests
    limits: Limits
    #: Whether calls can be served: what the readiness of grpc.health.v1 says.
    is_ready: Callable[[], bool]
    #: How large the body of a request may be, in bytes.
    max_request_bytes: int
    #: How long the body of a request may take to arrive, in seconds.
    request_seconds: float
    #: How long a stream waits for a client that does not read, in seconds.
    write_timeout_seconds: float
    #: Room for the large bodies of requests that have not arrived in full, in bytes.
    body_room: Room = field(default_factory=lambda: Room(64 * 1024 * 1024))
    #: Reads JSON bodies, large ones in a process of its own.
    json: JsonProcess = field(default_factory=JsonProcess)
    #: Whose X-Forwarded-For names the caller.
    proxies: TrustedProxies = field(default_factory=TrustedProxies)
    #: The older service, for traces that only it knows.
    upstream: Upstream | None = None


def caller_of(connection: HTTPConnection, proxies: TrustedProxies) -> str:
    """Return the caller's address for limits.

    It is the peer's address, or the one that a trusted proxy forwards.

    The one place of this edge that says so, as `rpc.servicer.caller_of` is of the other.
    """
    peer = connection.client.host if connection.client else ""
    return proxies.caller(peer, connection.headers.getlist("x-forwarded-for"))
