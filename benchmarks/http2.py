"""As much of HTTP/2 as it takes to load a gRPC server.

grpcio's own client costs about as much per call as the server that it calls: on a machine with few cores the echo would
measure the client, and every ratio to the echo would flatter the service. This one sends prepared frames and looks at
frame headers only. It reads no status: a gRPC answer without a message is an error (`Exchange.ended` tells), and the
reason can be had by asking once with an ordinary client (`payloads.rehearse`).
"""

import asyncio
import struct
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Final, cast

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM: Final = 1
ACK: Final = 1
END_HEADERS: Final = 4
INITIAL_WINDOW_SIZE: Final = 4  # a setting's number
MAX_WINDOW: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65_535
MAX_FRAME: Final = 16_384
_FRAME_HEADER: Final = struct.Struct(">BHBBI")  # length in 24 bits, type, flags, stream
_SETTING: Final = struct.Struct(">HI")


class Exchange(ABC):
    """What a request's sender does with the answer."""

    __slots__ = ()

    @abstractmethod
    def received(self, chunk: bytes) -> None:
        """Take a piece of the answer: gRPC messages with their 5-byte prefixes, cut anywhere."""

    @abstractmethod
    def ended(self, closed: bool) -> None:
        """Take note of the end; closed: by the server's trailers, not by a reset or a lost connection."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _FRAME_HEADER.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def grpc_message(message: bytes) -> bytes:
    """The message as it stands in a DATA frame: not compressed, with its length."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def request_headers(authority: str, path: str) -> bytes:
    """A header block that touches no dynamic table, so that every call on every connection can send the same bytes."""

    def text(value: str) -> bytes:
        encoded = value.encode()
        assert len(encoded) < 127, "longer strings need a length of several bytes"
        return bytes([len(encoded)]) + encoded

    return (
        b"\x83\x86"  # :method POST, :scheme http
        + (b"\x04" + text(path))
        + (b"\x01" + text(authority))
        + (b"\x0f\x10" + text("application/grpc"))  # content-type
        + (b"\x00" + text("te") + text("trailers"))
    )


class Connection(asyncio.Protocol):
    """A connection that carries any number of calls at once."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._exchanges: dict[int, Exchange] = {}
        self._next_stream = 1
        self._input = b""
        self._output: list[bytes] = []
        self._blocked: deque[tuple[bytes, int]] = deque()
        self._window = DEFAULT_WINDOW
        self._stream_window = DEFAULT_WINDOW
        self._unacknowledged = 0
        self._control: dict[int, Callable[[int, int, bytes], None]] = {
            RST_STREAM: self._on_reset,
            SETTINGS: self._on_settings,
            PING: self._on_ping,
            WINDOW_UPDATE: self._on_window,
        }
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(cls, address: str) -> "Connection":
        host, _, port = address.rpartition(":")
        _, connection = await asyncio.get_running_loop().create_connection(cls, host, int(port))
        await asyncio.wait_for(connection.settled, 10)
        return connection

    def begin(self, headers: bytes, body: bytes, exchange: Exchange) -> None:
        """Send a request, at the next flush or as soon as the server's window has room for it."""
        if len(body) > self._stream_window:
            raise ValueError(f"a body of {len(body)} bytes does not fit the server's window of {self._stream_window}")
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self._exchanges[stream] = exchange
        frames = frame(HEADERS, END_HEADERS, stream, headers)
        for start in range(0, len(body), MAX_FRAME):
            last = start + MAX_FRAME >= len(body)
            frames += frame(DATA, END_STREAM if last else 0, stream, body[start : start + MAX_FRAME])
        if self._blocked or len(body) > self._window:
            self._blocked.append((frames, len(body)))
        else:
            self._window -= len(body)
            self._output.append(frames)

    def flush(self) -> None:
        if self._output and self._transport is not None:
            self._transport.write(b"".join(self._output))
        self._output.clear()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without being an instance
        self._output.append(PREFACE)
        self._output.append(frame(SETTINGS, 0, 0, _SETTING.pack(INITIAL_WINDOW_SIZE, MAX_WINDOW)))
        self._output.append(frame(WINDOW_UPDATE, 0, 0, (MAX_WINDOW - DEFAULT_WINDOW).to_bytes(4, "big")))
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.settled.done():
            self.settled.set_exception(ConnectionError(f"the server hung up: {exc}"))
        exchanges, self._exchanges = self._exchanges, {}
        for exchange in exchanges.values():
            exchange.ended(False)

    def data_received(self, data: bytes) -> None:
        data = self._input + data if self._input else data
        at, size = 0, len(data)
        while size - at >= 9:
            high, low, kind, flags, stream = _FRAME_HEADER.unpack_from(data, at)
            end = at + 9 + (high << 16 | low)
            if end > size:
                break
            self._handle(kind, flags, stream, data, at + 9, end)
            at = end
        self._input = data[at:]
        self.flush()

    def _handle(self, kind: int, flags: int, stream: int, data: bytes, at: int, end: int) -> None:
        if kind in (DATA, HEADERS):
            if kind == DATA and end > at:
                self._replenish(end - at)
                exchange = self._exchanges.get(stream)
                if exchange is not None:
                    exchange.received(data[at:end])
            if flags & END_STREAM:
                self._end(stream, True)
        elif kind in self._control:
            self._control[kind](flags, stream, data[at:end])

    def _end(self, stream: int, closed: bool) -> None:
        exchange = self._exchanges.pop(stream, None)
        if exchange is not None:
            exchange.ended(closed)

    def _replenish(self, count: int) -> None:
        """The connection's window is as large as it can be; tell the server now and then that it still is."""
        self._unacknowledged += count
        if self._unacknowledged > MAX_WINDOW // 4:
            self._output.append(frame(WINDOW_UPDATE, 0, 0, self._unacknowledged.to_bytes(4, "big")))
            self._unacknowledged = 0

    def _on_reset(self, _flags: int, stream: int, _payload: bytes) -> None:
        self._end(stream, False)

    def _on_settings(self, flags: int, _stream: int, payload: bytes) -> None:
        if flags & ACK:
            return
        for number, value in _SETTING.iter_unpack(payload):
            if number == INITIAL_WINDOW_SIZE:
                self._stream_window = value
        self._output.append(frame(SETTINGS, ACK, 0, b""))
        if not self.settled.done():
            self.settled.set_result(None)

    def _on_ping(self, flags: int, _stream: int, payload: bytes) -> None:
        if not flags & ACK:
            self._output.append(frame(PING, ACK, 0, payload))

    def _on_window(self, _flags: int, stream: int, payload: bytes) -> None:
        if stream:
            return  # no body is larger than a new stream's window
        self._window += int.from_bytes(payload, "big")
        while self._blocked and self._blocked[0][1] <= self._window:
            frames, size = self._blocked.popleft()
            self._window -= size
            self._output.append(frames)
