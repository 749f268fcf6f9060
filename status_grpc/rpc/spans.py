"""A span for each call over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
from grpc_interceptor.server import AsyncServerInterceptor

from status_grpc.edge.incidents import trace_id_of
from status_grpc.edge.spans import CallSpans, set_code
from status_grpc.rpc.handlers import SERVICE_NAME
from status_grpc.rpc.interceptor import code_of, code_of_cancel

_SERVICE_PREFIX = f"/{SERVICE_NAME}/"


class SpanInterceptor(AsyncServerInterceptor):
    """Goes around all other interceptors: an error has become a status by then."""

    def __init__(self, spans: CallSpans) -> None:
        self._spans = spans

    async def intercept(
        self,
        method: Callable[[Any, Any], Any],
        request_or_iterator: Any,
        context: grpc.aio.ServicerContext[Any, Any],
        method_name: str,
    ) -> Any:
        """Run the call in a span, unless it is one to the health or reflection service."""
        if not method_name.startswith(_SERVICE_PREFIX):
            result = method(request_or_iterator, context)
            return result if hasattr(result, "__aiter__") else await result
        headers = {str(key): value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        attributes = {"rpc.system.name": "grpc", "rpc.method": method_name[1:]}
        trace_id = trace_id_of(request_or_iterator)
        if trace_id is not None:
            attributes["status_grpc.trace_id"] = trace_id
        with self._spans.around(method_name[1:], headers, attributes) as span:
            try:
                result = await _to_the_end(method(request_or_iterator, context), context)
            except asyncio.CancelledError:
                set_code(span, code_of_cancel(context))
                raise
            set_code(span, code_of(context))
            return result


async def _to_the_end(result: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
    """Return the answer; send those of a stream here, so that its span lasts as long as the stream."""
    if not hasattr(result, "__aiter__"):
        return await result
    async for message in result:
        await context.write(message)
    return None
