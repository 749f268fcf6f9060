"""What may stand between a client and the HTTP edge: passes calls on, unless it is told to answer them itself."""

from __future__ import annotations

import http.client
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Misdeed = Callable[[BaseHTTPRequestHandler], None]


def says(status: int, body: bytes = b"<html>", kind: str = "text/html", **headers: str) -> Misdeed:
    """Answer so instead of asking the server."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        named = {"content-type": kind, "content-length": str(len(body))}
        for name, value in (named | {key.replace("_", "-"): value for key, value in headers.items()}).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def raw(data: bytes) -> Misdeed:
    """Answer with these bytes, which need not be HTTP, and hang up."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(data)
        handler.close_connection = True

    return answer


def trickles(handler: BaseHTTPRequestHandler) -> None:
    """Answer a byte at a time, for ever."""
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            handler.wfile.write(b"x-more: more\r\n")
            time.sleep(0.05)
    except OSError:
        handler.close_connection = True


def hangs(handler: BaseHTTPRequestHandler) -> None:
    """Never answer."""
    handler.connection.settimeout(60)
    handler.rfile.read(1)
    handler.close_connection = True


class Between(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, server: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.server = server
        #: What happens to the next calls.
        self.misdeeds: deque[Misdeed] = deque()
        #: What happens to all others, if not what should.
        self.always: Misdeed | None = None
        #: After the server has recorded the call, if so; else before it hears of it.
        self.after = False
        #: Larger bodies are refused.
        self.most_bytes = 1 << 30
        self.seen: list[tuple[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Between

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        self.server.seen.append((self.path, self.headers))
        if len(body) > self.server.most_bytes:
            says(413)(self)
            return
        misdeed = self.server.misdeeds.popleft() if self.server.misdeeds else self.server.always
        if misdeed is not None and not self.server.after:
            misdeed(self)
            return
        connection = http.client.HTTPConnection(self.server.server, timeout=60)
        connection.request("POST", self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        (misdeed or says(answer.status, content, answer.headers["content-type"]))(self)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def between(server: str) -> Iterator[Between]:
    """Stand between clients and the server at host:port."""
    with Between(server) as server_between:
        thread = threading.Thread(target=server_between.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server_between
        finally:
            server_between.shutdown()
            thread.join()
