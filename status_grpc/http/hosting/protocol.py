"""HTTP/1.1 by uvicorn, with its errors as {"message": ...} and a limit to the time that the head of a request takes."""

from __future__ import annotations

import asyncio
import json
import sys
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from status_grpc.http.hosting.connections import Place
from status_grpc.http.hosting.strict_connection import HEAD_BYTES, HEAD_TOO_LARGE, StrictConnection

#: The key of an ASGI scope's state under which the connection's `abort` is: closing would wait for the client to read.
ABORT = "abort_connection"


class Protocol(H11Protocol):
    """One connection. `request_seconds`: how long the head of a request may take to arrive."""

    def __init__(self, *args: Any, request_seconds: float, place: Place, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = StrictConnection(h11.SERVER, HEAD_BYTES)
        self._place = place
        self._request_seconds = request_seconds
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, ABORT: transport.abort}
        self._set_timer()

    def data_received(self, data: bytes) -> None:
        """Take what has arrived."""
        super().data_received(data)
        self._set_timer()

    def on_response_complete(self) -> None:
        """Go on with what has arrived since, or wait for it."""
        super().on_response_complete()
        self._set_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self._stop_timer()
        self._place.give_up()

    def _set_timer(self) -> None:
        """Let the time run while something is awaited that no application waits for."""
        if not self._is_due():
            self._stop_timer()
        elif self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self._request_seconds, self._too_late)

    def _is_due(self) -> bool:
        """Whether the rest of a head is awaited, or the rest of a body whose request has been answered."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None:
            return True
        if self.conn.their_state is h11.IDLE:
            return bool(self.conn.trailing_data[0])
        return self.conn.their_state is h11.SEND_BODY and cycle.response_complete

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the request took too long to arrive")

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP request, or has too large a head."""
        error = sys.exception()  # what the caller, uvicorn, is handling
        hint = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        if hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            self._refuse(hint, HEAD_TOO_LARGE)
        else:
            self._refuse(hint, "this is not a valid HTTP request")

    def _refuse(self, status: int, message: str) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps({"message": message}).encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            events: list[h11.Event] = [
                h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase.encode()),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ]
            self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            # The rest of a body is no HTTP, and the application must not answer a request that has been refused.
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()
