"""What is measured: each module has NAME, TITLE and `run`, which yields rows as they are ready."""

from benchmarks.workloads import (
    batch_update,
    command_line,
    create,
    follow,
    footprint,
    growth,
    lineage,
    peers,
    read,
    step,
    update,
    watch_store,
    writers,
)

ALL = (update, batch_update, create, read, growth, lineage, follow, footprint, step, command_line, watch_store, writers)

#: What `make bench` leaves out, since it has to install much: `make bench-peers`.
PEERS = (peers,)
