"""The bearer token that goes with each call: as it was given, from a file, or from a function."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path

from status_grpc.client.options import ClientOptions
from status_grpc.domain.errors import Unauthenticated

Metadata = tuple[tuple[str, str], ...]


def metadata(options: ClientOptions) -> Metadata:
    """Return what goes with a call.

    Raises Unauthenticated for a file that cannot be read and for what is no token; and what the function raises.
    """
    token = _token(options)
    if inspect.isawaitable(token):
        if inspect.iscoroutine(token):
            token.close()
        raise Unauthenticated("a coroutine function that returns the token is for AsyncStatusClient")
    return _as_metadata(token)


async def async_metadata(options: ClientOptions) -> Metadata:
    """As `metadata`, where the function may be a coroutine function."""
    token = _token(options)
    return _as_metadata(await token if inspect.isawaitable(token) else token)


def with_guarded_token(options: ClientOptions) -> ClientOptions:
    """Return the options with a token function that raises nothing but Unauthenticated."""
    function = options.token
    if not callable(function):
        return options

    def guarded() -> str | Awaitable[str]:
        try:
            return function()
        except Exception as error:
            raise Unauthenticated(f"no token is to be had: {type(error).__name__}: {error}") from error

    return replace(options, token=guarded)


def _token(options: ClientOptions) -> str | Awaitable[str] | None:
    if callable(options.token):
        return options.token()
    if options.token is not None or options.token_file is None:
        return options.token
    try:
        # Read anew each time: such files are rotated.
        return Path(options.token_file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Unauthenticated(f"no token is to be had: {error}") from None


def _as_metadata(token: str | None) -> Metadata:
    if token is None:
        return ()
    if not token or not token.isascii() or not token.isprintable():
        raise Unauthenticated("the token is not a line of ASCII text")
    return (("authorization", f"Bearer {token}"),)
