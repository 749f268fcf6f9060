"""Follows a trace to its end and says what happens; the exit code is the outcome."""

import sys

from status_grpc import Checkpoint, Reconnect, StatusClient, TraceEventStatus, TraceNotFound


def show_connection(reconnect: Reconnect) -> None:
    print(f"... {reconnect.error.message}; again in {reconnect.delay:.1f} s", file=sys.stderr)


def show_checkpoint(checkpoint: Checkpoint) -> None:
    if checkpoint.caught_up and not checkpoint.done:
        print(f"... up to date at {checkpoint.server_time:%H:%M:%S}", file=sys.stderr)


def watch(trace_id: str) -> int:
    with (
        StatusClient() as client,
        client.follow(trace_id, on_checkpoint=show_checkpoint, on_reconnect=show_connection) as events,
    ):
        try:
            for event in events:
                print(f"{event.sequence:4} {event.component}: {event.operation} {event.trace_event_status}")
        except TraceNotFound:
            print(f"There is no trace {trace_id}.", file=sys.stderr)
            return 2
        trace = events.finished_trace
    for reported in trace.errors:
        print(f"{reported.component}: {reported.error.message}")
    return 0 if trace.trace_event_status is TraceEventStatus.OK else 1


if __name__ == "__main__":
    sys.exit(watch(sys.argv[1]))
