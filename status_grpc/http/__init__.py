"""The HTTP edge: the contract of the older status service, Connect, Server-Sent Events, OpenLineage."""
