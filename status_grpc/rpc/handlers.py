"""Connects the servicer's methods to gRPC, with deserializers that never raise."""

from __future__ import annotations

from typing import Any

import grpc
from tracestatus.v1 import status_service_pb2 as pb

from status_grpc.rpc.servicer import StatusServicer
from status_grpc.wire.parsing import parser

SERVICE_NAME: str = pb.DESCRIPTOR.services_by_name["StatusService"].full_name


def status_service_handler(servicer: StatusServicer) -> grpc.GenericRpcHandler:
    """Return the handler of tracestatus.v1.StatusService."""
    requests = {
        "Create": pb.CreateRequest,
        "Update": pb.UpdateRequest,
        "BatchUpdate": pb.BatchUpdateRequest,
        "Heartbeat": pb.HeartbeatRequest,
        "GetTrace": pb.GetTraceRequest,
        "GetByPath": pb.GetByPathRequest,
        "WaitTrace": pb.WaitTraceRequest,
        "ListTraces": pb.ListTracesRequest,
    }
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        name: grpc.unary_unary_rpc_method_handler(getattr(servicer, name), request_deserializer=parser(kind))
        for name, kind in requests.items()
    }
    handlers["StreamTrace"] = grpc.unary_stream_rpc_method_handler(
        servicer.StreamTrace,
        request_deserializer=parser(pb.StreamTraceRequest),
    )
    return grpc.method_handlers_generic_handler(SERVICE_NAME, handlers)
