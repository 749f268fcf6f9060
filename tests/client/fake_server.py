"""A status service in memory that can be told to fail: for what a real server will not do on demand."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

import grpc
from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1.status_service_pb2_grpc import StatusServiceServicer, add_StatusServiceServicer_to_server

from status_grpc.domain.decisions import AppendEvent, Beat, CreateTrace, Deciding, Recorded, Replayed
from status_grpc.domain.errors import PathNotFound, StatusError, TraceNotFound, Unauthenticated
from status_grpc.domain.ids import mint_event_id, mint_trace_id
from status_grpc.domain.limits import Limits
from status_grpc.wire.errors import CODES, DETAILS_KEY, encode_error
from status_grpc.wire.events import decode_draft, event_message
from status_grpc.wire.times import encode_time
from status_grpc.wire.traces import trace_message

GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass
class Fault:
    """What happens to one call: `after` the write was done, or before; an error of ours, a bare code, or silence."""

    error: StatusError | None = None
    code: grpc.StatusCode | None = None
    after: bool = False
    hang: float = 0.0


@dataclass
class Script:
    """What a stream does: ends after so many messages with this code, or skips an event, or falls silent."""

    messages: int = 1_000_000
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    skip: int = 0
    silent: float = 0.0
    repeat: bool = False


class FakeService(StatusServiceServicer):
    def __init__(self) -> None:
        self.deciding = Deciding({}, {}, 100_000)
        self.events: dict[str, list] = {}
        self.changed = threading.Condition()
        self.faults: dict[str, deque[Fault]] = {}
        self.scripts: deque[Script] = deque()
        self.calls: list[tuple[str, object, dict]] = []
        self.stopping = False
        self.page = 100
        self.checkpoint_interval = 0.2
        #: The bearer token that callers need; None for no token.
        self.token: str | None = None

    def fail(self, method: str, *faults: Fault) -> None:
        self.faults.setdefault(method, deque()).extend(faults)

    def requests(self, method: str) -> list:
        return [request for name, request, _ in self.calls if name == method]

    def _enter(self, method, request, context):
        metadata = dict(context.invocation_metadata())
        self.calls.append((method, request, metadata))
        if self.token is not None and metadata.get("authorization") != f"Bearer {self.token}":
            self._abort(context, Unauthenticated())
        faults = self.faults.get(method)
        fault = faults.popleft() if faults else Fault()
        if not fault.after:
            self._strike(fault, context)
        return fault

    def _strike(self, fault, context):
        if fault.hang:
            until = time.monotonic() + fault.hang
            while context.is_active() and time.monotonic() < until and not self.stopping:
                time.sleep(0.02)
        if fault.error is not None:
            self._abort(context, fault.error)
        if fault.code is not None:
            context.abort(fault.code, "made up")

    def _abort(self, context, error):
        context.set_trailing_metadata(((DETAILS_KEY, encode_error(error).SerializeToString()),))
        context.abort(GRPC_CODES[CODES[type(error)]], error.message)

    def _write(self, command, context, *, batch=False):
        with self.changed:
            decision = self.deciding.decide(command, now=datetime.now(UTC))
            if isinstance(decision, Recorded):
                self.events.setdefault(command.trace_id, []).append(decision.event)
            self.changed.notify_all()
        if isinstance(decision, StatusError):
            if batch:
                return decision
            self._abort(context, decision)
        if isinstance(decision, Replayed):
            return decision.trace, self.events[command.trace_id][decision.sequence - 1]
        if isinstance(decision, Recorded):
            return decision.trace, decision.event
        return decision.trace, None

    def _draft(self, event):
        retryable = bool(event.trace_event_id)
        if not retryable:
            event.trace_event_id = mint_event_id()
        draft = decode_draft(event, Limits(), [])
        draft.encodings.clear()
        return draft, event.SerializeToString(deterministic=True), retryable

    def Create(self, request, context):
        fault = self._enter("Create", request, context)
        event = pb.CreateRequest.FromString(request.SerializeToString()).event
        event.trace_event_id = event.trace_event_id or mint_event_id()
        event.trace_id = request.trace_id or event.trace_id or mint_trace_id(event.domain_id, event.trace_event_id)
        draft, content, retryable = self._draft(event)
        trace, recorded = self._write(
            CreateTrace(event.trace_id, event.trace_event_id, draft, content, None, retryable), context
        )
        self._strike(fault, context) if fault.after else None
        return pb.CreateResponse(trace=trace_message(trace), event=event_message(recorded))

    def _append(self, request):
        event = pb.UpdateRequest.FromString(request.SerializeToString()).event
        draft, content, retryable = self._draft(event)
        expected = request.expected_sequence if request.HasField("expected_sequence") else None
        return AppendEvent(
            event.trace_id, event.trace_event_id, draft, content, expected, request.new_run, None, retryable
        )

    def Update(self, request, context):
        fault = self._enter("Update", request, context)
        trace, recorded = self._write(self._append(request), context)
        self._strike(fault, context) if fault.after else None
        return pb.UpdateResponse(trace=trace_message(trace), event=event_message(recorded))

    def BatchUpdate(self, request, context):
        fault = self._enter("BatchUpdate", request, context)
        answer = pb.BatchUpdateResponse()
        for item in request.requests:
            faults = self.faults.get("item")
            outcome = faults.popleft().error if faults else self._write(self._append(item), context, batch=True)
            result = answer.results.add(trace_event_id=item.event.trace_event_id)
            if isinstance(outcome, StatusError):
                result.error.CopyFrom(encode_error(outcome))
            else:
                result.sequence = outcome[1].sequence
                result.record_time.CopyFrom(encode_time(outcome[1].record_time))
        self._strike(fault, context) if fault.after else None
        return answer

    def Heartbeat(self, request, context):
        self._enter("Heartbeat", request, context)
        trace, _ = self._write(Beat(request.trace_id), context)
        return pb.HeartbeatResponse(trace=trace_message(trace))

    def _trace(self, trace_id, context):
        trace = self.deciding.traces.get(trace_id)
        if trace is None:
            self._abort(context, TraceNotFound())
        return trace

    def GetTrace(self, request, context):
        self._enter("GetTrace", request, context)
        trace = self._trace(request.trace_id, context)
        first = int(request.page_token or request.after_sequence)
        size = min(request.page_size or 100, self.page)
        events = self.events[request.trace_id][first : first + size]
        token = str(first + size) if first + size < trace.last_sequence else ""
        return pb.GetTraceResponse(
            trace=trace_message(trace), events=[event_message(e) for e in events], next_page_token=token
        )

    def _by_path(self, path, created_after=None):
        found = [
            t
            for t in self.deciding.traces.values()
            if self.events[t.trace_id][0].s3_path == path and (created_after is None or t.create_time > created_after)
        ]
        return sorted(found, key=lambda t: t.create_time, reverse=True)

    def GetByPath(self, request, context):
        self._enter("GetByPath", request, context)
        found = self._by_path(request.s3_path)
        if not found:
            self._abort(context, PathNotFound())
        return pb.GetByPathResponse(trace=trace_message(found[0]), trace_ids=[t.trace_id for t in found])

    def ListTraces(self, request, context):
        self._enter("ListTraces", request, context)
        traces = sorted(self.deciding.traces.values(), key=lambda t: t.create_time, reverse=True)
        first = int(request.page_token or 0)
        size = request.page_size or 50
        token = str(first + size) if first + size < len(traces) else ""
        return pb.ListTracesResponse(
            traces=[trace_message(t) for t in traces[first : first + size]], next_page_token=token
        )

    def _resolve(self, request, registered):
        if request.WhichOneof("target") == "trace_id":
            return self.deciding.traces.get(request.trace_id)
        after = registered if request.new_only else None
        if request.HasField("created_after"):
            after = request.created_after.ToDatetime(UTC)
        found = self._by_path(request.s3_path, after)
        return found[0] if found else None

    def WaitTrace(self, request, context):
        self._enter("WaitTrace", request, context)
        until = time.monotonic() + request.timeout.ToTimedelta().total_seconds()
        registered = datetime.now(UTC)
        with self.changed:
            while True:
                trace = self._resolve(request, registered)
                if trace is None and not request.wait_for_trace:
                    self._abort(context, TraceNotFound())
                left = until - time.monotonic()
                if (trace is not None and trace.done) or left <= 0 or self.stopping or not context.is_active():
                    return pb.WaitTraceResponse(trace=trace_message(trace) if trace else None)
                self.changed.wait(min(left, 0.1))

    def StreamTrace(self, request, context):
        self._enter("StreamTrace", request, context)
        script = self.scripts.popleft() if self.scripts else Script()
        trace = self._trace(request.trace_id, context)
        for sent, message in enumerate(self._stream(trace, request.after_sequence, context, script)):
            if sent >= script.messages:
                if script.silent:
                    self._strike(Fault(hang=script.silent), context)
                if script.code is not grpc.StatusCode.OK:
                    context.abort(script.code, "the script ends here")
                return
            yield message
            if script.repeat:
                yield message

    def _stream(self, trace, sequence, context, script):
        yield _checkpoint(trace, sequence)
        while not self.stopping and context.is_active():
            with self.changed:
                trace = self.deciding.traces[trace.trace_id]
                events = self.events[trace.trace_id][sequence:]
                if not events and not trace.done:
                    self.changed.wait(self.checkpoint_interval)
                    continue
            for event in events:
                sequence = event.sequence
                if sequence != script.skip:
                    yield pb.StreamTraceResponse(event=event_message(event))
            yield _checkpoint(trace, sequence, done=trace.done)
            if trace.done:
                return


def _checkpoint(trace, sequence, *, done=False):
    message = pb.StreamTraceResponse()
    point = message.checkpoint
    point.server_time.CopyFrom(encode_time(datetime.now(UTC)))
    point.trace_id, point.sequence, point.caught_up, point.done = trace.trace_id, sequence, True, done
    point.trace.CopyFrom(trace_message(trace))
    return message


@dataclass
class FakeServer:
    """The service on a port of 127.0.0.1, which it keeps over `stop` and `start`."""

    service: FakeService = field(default_factory=FakeService)
    port: int = 0
    _server: grpc.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self.service.stopping = False
        server = grpc.server(ThreadPoolExecutor(64), options=[("grpc.so_reuseport", 0)])
        add_StatusServiceServicer_to_server(self.service, server)
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        server.start()
        self._server = server

    def stop(self) -> None:
        self.service.stopping = True
        if self._server is not None:
            self._server.stop(None).wait()
            self._server = None
