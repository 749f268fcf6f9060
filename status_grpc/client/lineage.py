"""Asking for lineage, page by page."""

from __future__ import annotations

from tracestatus.v1 import status_service_pb2 as pb

from status_grpc.client.operations import Operation, attempts, call, checked_page
from status_grpc.client.options import ClientOptions
from status_grpc.domain.errors import FieldViolation, InvalidArgument
from status_grpc.domain.lineage import Lineage, LineageDirection, LineageEdge, LineageTrace
from status_grpc.domain.text import escape_surrogates
from status_grpc.wire.lineage import LINEAGE_DIRECTION_NUMBERS, to_edge, to_lineage_trace

_PAGE = 1000


def get_lineage(
    options: ClientOptions,
    uri: str,
    *,
    trace_id: str,
    version: str,
    direction: LineageDirection,
    max_depth: int,
    max_edges: int,
    timeout: float | None,
) -> Operation[Lineage]:
    """Read a lineage, all pages of it."""
    if uri and trace_id:
        raise InvalidArgument([FieldViolation("trace_id", "cannot be said together with uri")])
    tries = attempts(options, timeout)
    request = pb.GetLineageRequest(
        version=escape_surrogates(version),
        direction=LINEAGE_DIRECTION_NUMBERS[direction],
        max_depth=max_depth,
        max_edges=max_edges,
        page_size=_PAGE,
    )
    if trace_id:
        request.trace_id = escape_surrogates(trace_id)
    else:
        request.uri = escape_surrogates(uri)
    edges: list[LineageEdge] = []
    traces: dict[str, LineageTrace] = {}
    while True:
        answer: pb.GetLineageResponse = yield from call(tries, "GetLineage", request)
        checked_page(answer.edges, request, answer.next_page_token)
        checked_page(answer.traces, request, "")
        edges += map(to_edge, answer.edges)
        for trace in map(to_lineage_trace, answer.traces):
            traces.setdefault(trace.trace_id, trace)
        request.page_token = answer.next_page_token
        if not request.page_token:
            return Lineage(tuple(edges), tuple(traces.values()), answer.truncated)
