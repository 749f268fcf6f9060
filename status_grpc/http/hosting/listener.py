"""Accepts connections within limits, before a TLS handshake begins."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable

from status_grpc.http.hosting.connections import ConnectionLimits, Place

#: How long a TLS handshake may take, in seconds.
HANDSHAKE_SECONDS = 5.0
#: The pause when the process has no descriptor left, in seconds.
_STARVED_SECONDS = 0.1
_STARVED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Listener:
    """A listening socket with the interface of asyncio's servers."""

    def __init__(
        self,
        listening: socket.socket,
        new_protocol: Callable[[Place], asyncio.Protocol],
        limits: ConnectionLimits,
        *,
        tls: ssl.SSLContext | None,
    ) -> None:
        listening.setblocking(False)
        self._socket = listening
        self._new_protocol = new_protocol
        self._limits = limits
        self._tls = tls
        self._handshakes: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.create_task(self._accept(), name="http-accept")

    def close(self) -> None:
        """Accept no more."""
        self._accepting.cancel()

    async def wait_closed(self) -> None:
        """Wait until nothing is accepted any more."""
        for task in self._handshakes:
            task.cancel()
        await asyncio.gather(self._accepting, *self._handshakes, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(self._socket)
            except OSError as error:
                if error.errno in _STARVED:
                    await asyncio.sleep(_STARVED_SECONDS)
                continue
            place = self._limits.admit(str(peer[0]) if isinstance(peer, tuple) else "")
            if place is None:
                connection.close()
                continue
            task = asyncio.create_task(self._open(connection, place))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _open(self, connection: socket.socket, place: Place) -> None:
        """Hand the connection to a protocol, which later gives up the place."""
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._new_protocol(place),
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if self._tls else None,
            )
        except BaseException as error:
            # After a failed handshake asyncio calls no method of the protocol.
            connection.close()
            place.give_up()
            if not isinstance(error, OSError):  # as a failed or slow handshake is
                raise
