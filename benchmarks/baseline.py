"""The servers that the service is held against, in one process: what the stack alone can do.

- Echo: decodes a request, encodes it again, stores nothing. `Bytes` does not even decode.
- Bare fan-out: speaks enough of the service's own protocol (Create, Update, StreamTrace) that followers and writers
  need not know which of the two they talk to. It keeps each event as prepared bytes in a list, and each follower's
  handler writes from the list: no database, no checks, no limits, nothing else.

`python -m benchmarks.baseline --listen 127.0.0.1:0` prints the line that `status-grpc serve` prints.
"""

import argparse
import asyncio
import signal
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import grpc
from tracestatus.v1 import status_service_pb2 as service_pb2
from tracestatus.v1 import trace_pb2

ECHO_BYTES = "/benchmarks.Echo/Bytes"
ECHO_UPDATE = "/benchmarks.Echo/Update"
ECHO_CREATE = "/benchmarks.Echo/Create"


async def echo(request: Any, _context: Any) -> Any:
    return request


@dataclass
class Followed:
    """The messages of one trace, as bytes, and what wakes those who wait for the next one."""

    messages: list[bytes] = field(default_factory=list)
    sequence: int = 0
    done: bool = False
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, event: trace_pb2.TraceEvent) -> None:
        self.sequence += 1
        event.sequence = self.sequence
        event.record_time.GetCurrentTime()
        self.messages.append(service_pb2.StreamTraceResponse(event=event).SerializeToString())
        if event.trace_status == trace_pb2.TRACE_STATUS_FINISHED:
            self.messages.append(self.checkpoint("done"))
            self.done = True
        self.more.set()
        self.more = asyncio.Event()

    def checkpoint(self, state: str) -> bytes:
        checkpoint = service_pb2.Checkpoint(
            sequence=self.sequence, done=state == "done", caught_up=state == "caught_up"
        )
        return service_pb2.StreamTraceResponse(checkpoint=checkpoint).SerializeToString()


class FanOut:
    """The bare fan-out."""

    def __init__(self) -> None:
        self.traces: dict[str, Followed] = defaultdict(Followed)

    async def create(self, request: service_pb2.CreateRequest, _context: Any) -> service_pb2.CreateResponse:
        trace_id = request.trace_id or f"bare-{len(self.traces)}"
        request.event.trace_id = trace_id
        self.traces[trace_id].add(request.event)
        return service_pb2.CreateResponse(trace=trace_pb2.Trace(trace_id=trace_id), event=request.event)

    async def update(self, request: service_pb2.UpdateRequest, _context: Any) -> service_pb2.UpdateResponse:
        self.traces[request.event.trace_id].add(request.event)
        return service_pb2.UpdateResponse(event=request.event)

    async def stream(self, request: service_pb2.StreamTraceRequest, context: Any) -> None:
        trace = self.traces[request.trace_id]
        at = 0
        caught_up = False
        while True:
            more = trace.more  # before the look, so that nothing added after it is slept through
            while at < len(trace.messages):
                await context.write(trace.messages[at])
                at += 1
            if trace.done:
                return
            if not caught_up:
                caught_up = True
                await context.write(trace.checkpoint("caught_up"))
            await more.wait()


def handlers(fan_out: FanOut) -> tuple[grpc.GenericRpcHandler, ...]:
    def unary(method: Any, request: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            method,
            request_deserializer=request.FromString,
            response_serializer=lambda answer: answer.SerializeToString(),
        )

    stream: Any = grpc.unary_stream_rpc_method_handler(
        fan_out.stream, request_deserializer=service_pb2.StreamTraceRequest.FromString, response_serializer=None
    )
    echoes = {
        "Update": unary(echo, service_pb2.UpdateRequest),
        "Create": unary(echo, service_pb2.CreateRequest),
        "Bytes": grpc.unary_unary_rpc_method_handler(echo),
    }
    followed = {
        "Create": unary(fan_out.create, service_pb2.CreateRequest),
        "Update": unary(fan_out.update, service_pb2.UpdateRequest),
        "StreamTrace": stream,
    }
    return (
        grpc.method_handlers_generic_handler("benchmarks.Echo", echoes),
        grpc.method_handlers_generic_handler("tracestatus.v1.StatusService", followed),
    )


async def serve(listen: str, workers: int) -> None:
    # With its own limit gRPC cancels some of thousands of followers that come at once, at random.
    pending = [("grpc.server.max_pending_requests", 100_000), ("grpc.server.max_pending_requests_hard_limit", 200_000)]
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), *pending])
    server.add_generic_rpc_handlers(handlers(FanOut()))
    host, _, _ = listen.rpartition(":")
    port = server.add_insecure_port(listen)
    await server.start()
    # The kernel spreads connections over the processes that listen on the same port.
    command = [sys.executable, "-m", "benchmarks.baseline", "--listen", f"{host}:{port}"]
    others = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(workers - 1)]
    for other in others:
        assert other.stdout is not None
        other.stdout.readline()
    print(f"the baseline is listening on {host}:{port}", flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    for other in others:
        other.terminate()
        other.wait()
    await server.stop(0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.baseline")
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    try:
        import uvloop
    except ImportError:
        loop_factory = None
    else:
        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(serve(arguments.listen, arguments.workers))


if __name__ == "__main__":
    main()
