"""The handlers of all methods, with deserializers that never raise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2
from tracestatus.v1 import status_service_pb2 as pb

from status_grpc.edge.requests import Requests
from status_grpc.rpc.method_table import Handler
from status_grpc.rpc.servicer import StatusServicer
from status_grpc.wire.parsing import later, parser

#: The two names of reflection speak the same messages; older clients know only the first.
REFLECTION_NAMES = ("grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection")

SERVICE_NAME: str = pb.DESCRIPTOR.services_by_name["StatusService"].full_name


def status_handlers(servicer: StatusServicer, requests: Requests) -> dict[str, Handler]:
    """Return the handlers of tracestatus.v1.StatusService by full method name."""
    parser = requests.parser
    deserializers: dict[str, Callable[[bytes], Any]] = {
        "Create": later(parser(pb.CreateRequest)),
        "Update": later(parser(pb.UpdateRequest)),
        "BatchUpdate": parser(pb.BatchUpdateRequest),
        "Heartbeat": parser(pb.HeartbeatRequest),
        "GetTrace": parser(pb.GetTraceRequest),
        "GetByPath": parser(pb.GetByPathRequest),
        "WaitTrace": parser(pb.WaitTraceRequest),
        "ListTraces": parser(pb.ListTracesRequest),
        "GetLineage": parser(pb.GetLineageRequest),
    }
    handlers: dict[str, Handler] = {
        name: grpc.unary_unary_rpc_method_handler(getattr(servicer, name), request_deserializer=deserializer)
        for name, deserializer in deserializers.items()
    }
    handlers["StreamTrace"] = grpc.unary_stream_rpc_method_handler(
        servicer.StreamTrace,
        request_deserializer=parser(pb.StreamTraceRequest),
    )
    return _named(SERVICE_NAME, handlers)


def standard_handlers(health: Any) -> dict[str, Handler]:
    """Return the handlers of grpc.health.v1 and of reflection by full method name.

    Reflection explains all services of this server.
    """
    health_name: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    # Reflection is listed by the one of its names whose description exists in Python.
    names = (SERVICE_NAME, health_name, REFLECTION_NAMES[0])
    explain = reflection.aio.ReflectionServicer(names).ServerReflectionInfo
    checks = {
        "Check": grpc.unary_unary_rpc_method_handler(
            health.Check,
            request_deserializer=parser(health_pb2.HealthCheckRequest),
            response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
        ),
        "Watch": grpc.unary_stream_rpc_method_handler(
            health.Watch,
            request_deserializer=parser(health_pb2.HealthCheckRequest),
            response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
        ),
    }
    explanation = grpc.stream_stream_rpc_method_handler(
        explain,
        request_deserializer=_reflection_request,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    handlers = _named(health_name, checks)
    for name in REFLECTION_NAMES:
        handlers |= _named(name, {"ServerReflectionInfo": explanation})
    return handlers


def _named(service: str, handlers: Mapping[str, Handler]) -> dict[str, Handler]:
    return {f"/{service}/{method}": handler for method, handler in handlers.items()}


def _reflection_request(data: bytes) -> reflection_pb2.ServerReflectionRequest:
    """Return the request; for bytes that are none an empty one, which reflection answers with an error of its own."""
    try:
        return reflection_pb2.ServerReflectionRequest.FromString(data)
    except DecodeError:
        return reflection_pb2.ServerReflectionRequest()
