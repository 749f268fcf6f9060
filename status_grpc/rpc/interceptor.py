"""What is wrapped around every call: errors become google.rpc statuses, and what fails is logged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

import grpc
from grpc_interceptor.server import AsyncServerInterceptor

from status_grpc.domain.errors import Draining, InvalidArgument, StatusError
from status_grpc.edge.caller_limits import CallerLimits
from status_grpc.edge.incidents import forget_frames, log_failed, trace_id_of, unforeseen
from status_grpc.edge.observing import CallObserver
from status_grpc.rpc.handlers import SERVICE_NAME
from status_grpc.rpc.servicer import caller_of
from status_grpc.wire.errors import DETAILS_KEY, encode_error
from status_grpc.wire.parsing import Malformed

_SERVICE_PREFIX = f"/{SERVICE_NAME}/"

#: Streams and waits have a limit of their own, so that a caller with many followers can still report.
_COUNTED_ELSEWHERE = (f"{_SERVICE_PREFIX}StreamTrace", f"{_SERVICE_PREFIX}WaitTrace")

_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}

#: A call that is cancelled when less than this is left of its time, in seconds, was cancelled by its deadline.
_CLOSE_TO_DEADLINE = 0.05


class CallInterceptor(AsyncServerInterceptor):
    """Runs a call and translates how it ended. Nothing ends as UNKNOWN, and no internal text leaves the server."""

    def __init__(self, limits: CallerLimits, observer: CallObserver | None = None) -> None:
        self._limits = limits
        self._observer = observer
        #: Whether new calls to the service are refused, health checks and reflection aside.
        self.draining = False

    async def intercept(
        self,
        method: Callable[[Any, Any], Any],
        request_or_iterator: Any,
        context: grpc.aio.ServicerContext[Any, Any],
        method_name: str,
    ) -> Any:
        """Run the call, and translate the error that it raises."""
        observer = self._observer
        if observer is None or not method_name.startswith(_SERVICE_PREFIX):
            return await self._run(method, request_or_iterator, context, method_name)
        name = method_name[len(_SERVICE_PREFIX) :]
        observer.began(name)
        began = perf_counter()
        code = "CANCELLED"
        try:
            result = await self._run(method, request_or_iterator, context, method_name)
            code = code_of(context)
            return result
        except asyncio.CancelledError:
            code = code_of_cancel(context)
            raise
        finally:
            observer.ended(name, code, perf_counter() - began)

    async def _run(
        self,
        method: Callable[[Any, Any], Any],
        request_or_iterator: Any,
        context: grpc.aio.ServicerContext[Any, Any],
        method_name: str,
    ) -> Any:
        caller = counted = None
        try:
            if method_name.startswith(_SERVICE_PREFIX):
                caller = caller_of(context)
                if self.draining:
                    raise Draining
                if method_name not in _COUNTED_ELSEWHERE:
                    self._limits.begin(caller)
                    counted = caller
            if type(request_or_iterator) is Malformed:
                raise InvalidArgument([request_or_iterator.violation])
            result = method(request_or_iterator, context)
            if hasattr(result, "__aiter__"):
                return result  # the reflection and health services, which are not ours
            return await result
        except StatusError as error:
            return _refuse(context, error, method_name, request_or_iterator, caller)
        except (asyncio.CancelledError, grpc.aio.AbortError):  # health and reflection abort
            raise
        except Exception as failure:
            if context.done():
                # The client is gone: what failed is the writing to it.
                raise asyncio.CancelledError from failure
            trace_id = trace_id_of(request_or_iterator)
            internal = unforeseen(failure, method_name, trace_id=trace_id, peer=caller)
            forget_frames(failure)
            return _refuse(context, internal, method_name, request_or_iterator, caller)
        finally:
            if counted is not None:
                self._limits.end(counted)


def _refuse(
    context: grpc.aio.ServicerContext[Any, Any], error: StatusError, method: str, request: Any, peer: str | None
) -> bytes:
    """Log the error, set the call's status, and return an empty answer.

    `context.abort` would raise, and leave a reference cycle that keeps the request until the next garbage collection.
    """
    log_failed(error, method, trace_id_of(request), peer=peer)
    forget_frames(error)
    status = encode_error(error)
    context.set_trailing_metadata(((DETAILS_KEY, status.SerializeToString()),))
    context.set_code(_GRPC_CODES[status.code])
    context.set_details(status.message)
    return b""


def code_of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Return the code of a call whose handler has returned."""
    code: grpc.StatusCode | None = context.code()
    return "OK" if code is None else code.name


def code_of_cancel(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Return the name of the code of a call that was cancelled: a client whose deadline is over may say so first."""
    remaining = context.time_remaining()
    return "CANCELLED" if remaining is None or remaining > _CLOSE_TO_DEADLINE else "DEADLINE_EXCEEDED"


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: StatusError) -> None:
    status = encode_error(error)
    metadata = ((DETAILS_KEY, status.SerializeToString()),)
    await context.abort(_GRPC_CODES[status.code], status.message, metadata)
