"""The base of our interceptors: what wraps a method is made at its first call, not at each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from grpc_interceptor.server import AsyncServerInterceptor

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


@dataclass(frozen=True, slots=True)
class _MethodDetails:
    """What all calls of a method have in common: what wraps it keeps this, and must keep nothing of its first call."""

    method: str


class MethodInterceptor(AsyncServerInterceptor):
    """Intercepts the calls of methods whose handlers stay what they are while the server runs.

    gRPC asks an interceptor for a handler at every call; making one costs as much as a small call itself.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Handler | None]], handler_call_details: Any
    ) -> Handler | None:
        """Return the handler of the method with `intercept` around it; None if there is no such method."""
        method = handler_call_details.method
        handler = self._handlers.get(method)
        if handler is None:
            next_handler = await continuation(handler_call_details)

            async def known(_details: _MethodDetails) -> Handler | None:
                return next_handler

            handler = await super().intercept_service(known, _MethodDetails(method))  # type: ignore[no-untyped-call]
            if handler is not None:
                self._handlers[method] = handler
        return handler
