"""W6: what the decorator costs a step, beside its predecessor (okdata-aws), which makes an HTTP post for each.

That one is measured at its best: it posts to a server on this machine that stores nothing, without a token and without
TLS. What it does in production is a round trip to an API gateway.
"""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.bench import Bench, NotDoneError, Row, Sample
from benchmarks.old import DECORATOR, installed
from benchmarks.payloads import new_traces
from status_grpc import configure, flush, status_add, status_wrapper

NAME = "W6"
TITLE = "A step under @status_wrapper"
STEPS = 300


def run(bench: Bench) -> Iterator[Row]:
    with bench.service() as service, old_steps() as old:
        configure(server=service.address, component="bench", flush_timeout=30)
        (trace_id,) = new_traces(service.stub, 1)
        event = {"execution_name": trace_id, "requestContext": {"authorizer": {"principalId": "user"}}}
        try:
            for name, bar, step in (
                ("flush in the background", 100.0, status_wrapper(flush="background")(handler)),
                ("flushed at its end", None, status_wrapper(handler)),
            ):
                yield measure(bench, f"{TITLE}, {name}", bar, lambda step=step: step(event, None), old)
            if not flush(30):
                raise NotDoneError("the events of the steps did not arrive")
        finally:
            configure(reporting=False)


def handler(event: dict, context: None) -> None:  # noqa: ARG001 - what a Lambda handler takes
    status_add(domain="dataset", domain_id="bench/1", status_body={"rows": 7, "files": ["a", "b"]})


def measure(bench: Bench, what: str, bar: float | None, step: Callable[[], None], old: Callable[[int], float]) -> Row:
    def new(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            step()
        return time.perf_counter() - began

    def sample(steps: Callable[[int], float]) -> Sample:
        steps(STEPS // 10)
        took = steps(STEPS)
        flush(30)
        return Sample(took / STEPS * 1e6)

    pairs = bench.take_turns(lambda: sample(new), lambda: sample(old), bench.settings.repetitions)
    return Row(NAME, what, "us/step", pairs, f"the same step ({DECORATOR})", bar, "value", higher_is_better=False)


@contextmanager
def old_steps() -> Iterator[Callable[[int], float]]:
    """A function that runs so many steps under the old decorator, and returns how many seconds they took."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), OldService)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    script = Path(__file__).parents[1] / "old_steps.py"
    command = [installed(DECORATOR) / "python", script, f"http://127.0.0.1:{server.server_address[1]}/status"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )

    def steps(count: int) -> float:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{count}\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise NotDoneError(f"the old decorator failed: {process.communicate()[1]}")
        return float(line)

    try:
        yield steps
    finally:
        process.kill()
        process.communicate()
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
