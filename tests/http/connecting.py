"""Clients of Connect and gRPC-Web, with the messages of our stubs."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

from connectrpc.client import ConnectClientSync
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.protocol import ProtocolType
from gateway import PATIENCE
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1 import trace_pb2

SERVICE = pb.DESCRIPTOR.services_by_name["StatusService"]
METHODS = {
    method.name: MethodInfo(
        name=method.name,
        service_name=SERVICE.full_name,
        input=GetMessageClass(method.input_type),
        output=GetMessageClass(method.output_type),
        idempotency_level=IdempotencyLevel.NO_SIDE_EFFECTS,
        stream_type=StreamType.SERVER_STREAM if method.server_streaming else StreamType.UNARY,
    )
    for method in SERVICE.methods
}

FINISHED: dict[str, Any] = {
    "trace_status": trace_pb2.TRACE_STATUS_FINISHED,
    "trace_event_status": trace_pb2.TRACE_EVENT_STATUS_OK,
}


class Caller:
    """Calls by one protocol and in one encoding."""

    def __init__(self, url: str, *, protocol: ProtocolType = ProtocolType.CONNECT, as_json: bool = False) -> None:
        self.as_json = as_json
        codec = google_protobuf_json_codec() if as_json else google_protobuf_binary_codec()
        self._client = ConnectClientSync(url, codec=codec, protocol=protocol, timeout_ms=int(PATIENCE * 1000))

    def call(self, method: str, request: Message, **options: Any) -> Any:
        return self._client.execute_unary(request=request, method=METHODS[method], **options)

    def stream(self, **request: Any) -> Iterator[pb.StreamTraceResponse]:
        message = pb.StreamTraceRequest(**request)
        return self._client.execute_server_stream(request=message, method=METHODS["StreamTrace"])

    def create(self, trace_id: str, **fields: Any) -> Any:
        event = trace_pb2.TraceEvent(
            **{"domain": "dataset", "domain_id": "bike-trips/1", "component": "uploader"} | fields
        )
        return self.call("Create", pb.CreateRequest(event=event, trace_id=trace_id))

    def update(self, trace_id: str, **fields: Any) -> Any:
        event = trace_pb2.TraceEvent(**{"trace_id": trace_id, "component": "validator"} | fields)
        return self.call("Update", pb.UpdateRequest(event=event))


@contextlib.contextmanager
def refused() -> Iterator[list[Any]]:
    """Expect an error; what is yielded holds its code, its reason and its message after that."""
    told: list[Any] = []
    try:
        yield told
    except ConnectError as error:
        info = error_details_pb2.ErrorInfo()
        for detail in error.details:
            if detail.type_name == "google.rpc.ErrorInfo":
                info.ParseFromString(detail.message_bytes)
        told += [error.code.value, info.reason, error.message]
    else:
        raise AssertionError("it was not refused")


def envelope(data: bytes, flags: int = 0) -> bytes:
    """Return a message as streams of Connect and of gRPC-Web carry it."""
    return struct.pack(">BI", flags, len(data)) + data


def envelopes(body: bytes) -> list[tuple[int, bytes]]:
    """Return the messages of a body, each with its flags."""
    found = []
    while body:
        flags, length = struct.unpack_from(">BI", body)
        found.append((flags, body[5 : 5 + length]))
        body = body[5 + length :]
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what must come."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it has not come"
        time.sleep(0.02)
