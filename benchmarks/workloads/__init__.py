"""What is measured: each module has NAME, TITLE and `run`, which yields rows as they are ready."""

from benchmarks.workloads import batch_update, command_line, create, follow, step, update

ALL = (update, batch_update, create, follow, step, command_line)
