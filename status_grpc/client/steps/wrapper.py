"""status_wrapper: makes a step of any function: plain, coroutine, generator, asynchronous generator."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, TypeVar, overload

from status_grpc.client.reporting.once import log_fault
from status_grpc.client.steps.lambdas import fields_of_call
from status_grpc.client.steps.reported import OnError
from status_grpc.client.steps.step import Behaviour, Flush, OnException, Step

F = TypeVar("F", bound=Callable[..., Any])


@overload
def status_wrapper(function: F, /) -> F: ...


@overload
def status_wrapper(
    *,
    operation: str | None = None,
    on_exception: OnException | None = None,
    report_start: bool = False,
    flush: Flush = "end",
    on_error: OnError = "warn",
    **fields: Any,
) -> Callable[[F], F]: ...


def status_wrapper(
    function: F | None = None,
    /,
    *,
    operation: str | None = None,
    on_exception: OnException | None = None,
    report_start: bool = False,
    flush: Flush = "end",
    on_error: OnError = "warn",
    **fields: Any,
) -> F | Callable[[F], F]:
    """Make a step of a function, with or without arguments: `@status_wrapper` or `@status_wrapper(component="...")`.

    Each call is a step (see `status_step`, which explains the arguments) whose operation is the function's name. From
    the arguments of an AWS Lambda handler `(event, context)` it takes the trace (`event["execution_name"]`), the user
    and meta. A generator is one step from its first item to its last.
    """
    behaviour = Behaviour(on_exception, report_start, flush, on_error)

    def decorate(function: F) -> F:
        name: str = operation or getattr(function, "__name__", None) or type(function).__name__

        def step(arguments: tuple[Any, ...]) -> Step:
            return Step(behaviour, _fields(name, fields, arguments))

        return _wrap(function, step)

    return decorate if function is None else decorate(function)


def _fields(operation: str, given: dict[str, Any], arguments: tuple[Any, ...]) -> dict[str, Any]:
    fields = {"operation": operation}
    try:
        fields |= fields_of_call(arguments)
    except Exception:  # arguments may be anything
        log_fault()
    return fields | given


def _wrap(function: F, step: Callable[[tuple[Any, ...]], Step]) -> F:
    called = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    wrapper: Callable[..., Any]
    if inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            async with step(args):
                return await function(*args, **kwargs)

    elif inspect.isasyncgenfunction(called):

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return _async_generator(function(*args, **kwargs), step(args))

    elif inspect.isgeneratorfunction(called):

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return _generator(function(*args, **kwargs), step(args))

    else:

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with step(args):
                return function(*args, **kwargs)

    return wrapper  # type: ignore[return-value]


def _generator(inner: Generator[Any, Any, Any], step: Step) -> Generator[Any, Any, Any]:
    """Run the generator within the step, but give back to its caller the caller's own scope with each item."""
    with step:
        advance: Callable[[], Any] = functools.partial(next, inner)
        while True:
            try:
                item = advance()
            except StopIteration as stop:
                return stop.value
            step.leave()
            try:
                sent = yield item
            except GeneratorExit:
                step.resume()
                inner.close()
                raise
            except BaseException as error:
                advance = functools.partial(inner.throw, error)
            else:
                advance = functools.partial(inner.send, sent)
            step.resume()


async def _async_generator(inner: AsyncGenerator[Any, Any], step: Step) -> AsyncGenerator[Any, Any]:
    async with step:
        advance: Callable[[], Any] = functools.partial(anext, inner)
        while True:
            try:
                item = await advance()
            except StopAsyncIteration:
                return
            step.leave()
            try:
                sent = yield item
            except GeneratorExit:
                step.resume()
                await inner.aclose()
                raise
            except BaseException as error:
                advance = functools.partial(inner.athrow, error)
            else:
                advance = functools.partial(inner.asend, sent)
            step.resume()
