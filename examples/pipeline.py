"""A pipeline of three steps in plain Python, and who waits for it."""

from status_grpc import StatusClient, status_add, status_step, trace


def pipeline() -> str:
    with trace("dataset", "bike-trips/1", component="pipeline") as t:
        for name in ("validate", "convert", "write"):
            with status_step(name):
                status_add(status_body={"rows": 1200})
    return t.trace_id


if __name__ == "__main__":
    trace_id = pipeline()
    done = StatusClient().wait(trace_id)
    print(f"{trace_id}: {done.trace_status} {done.trace_event_status} after {done.event_count} events")
