"""OpenLineage RunEvents (https://openlineage.io) <-> domain values, as JSON objects; pure, and without its library.

A trace is a run without a parent; an execution of a step is a run whose parent is the trace. `run_events` tells a trace
in RunEvents, `draft_of` makes the event to record of a RunEvent, `to_uri` and `from_uri` are about datasets.
"""

from status_grpc.wire.openlineage.accepting import draft_of
from status_grpc.wire.openlineage.datasets import from_uri, to_uri
from status_grpc.wire.openlineage.emitting import run_events

__all__ = ["draft_of", "from_uri", "run_events", "to_uri"]
