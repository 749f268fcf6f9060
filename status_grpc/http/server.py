"""Runs the HTTP edge on a port of its own, in the event loop of the server, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import uvicorn

from status_grpc.http.app import HttpApp
from status_grpc.http.edge import HEAD_BYTES
from status_grpc.http.protocol import Protocol

#: A kept connection that is idle lives for so long, in seconds: longer than clients keep theirs, so that a request
#: does not meet a connection that is just being closed.
_KEEP_ALIVE_SECONDS = 75


class HttpServer:
    """A uvicorn server that leaves the signals to others."""

    def __init__(
        self,
        app: HttpApp,
        *,
        request_seconds: float,
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
        client_ca: Path | None = None,
    ) -> None:
        self._app = app
        self._config = uvicorn.Config(
            app,
            http=partial(Protocol, request_seconds=request_seconds),  # type: ignore[arg-type]  # called like a class
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            h11_max_incomplete_event_size=HEAD_BYTES,
            ssl_certfile=tls_cert,
            ssl_keyfile=tls_key,
            ssl_ca_certs=None if client_ca is None else str(client_ca),
            ssl_cert_reqs=ssl.CERT_NONE if client_ca is None else ssl.CERT_REQUIRED,
        )
        self._server = _Server(self._config)
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
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone: the process has handlers of its own, which drain both edges."""
        yield
