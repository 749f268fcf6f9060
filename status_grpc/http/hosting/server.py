"""Serves an ASGI application on a port, in the event loop of the process."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Protocol as TypingProtocol

import uvicorn

from status_grpc.http.hosting.connections import ConnectionLimits, Place, TrustedProxies
from status_grpc.http.hosting.listener import Listener
from status_grpc.http.hosting.protocol import Protocol

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

#: A kept connection that is idle lives for so long, in seconds: longer than clients keep theirs, so that a request
#: does not meet a connection that is just being closed.
_KEEP_ALIVE_SECONDS = 75


class App(TypingProtocol):
    """What is served."""

    draining: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

    async def close(self) -> None:
        """Let go of what requests have needed."""


@dataclass(frozen=True, kw_only=True)
class HostingSettings:
    """How connections are served."""

    #: How long the head of a request may take to arrive, in seconds.
    request_seconds: float
    most_connections: int
    most_connections_per_address: int
    proxies: TrustedProxies = field(default_factory=TrustedProxies)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None


class HttpServer:
    """A uvicorn server that leaves the signals to others."""

    def __init__(self, app: App, settings: HostingSettings) -> None:
        self._app = app
        self._config = uvicorn.Config(
            app,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
            ssl_ca_certs=None if settings.client_ca is None else str(settings.client_ca),
            ssl_cert_reqs=ssl.CERT_NONE if settings.client_ca is None else ssl.CERT_REQUIRED,
        )
        self._server = _Server(self._config, settings)
        self._task: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    def bind(self, host: str, port: int, *, shared: bool = False) -> int:
        """Bind the address, with others if it is shared, and return the port.

        Raises OSError when it is taken, or a TLS file cannot be read.
        """
        self._config.load()
        ipv6 = ":" in host
        self._socket = socket.create_server(
            (host, port),
            family=socket.AF_INET6 if ipv6 else socket.AF_INET,
            backlog=self._config.backlog,
            dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
            reuse_port=shared,
        )
        bound: int = self._socket.getsockname()[1]
        return bound

    async def start(self) -> None:
        """Begin to serve."""
        assert self._socket is not None
        self._task = asyncio.create_task(self._server.serve([self._socket]), name="http")
        listening = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait({self._task, listening}, return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        if self._task.done():
            self._task.result()

    def drain(self) -> None:
        """Refuse new requests from now on, with a reason."""
        self._app.draining = True

    async def stop(self, seconds: float) -> None:
        """Close the port, let requests under way end within so many seconds, and stop."""
        if self._task is None:
            if self._socket is not None:
                self._socket.close()
            return
        self._config.timeout_graceful_shutdown = seconds  # type: ignore[assignment]  # asyncio takes fractions, too
        self._server.should_exit = True
        await self._task
        await self._app.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, settings: HostingSettings) -> None:
        super().__init__(config)
        self._settings = settings
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections by a listener of ours, which has limits."""
        settings = self._settings
        limits = ConnectionLimits(settings.most_connections, settings.most_connections_per_address, settings.proxies)
        new_protocol = functools.partial(
            Protocol,
            config=self.config,
            server_state=self.server_state,
            app_state={},
            request_seconds=settings.request_seconds,
        )

        def accepted(place: Place) -> asyncio.Protocol:
            return new_protocol(place=place)

        self.servers = [Listener(each, accepted, limits, tls=self.config.ssl) for each in sockets or ()]  # type: ignore[misc]
        self.started = True
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone: the process has handlers of its own, which drain both edges."""
        yield
