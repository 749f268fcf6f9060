"""Every parser of `status_grpc.wire`, as a function of bytes, with the errors that it may raise."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tracestatus.v1 import status_service_pb2 as pb

from status_grpc.domain.errors import FieldViolation, InvalidArgument
from status_grpc.domain.limits import Limits
from status_grpc.edge.requests import Requests
from status_grpc.wire.errors import decode_error
from status_grpc.wire.json_messages import parse_json
from status_grpc.wire.json_values import NotJson, parse_value
from status_grpc.wire.old_events import REQUIRED_TO_UPDATE, read_old_event
from status_grpc.wire.openlineage import accept, read_json
from status_grpc.wire.parsing import Malformed
from status_grpc.wire.tokens import number_in_token, read_page_token, text_in_token, time_in_token
from status_grpc.wire.tolerant_json import parse_tolerant

LIMITS = Limits()
KINDS = [
    pb.CreateRequest,
    pb.UpdateRequest,
    pb.BatchUpdateRequest,
    pb.GetTraceRequest,
    pb.ListTracesRequest,
    pb.StreamTraceRequest,
    pb.WaitTraceRequest,
    pb.GetLineageRequest,
]
REQUESTS = Requests(LIMITS)


def binary_request(data: bytes) -> None:
    """Parse and check each type of request."""
    for kind in KINDS:
        message = REQUESTS.parser(kind)(data)
        if isinstance(message, pb.UpdateRequest):
            REQUESTS.update(message)
        elif isinstance(message, pb.CreateRequest):
            REQUESTS.create(message)
        elif isinstance(message, pb.BatchUpdateRequest):
            REQUESTS.batch_update(message)


def json_request(data: bytes) -> None:
    """Parse each type of request in JSON."""
    for kind in KINDS:
        assert isinstance(parse_json(kind, data), kind | Malformed)


def json_value(data: bytes) -> None:
    """Parse JSON."""
    parse_value(data)


def old_event(data: bytes) -> None:
    """Read an event of the older contract."""
    value = parse_tolerant(data, lambda _: None)
    if isinstance(value, dict):
        violations: list[FieldViolation] = []
        read_old_event(value, LIMITS, violations, [], required=REQUIRED_TO_UPDATE)


def run_event(data: bytes) -> None:
    """Read a RunEvent."""
    accept(read_json(data), LIMITS)


def page_token(data: bytes) -> None:
    """Read a page token."""
    token = data.decode("latin-1")
    read_page_token(("ListTraces",), token, time_in_token, text_in_token)
    read_page_token(("GetTrace",), token, number_in_token)


def error_details(data: bytes) -> None:
    """Read the details of an error."""
    decode_error(3, "message", data)
    decode_error(8, None, data)


#: Name -> parser, and what it may raise.
PARSERS: dict[str, tuple[Callable[[bytes], None], tuple[type[Exception], ...]]] = {
    "binary request": (binary_request, (InvalidArgument,)),
    "JSON request": (json_request, ()),
    "JSON value": (json_value, (NotJson,)),
    "older event": (old_event, (NotJson, InvalidArgument)),
    "RunEvent": (run_event, (NotJson, InvalidArgument)),
    "page token": (page_token, (InvalidArgument,)),
    "error details": (error_details, ()),
}

#: Where mutations begin.
SEEDS: list[Any] = [
    {
        "event": {
            "traceId": "t",
            "component": "c",
            "statusBody": {"a": [1, None, "x"]},
            "startTime": "2026-01-01T00:00:00Z",
        }
    },
    {
        "domain": "d",
        "domain_id": "x",
        "component": "c",
        "start_time": "2026-01-01T00:00:00Z",
        "end_time": "N/A",
        "trace_status": "FINISHED",
        "trace_event_status": "OK",
        "errors": [{"message": {"en": "x"}}],
        "duration": 1.5,
    },
    {
        "eventType": "COMPLETE",
        "eventTime": "2026-01-01T00:00:00Z",
        "run": {"runId": "r", "facets": {}},
        "job": {"namespace": "n", "name": "j"},
        "inputs": [{"namespace": "n", "name": "a"}],
    },
]
SEED_BYTES = [json.dumps(seed).encode() for seed in SEEDS] + [
    pb.UpdateRequest(event={"trace_id": "t", "component": "c", "attempt": 1}).SerializeToString(),
    pb.BatchUpdateRequest(requests=[{"event": {"trace_id": "t", "component": "c"}}] * 3).SerializeToString(),
]
