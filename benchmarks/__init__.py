"""Measures the service against what the stack under it can do, side by side in one run (`make bench`).

A figure alone says more about the machine than about the code, so each one stands next to a baseline that was measured
in the same run, in turns with it. And a load generator counts answers, not work, so each workload asks the service
afterwards what it recorded and fails when that differs from what was sent.

- `workloads/`: what is measured, a module each; `bench.py`: turns, repetitions and servers; `report.py`: the results.
- `load/`: the load generators (h2load when it is installed, else ours), always in processes of their own.
- `baseline.py`: the empty server that the service is held against; `follow.py`: followers and the writer they hear.
"""
