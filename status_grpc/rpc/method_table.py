"""The methods of the server, with their interceptors around them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from grpc_interceptor.server import AsyncServerInterceptor

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


#: Calls with more metadata entries than this are followed by a collection. The look-up of a handler leaves a reference
#: cycle with the metadata, which are 12 MB for a header bomb of 3,000 references to an entry of 4 KB.
MANY_ENTRIES = 100
#: How soon, in seconds: after the look-up has let go of the cycle.
_COLLECT_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class _MethodDetails:
    """What all calls of a method have in common."""

    method: str


class MethodTable(grpc.GenericRpcHandler):
    """The methods of a server by their full names, /package.Service/Method."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = dict(handlers)
        self._collecting: asyncio.TimerHandle | None = None

    def service(self, handler_call_details: Any) -> Handler | None:
        """Return the handler of the method, or None for an unknown method."""
        if len(handler_call_details.invocation_metadata) > MANY_ENTRIES and self._collecting is None:
            self._collecting = asyncio.get_running_loop().call_later(_COLLECT_SECONDS, self._collect)
        return self._handlers.get(handler_call_details.method)

    def _collect(self) -> None:
        self._collecting = None
        gc.collect(1)


async def intercepted(
    handlers: Mapping[str, Handler], interceptors: Sequence[AsyncServerInterceptor]
) -> dict[str, Handler]:
    """Return the handlers wrapped in the interceptors, the first outermost.

    gRPC asks interceptors that are registered with a server at every call. That costs as much as a small call, and
    leaves a reference cycle which keeps the call's metadata until the next garbage collection.
    """
    return {method: await _around(method, handler, interceptors) for method, handler in handlers.items()}


async def _around(method: str, handler: Handler, interceptors: Sequence[AsyncServerInterceptor]) -> Handler:
    for interceptor in reversed(interceptors):
        handler = await _inside(interceptor, method, handler)
    return handler


async def _inside(interceptor: AsyncServerInterceptor, method: str, handler: Handler) -> Handler:
    async def inner(_details: _MethodDetails) -> Handler:
        return handler

    outer: Handler = await interceptor.intercept_service(inner, _MethodDetails(method))  # type: ignore[no-untyped-call]
    return outer
