"""Shares the file descriptors of the process out among the edges, so that neither can take them all."""

from __future__ import annotations

import structlog

log = structlog.get_logger(__name__)

#: What the database, logs, pipes and the metrics port need, the connections of METRICS_CONNECTIONS included.
KEPT_BACK = 96
#: How many connections the metrics port may have, which also answers health checks.
METRICS_CONNECTIONS = 32
#: Fewer connections than this are of no use: the server starts nevertheless, and warns.
_FEW = 32


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one; return it."""
    try:
        import resource
    except ImportError:  # not a POSIX system: there is no such limit
        return 1_000_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return 1_000_000 if soft == resource.RLIM_INFINITY else soft


def connections_for_each(wanted: int, edges: int, descriptors: int) -> int:
    """Return how many connections each of the edges may have: as many as wanted, or as descriptors allow."""
    possible = (descriptors - KEPT_BACK) // edges
    if possible < _FEW:
        log.warning("few file descriptors", limit=descriptors, connections=max(possible, _FEW))
    return min(wanted, max(possible, _FEW))
