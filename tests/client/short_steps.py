"""A short-lived process of a pipeline that reports a few steps."""

from __future__ import annotations

import atexit
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from status_grpc import status_step, trace

#: The operations of each of the three processes of a pipeline; the first also creates the trace.
PARTS = {"first": ["read", "check", "sort"], "middle": ["convert", "copy", "index"], "last": ["publish", "tidy", "end"]}
#: What a trace has in the end: that of the first event is empty.
OPERATIONS = ["", *(operation for operations in PARTS.values() for operation in operations)]


class Stopwatch:
    """Measures the longest time that reporting has taken."""

    longest = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.longest = max(self.longest, time.monotonic() - began)


def main() -> None:
    """Run a part of the pipeline.

    The arguments are the part and the id of the trace.
    """
    part, trace_id = sys.argv[1:]
    stopwatch = Stopwatch()
    if part == "first":
        with stopwatch.running():
            started = trace("dataset", "bike-trips/1", trace_id=trace_id, component=part, finish=False).__enter__()
    for operation in PARTS[part]:
        end = {"trace_status": "FINISHED"} if operation == "end" else {}
        with stopwatch.running(), status_step(operation, trace_id=trace_id, component=part, **end):
            pass
    if part == "first":
        started.__exit__(None, None, None)
    print(json.dumps({"slowest": stopwatch.longest}))
    # What the interpreter does at its end. A process that is forked by the tests ends without it.
    atexit._run_exitfuncs()


if __name__ == "__main__":
    main()
