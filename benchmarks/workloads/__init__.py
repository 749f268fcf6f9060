"""What is measured: each module has NAME, TITLE and `run`, which yields rows as they are ready."""

from benchmarks.workloads import batch_update, create, follow, step, update

ALL = (update, batch_update, create, follow, step)
