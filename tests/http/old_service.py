"""A small older status service: what it knows is in memory, and what it was asked is kept."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


class OldService:
    def __init__(self) -> None:
        self.reset()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/status-api"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def reset(self) -> None:
        self.traces: dict[str, list[dict[str, Any]]] = {}
        self.paths: dict[str, str] = {}
        #: (method, path, headers, body) of each request.
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        #: What to answer instead: a status code and a body.
        self.trouble: tuple[int, bytes] | None = None
        #: Headers of every answer.
        self.headers: dict[str, str] = {}
        #: Seconds between two bytes of an answer; None for all at once.
        self.trickle: float | None = None

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        kind, _, rest = path.removeprefix("/status-api/").partition("/")
        name = unquote(rest)
        if kind == "status-from-path":
            trace_id = self.paths.get(base64.b64decode(name).decode())
            return (200, {"id": trace_id, "trace_id": trace_id}) if trace_id else (404, {"message": "No such path"})
        if name not in self.traces:
            return 404, {"message": "Not here either"}
        if method == "GET":
            return 200, self.traces[name]
        event = {**json.loads(body), "trace_event_id": f"old-{time.monotonic_ns()}"}
        self.traces[name].append(event)
        return 200, event

    def _handler(service) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                service.asked.append((self.command, self.path, headers, body))
                if service.trouble is not None:
                    code, content = service.trouble
                else:
                    code, value = service.answer(self.command, self.path, body)
                    content = json.dumps(value).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(content)))
                for name, value in service.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self._write(content)

            def _write(self, content: bytes) -> None:
                try:
                    if service.trickle is None:
                        self.wfile.write(content)
                        return
                    for byte in content:
                        self.wfile.write(bytes((byte,)))
                        time.sleep(service.trickle)
                except OSError:
                    self.close_connection = True  # the other end has had enough

            do_POST = do_GET  # noqa: N815

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler
