"""A real browser calls and follows over HTTP, across restarts of the server.

It needs Chromium, which pip cannot install: `make test-browser` runs it. What a browser does is in the other tests,
too, done by Python.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from gateway import PATIENCE, Gateway

pytestmark = pytest.mark.skipif(
    not os.environ.get("STATUS_GRPC_BROWSER"), reason="needs Chromium, which pip cannot install: make test-browser"
)

PAGE = (Path(__file__).parent / "browser_page.html").read_bytes()
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--remote-debugging-port=0",  # it stays until it is told to go
]


class Origin(ThreadingHTTPServer):
    """Where the page comes from: an origin of its own."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(("127.0.0.1", 0), _Pages)
        self.gateway = gateway
        self.reports: queue.Queue[Any] = queue.Queue()


class _Pages(BaseHTTPRequestHandler):
    server: Origin

    def do_GET(self) -> None:
        self._answer(PAGE if self.path.startswith("/page") else b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/report":
            self.server.reports.put(json.loads(body))
        else:
            self.server.gateway.stop() if self.path == "/stop" else self.server.gateway.kill()
            self.server.gateway.start()
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def origin(new_gateway: Callable[..., Gateway]) -> Iterator[Origin]:
    with Origin(new_gateway("--http-origins", "*")) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_page_calls_and_follows_across_restarts(origin: Origin, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert browser is not None, "there is no Chromium on the path: apt-get install chromium"
    url = f"http://127.0.0.1:{origin.server_address[1]}/page?server={origin.gateway.url}"
    command = [browser, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", url]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            report = origin.reports.get(timeout=2 * PATIENCE)
        finally:
            process.terminate()
    everything = list(range(1, 22))
    assert report == {
        "created": "from-a-browser",
        "refused": [404, "not_found"],
        "connect": everything,
        "sources": [
            {"done": "TRACE_EVENT_STATUS_OK", "stopped": True, "sequences": [[n, n] for n in everything]},
        ]
        * 2,
        "unknown": [True, 0],
    }
