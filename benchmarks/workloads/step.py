"""W5: what the decorator costs a step, beside the blocking HTTP post of its predecessor."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks.bench import Bench, NotDoneError, Row, Sample
from benchmarks.payloads import new_traces
from status_grpc import configure, flush, status_add, status_wrapper

NAME = "W5"
TITLE = "A step under @status_wrapper"
STEPS = 300


def run(bench: Bench) -> Iterator[Row]:
    with bench.service() as service, old_service() as post:
        configure(server=service.address, component="bench", flush_timeout=30)
        (trace_id,) = new_traces(service.stub, 1)
        event = {"execution_name": trace_id, "requestContext": {"authorizer": {"principalId": "user"}}}
        try:
            for name, bar, step in (
                ("flush in the background", 100.0, status_wrapper(flush="background")(handler)),
                ("flushed at its end", None, status_wrapper(handler)),
            ):
                yield measure(bench, f"{TITLE}, {name}", bar, lambda step=step: step(event, None), post)
            if not flush(30):
                raise NotDoneError("the events of the steps did not arrive")
        finally:
            configure(reporting=False)


def handler(event: dict, context: None) -> None:  # noqa: ARG001 - what a Lambda handler takes
    status_add(domain="dataset", domain_id="bench/1", status_body={"rows": 7, "files": ["a", "b"]})


def measure(bench: Bench, what: str, bar: float | None, step: Callable[[], None], post: Callable[[], None]) -> Row:
    def sample(work: Callable[[], None]) -> Sample:
        for _ in range(STEPS // 10):
            work()
        began = time.perf_counter()
        for _ in range(STEPS):
            work()
        took = time.perf_counter() - began
        flush(30)
        return Sample(took / STEPS * 1e6)

    pairs = bench.take_turns(lambda: sample(step), lambda: sample(post), bench.settings.repetitions)
    return Row(NAME, what, "us/step", pairs, "blocking HTTP post", bar, "value", higher_is_better=False)


@contextmanager
def old_service() -> Iterator[Callable[[], None]]:
    """A call that posts an event over a kept-alive connection to a server that does nothing with it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), OldService)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1])
    body = json.dumps({"domain": "dataset", "domain_id": "bench/1", "component": "bench", "operation": "handler"})

    def post() -> None:
        connection.request("POST", "/status/t", body, {"Content-Type": "application/json"})
        connection.getresponse().read()

    try:
        yield post
    finally:
        connection.close()
        server.shutdown()
        server.server_close()


class OldService(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass
