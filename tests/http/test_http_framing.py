"""Requests that two readers might frame differently are refused, and the connection is closed."""

from __future__ import annotations

import socket

import h11
import pytest
from gateway import Gateway
from hypothesis import given
from hypothesis import strategies as st

from status_grpc.http.hosting.strict_connection import StrictConnection, framing_fault

POST = b"POST /status HTTP/1.1\r\nHost: localhost\r\n"


def answer(gateway: Gateway, request: bytes) -> bytes:
    host, port = gateway.http.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(request)
        received = b""
        while part := connection.recv(65536):
            received += part
        return received


@pytest.mark.parametrize(
    "request_bytes",
    [
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
        POST + b"Content-Length: 2,2\r\n\r\n{}",
        POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        POST.replace(b"\r\n", b"\n") + b"Content-Length: 2\n\n{}",
        POST + b"X: y\nContent-Length: 2\r\n\r\n{}",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" + POST + b"Content-Length: 2,2\r\n\r\n{}",
    ],
)
def test_ambiguous_framing_is_refused_and_the_connection_closed(gateway: Gateway, request_bytes: bytes) -> None:
    received = answer(gateway, request_bytes)  # returns only once the server has closed
    assert b"HTTP/1.1 400 " in received
    assert received.count(b"HTTP/1.1 ") == 1 + request_bytes.startswith(b"GET")


names = st.sampled_from([b"Content-Length", b"content-length", b"Transfer-Encoding", b"X-Other"])
values = st.sampled_from([b"2", b"2,2", b"chunked", b"", b"0"])


@given(st.lists(st.tuples(names, values), max_size=5), st.sampled_from([b"\r\n", b"\n"]))
def test_what_passes_has_one_length_at_most(fields: list[tuple[bytes, bytes]], end: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a" + b"".join(end + name + b": " + value for name, value in fields)
    lengths = [value for name, value in fields if name.lower() == b"content-length"]
    coded = any(name == b"Transfer-Encoding" for name, _ in fields)
    ambiguous = len(lengths) > 1 or b"2,2" in lengths or (bool(lengths) and coded) or (end == b"\n" and bool(fields))
    assert (framing_fault(head) is not None) is ambiguous


@given(st.binary(max_size=300))
def test_any_bytes_are_an_event_or_a_protocol_error(data: bytes) -> None:
    connection = StrictConnection(h11.SERVER, 32 * 1024)
    connection.receive_data(data)
    try:
        for _ in range(20):
            if connection.next_event() in (h11.NEED_DATA, h11.PAUSED):
                break
    except h11.RemoteProtocolError:
        pass
