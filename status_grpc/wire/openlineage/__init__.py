"""OpenLineage RunEvents (https://openlineage.io) <-> domain values, as JSON objects; pure, and without its library.

A trace is a run without a parent; an execution of a step is a run whose parent is the trace. `run_events` tells a trace
in RunEvents, `accept` makes the event to record of a RunEvent, `to_uri` and `from_uri` are about datasets. `read_json`
parses what senders write.
"""

from status_grpc.wire.openlineage.accepting import Accepted, accept
from status_grpc.wire.openlineage.datasets import from_uri, to_uri
from status_grpc.wire.openlineage.emitting import run_events
from status_grpc.wire.openlineage.left_out import LeftOut
from status_grpc.wire.openlineage.lenient_json import clean, read_json
from status_grpc.wire.openlineage.reduction import bare

__all__ = ["Accepted", "LeftOut", "accept", "bare", "clean", "from_uri", "read_json", "run_events", "to_uri"]
