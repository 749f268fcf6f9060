"""Programs that run in the environments of other services, to be measured beside ours (`benchmarks.workloads.peers`).

Each prints "ready", then for each line of standard input (how many calls, how many at a time) the seconds they took.
"""
