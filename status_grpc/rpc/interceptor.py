"""What is wrapped around every call: errors become google.rpc statuses, and what fails is logged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

import grpc

from status_grpc.domain.errors import Draining, InvalidArgument, StatusError
from status_grpc.edge.incidents import log_failed, trace_id_of, unforeseen
from status_grpc.edge.observing import CallObserver
from status_grpc.rpc.handlers import SERVICE_NAME
from status_grpc.rpc.wrapping import MethodInterceptor
from status_grpc.wire.errors import DETAILS_KEY, encode_error
from status_grpc.wire.parsing import Malformed

_SERVICE_PREFIX = f"/{SERVICE_NAME}/"

_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}

#: A call that is cancelled when less than this is left of its time, in seconds, was cancelled by its deadline.
_CLOSE_TO_DEADLINE = 0.05


class CallInterceptor(MethodInterceptor):
    """Runs a call and translates how it ended. Nothing ends as UNKNOWN, and no internal text leaves the server."""

    def __init__(self, observer: CallObserver | None = None) -> None:
        super().__init__()
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
        """Run the call; abort it with the error's code and details when one is raised."""
        observer = self._observer
        if observer is None or not method_name.startswith(_SERVICE_PREFIX):
            return await self._run(method, request_or_iterator, context, method_name)
        name = method_name[len(_SERVICE_PREFIX) :]
        observer.began(name)
        began = perf_counter()
        code = "CANCELLED"
        try:
            result = await self._run(method, request_or_iterator, context, method_name)
            code = "OK"
            return result
        except grpc.aio.AbortError:
            code = code_of_abort(context)
            raise
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
        try:
            if self.draining and method_name.startswith(_SERVICE_PREFIX):
                raise Draining
            if type(request_or_iterator) is Malformed:
                raise InvalidArgument([request_or_iterator.violation])
            result = method(request_or_iterator, context)
            if hasattr(result, "__aiter__"):
                return result  # the reflection and health services, which are not ours
            return await result
        except StatusError as raised:
            error = raised
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception as failure:
            if context.done():
                # The client is gone: what failed is the writing to it.
                raise asyncio.CancelledError from failure
            error = unforeseen(failure, method_name, trace_id=trace_id_of(request_or_iterator))
        log_failed(error, method_name, trace_id_of(request_or_iterator))
        await _abort(context, error)


def code_of_abort(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Return the name of the code that the call was aborted with."""
    code: Any = context.code()  # as it was given: a code, or its number
    return code.name if isinstance(code, grpc.StatusCode) else _GRPC_CODES[int(code)].name


def code_of_cancel(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Return the name of the code of a call that was cancelled: a client whose deadline is over may say so first."""
    remaining = context.time_remaining()
    return "CANCELLED" if remaining is None or remaining > _CLOSE_TO_DEADLINE else "DEADLINE_EXCEEDED"


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: StatusError) -> None:
    status = encode_error(error)
    metadata = ((DETAILS_KEY, status.SerializeToString()),)
    await context.abort(_GRPC_CODES[status.code], status.message, metadata)
