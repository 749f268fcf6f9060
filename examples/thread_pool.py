"""Steps in a thread pool. A thread knows nothing of the trace its work belongs to, unless it runs in its context."""

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from status_grpc import status_add, status_step, trace


def convert(part: int) -> int:
    with status_step("convert"):
        status_add(status_body={"part": part})
        return part * part


def pipeline(parts: int) -> tuple[str, list[int]]:
    with trace("dataset", "bike-trips/1", component="converter") as t, ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(copy_context().run, convert, part) for part in range(parts)]
        results = [future.result() for future in futures]
    return t.trace_id, results


if __name__ == "__main__":
    print(pipeline(20))
