"""Connect and gRPC-Web for tracestatus.v1.StatusService: the calls of gRPC, for browsers, curl and plain HTTP clients.

connectrpc speaks the protocols; what a call does is `StatusCalls`. Here requests are decoded (binary or JSON), answers
are encoded, and errors leave with the code and the details that they have over gRPC.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import structlog
from connectrpc.code import Code as ConnectCode
from connectrpc.codec import Codec
from connectrpc.errors import ConnectError, ErrorDetail
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.request import RequestContext
from connectrpc.server import ConnectASGIApplication, Endpoint
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from protobuf.wkt import Any as PackedDetail
from starlette.routing import BaseRoute, Route
from tracestatus.v1 import status_service_pb2 as pb

from status_grpc.domain.errors import InvalidArgument, PassingError, StatusError
from status_grpc.edge.calls import checkpoint_message, encode_item
from status_grpc.edge.incidents import forget_frames, log_failed, trace_id_of, unforeseen
from status_grpc.http.compression import Gzip
from status_grpc.http.connect_requests import CheckedRequests, raised_errors
from status_grpc.http.edge import Edge, caller
from status_grpc.http.json_process import MOST_BYTES_IN_LOOP
from status_grpc.http.json_readers import encode_request
from status_grpc.http.streaming import STREAM_HEADERS
from status_grpc.service.following import Checkpoint, FollowItem
from status_grpc.wire.errors import CODES, encode_error
from status_grpc.wire.json_messages import event_json, message_json, parse_json
from status_grpc.wire.parsing import Malformed

M = TypeVar("M", bound=Message)
Context: TypeAlias = RequestContext[Any, Any]

_SERVICE = pb.DESCRIPTOR.services_by_name["StatusService"]
# Connect has one l in "canceled", which the service never says.
_CONNECT_CODES = {int(code): ConnectCode(code.name.lower()) for code in CODES.values()}

log = structlog.get_logger(__name__)


def connect_routes(edge: Edge) -> list[BaseRoute]:
    """Return the routes of /tracestatus.v1.StatusService/, one for each call."""
    connect = _Connect(
        service=edge,
        endpoints=_endpoints,
        read_max_bytes=edge.max_request_bytes,
        compressions=[Gzip(edge.max_request_bytes)],
        codecs=[_Carrier("proto"), _Carrier("json")],
    )
    return [
        Route(_path(method), CheckedRequests(connect, edge, streams=method.server_streaming, safe=_is_safe(method)))
        for method in _SERVICE.methods
    ]


class _Connect(ConnectASGIApplication[Edge]):
    @property
    def path(self) -> str:
        return f"/{_SERVICE.full_name}"


@dataclass(frozen=True, slots=True)
class _Request:
    """The bytes of a request, in binary or as JSON."""

    data: bytes
    as_json: bool


class _Carrier(Codec[bytes, Any]):
    """Carries bytes through connectrpc: what is in them is read and written here, where it may take its time."""

    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        return self._name

    def encode(self, message: bytes) -> bytes:
        return message

    def decode(self, data: bytes | bytearray, message_class: type[Any]) -> Any:
        return _Request(bytes(data), self._name == "json")


def _endpoints(edge: Edge) -> Mapping[str, Any]:
    calls = edge.calls
    unary: dict[str, Callable[..., Awaitable[bytes]]] = {
        "Create": calls.create,
        "Update": calls.update,
        "BatchUpdate": calls.batch_update,
        "Heartbeat": calls.heartbeat,
        "GetTrace": calls.get_trace,
        "GetByPath": calls.get_by_path,
        "ListTraces": calls.list_traces,
        "GetLineage": calls.get_lineage,
        "WaitTrace": calls.wait_trace,
    }
    endpoints: dict[str, Any] = {}
    for method in _SERVICE.methods:
        if method.server_streaming:
            endpoints[_path(method)] = Endpoint.server_stream(_info(method), _stream(edge, method))
        else:
            endpoints[_path(method)] = Endpoint.unary(_info(method), _unary(edge, unary[method.name], method))
    return endpoints


def _path(method: MethodDescriptor) -> str:
    return f"/{_SERVICE.full_name}/{method.name}"


def _is_safe(method: MethodDescriptor) -> bool:
    return bool(method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS)


def _info(method: MethodDescriptor) -> MethodInfo[_Request, bytes]:
    return MethodInfo(
        name=method.name,
        service_name=_SERVICE.full_name,
        input=_Request,
        output=bytes,
        idempotency_level=IdempotencyLevel.NO_SIDE_EFFECTS if _is_safe(method) else IdempotencyLevel.IDEMPOTENT,
        stream_type=StreamType.SERVER_STREAM if method.server_streaming else StreamType.UNARY,
    )


def _waiting(context: Context) -> dict[str, Any]:
    """Return what a call that waits has to know beside its request."""
    remaining = None if context.timeout_ms is None else context.timeout_ms / 1000
    return {"caller": caller.get() or "", "remaining": remaining}


def _unary(
    edge: Edge, call: Callable[..., Awaitable[bytes]], method: MethodDescriptor
) -> Callable[[_Request, Context], Awaitable[bytes]]:
    """Return the function that answers one request of a call."""
    request_kind: type[Message] = GetMessageClass(method.input_type)
    answer_kind: type[Message] = GetMessageClass(method.output_type)

    async def answer(request: _Request, context: Context) -> bytes:
        with _translated_errors(method.name, context):
            context.response_headers["cache-control"] = "no-store"
            message = await _decoded(edge, request, request_kind)
            encoded = await call(message, **(_waiting(context) if method.name == "WaitTrace" else {}))
            return await _as_json(encoded, answer_kind) if request.as_json else encoded

    return answer


def _stream(edge: Edge, method: MethodDescriptor) -> Callable[[_Request, Context], AsyncGenerator[bytes, None]]:
    """Return the function that answers StreamTrace."""

    async def stream(request: _Request, context: Context) -> AsyncGenerator[bytes, None]:
        with _translated_errors(method.name, context):
            for name, value in STREAM_HEADERS.items():
                context.response_headers[name] = value
            encode = _item_json if request.as_json else encode_item
            wanted = await _decoded(edge, request, pb.StreamTraceRequest)
            async with aclosing(edge.calls.follow(wanted, caller=caller.get() or "")) as items:
                async for item in items:
                    for message in encode(item):
                        yield message

    return stream


async def _decoded(edge: Edge, request: _Request, kind: type[M]) -> M:
    """Return the message. Raises InvalidArgument, which names the field, and Overloaded."""
    data, as_json = request.data, request.as_json
    if as_json and len(data) > MOST_BYTES_IN_LOOP:
        data, as_json = await edge.json.read(encode_request, data, kind.DESCRIPTOR.full_name), False
    message = parse_json(kind, data) if as_json else edge.requests.parser(kind)(data)
    if isinstance(message, Malformed):
        raise InvalidArgument([message.violation])
    structlog.contextvars.bind_contextvars(trace_id=trace_id_of(message))  # of this request's own context
    return message


async def _as_json(encoded: bytes, kind: type[Message]) -> bytes:
    def convert() -> bytes:
        message = kind.FromString(encoded)
        if isinstance(message, pb.BatchUpdateResponse):
            _drop_details(message)
        return message_json(message)

    return await asyncio.to_thread(convert) if len(encoded) > MOST_BYTES_IN_LOOP else convert()


def _drop_details(response: pb.BatchUpdateResponse) -> None:
    """Drop the details of the items' errors.

    connect-es cannot read a message with a detail of a type that it does not know.
    """
    for result in response.results:
        if result.HasField("error"):
            result.error.ClearField("details")


def _item_json(item: FollowItem) -> Iterator[bytes]:
    """Yield the StreamTraceResponses that tell it, as JSON."""
    if isinstance(item, Checkpoint):
        yield message_json(pb.StreamTraceResponse(checkpoint=checkpoint_message(item)))
    else:
        for event in item:
            yield b'{"event":%b}' % event_json(event)


@contextmanager
def _translated_errors(method: str, context: Context) -> Iterator[None]:
    """Raise what is raised within as ConnectError: connectrpc would show the text of anything else."""
    try:
        yield
    except StatusError as raised:
        error = raised
    except Exception as failure:
        error = unforeseen(failure, method, peer=caller.get())
    else:
        return
    log_failed(error, method, None, peer=caller.get())
    forget_frames(error)
    status = encode_error(error)
    if isinstance(error, PassingError):
        context.response_headers["retry-after"] = str(math.ceil(error.retry_after.total_seconds()))
    details = [ErrorDetail(PackedDetail(type_url=detail.type_url, value=detail.value)) for detail in status.details]
    translated = ConnectError(_CONNECT_CODES[status.code], status.message, details)
    raised_errors.get().append(translated)
    raise translated from None
