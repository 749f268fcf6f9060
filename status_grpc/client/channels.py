"""Connections to a server: channels and their options, and what a failed call means. The only door to gRPC."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import grpc.aio

from status_grpc.client.options import ClientOptions, is_local
from status_grpc.client.retrying import NotTheService, not_connected
from status_grpc.domain.errors import DeadlineExceeded, Internal, StatusError, Unavailable
from status_grpc.wire.errors import DETAILS_KEY, decode_error

#: A connection for calls that has carried none for so many seconds of the wall clock is replaced: this process may have
#: been frozen, and the other end may have forgotten the connection without a word.
IDLE = 60.0

_COMMON: list[tuple[str, int | str]] = [
    # The server allows a ping every 20 s, and also without calls. Ship both sides' settings together.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", 8 * 1024 * 1024),
    ("grpc.lb_policy_name", "round_robin"),
    # Retrying is ours: gRPC's own knows nothing of the total time, and stops at the first message.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]
_STREAMS: list[tuple[str, int | str]] = [
    # Streams have connections of their own, so that many of them never keep a call waiting.
    ("grpc.use_local_subchannel_pool", 1),
    # Without it a client that stops reading takes in megabytes before the server notices.
    ("grpc.http2.bdp_probe", 0),
]


class ChannelState:
    """When a channel was last good."""

    def __init__(self) -> None:
        self.used_at = time.time()
        self.answered_at = time.monotonic()

    @property
    def is_stale(self) -> bool:
        """Whether it may be dead without knowing. By the wall clock, which goes on while a process is frozen."""
        return not 0 <= time.time() - self.used_at < IDLE

    def use(self) -> None:
        """Note that a call begins."""
        self.used_at = time.time()

    def answered(self) -> None:
        """Note that an answer came."""
        self.used_at, self.answered_at = time.time(), time.monotonic()

    def seems_dead(self, error: StatusError, begun_at: float) -> bool:
        """Return whether the next attempt had better be made on another connection.

        That is so when a call that began at `begun_at` got no answer in time, and no other call has got one since:
        perhaps nobody is at the other end, without TCP knowing. And when the error is not the service's own: the
        connection itself may be damaged.
        """
        if isinstance(error, Internal):
            return not error.incident
        return isinstance(error, DeadlineExceeded) and self.answered_at < begun_at


#: What gRPC says when there is no connection.
_NOT_CONNECTED = ("failed to connect", "DNS resolution failed", "errors resolving", "last error")

#: What gRPC says of an answer that is HTTP and not gRPC, such as a 404 of a proxy.
_HTTP_STATUS = "Received http2 header with status"


def channel_options(options: ClientOptions, *, streams: bool) -> list[tuple[str, int | str]]:
    """Return the options of a channel for calls or for streams."""
    chosen = _COMMON + (_STREAMS if streams else [])
    if is_local(options.server):
        chosen = [*chosen, ("grpc.enable_http_proxy", 0)]
    return chosen


def open_channel(options: ClientOptions, *, streams: bool) -> grpc.Channel:
    """Return a new channel. It connects when the first call is made."""
    arguments = channel_options(options, streams=streams)
    if options.uses_tls:
        return grpc.secure_channel(options.server, _credentials(options), arguments)
    return grpc.insecure_channel(options.server, arguments)


def open_aio_channel(options: ClientOptions, *, streams: bool) -> grpc.aio.Channel:
    """Return a new channel for the running event loop. It connects when the first call is made."""
    arguments = channel_options(options, streams=streams)
    if options.uses_tls:
        return grpc.aio.secure_channel(options.server, _credentials(options), arguments)
    return grpc.aio.insecure_channel(options.server, arguments)


def _credentials(options: ClientOptions) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=_read(options.ca), private_key=_read(options.key), certificate_chain=_read(options.cert)
    )


def _read(path: str | None) -> bytes | None:
    return Path(path).read_bytes() if path else None


def to_error(error: grpc.RpcError) -> StatusError:
    """Return what a failed call means."""
    # grpc.RpcError promises nothing; those of failed calls are also grpc.Call, and aio's has the same three methods.
    assert isinstance(error, grpc.Call | grpc.aio.AioRpcError)
    code, message = error.code(), error.details()
    if code is grpc.StatusCode.CANCELLED:
        # Not by us, who do not ask afterwards: a server that went away without a word.
        return Unavailable(message or "the server cancelled the call")
    number: int = code.value[0]
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            return decode_error(number, message, value)
    if code is grpc.StatusCode.UNAVAILABLE and any(words in (message or "") for words in _NOT_CONNECTED):
        return not_connected(message or "")
    decoded = decode_error(number, message, None)
    if code is grpc.StatusCode.UNIMPLEMENTED and _HTTP_STATUS in (message or ""):
        return NotTheService(message)
    if code is grpc.StatusCode.UNIMPLEMENTED and type(decoded) is Internal:
        return Internal(f"the server does not know this call: {message}", incident="unimplemented")
    return decoded
