"""A client that makes ordinary calls while somebody attacks: in a process of its own, it says how they went."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from subprocess import PIPE, Popen
from types import TracebackType
from typing import Any, Self

import grpc
from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1 import status_service_pb2_grpc, trace_pb2

PAUSE = 0.05
#: A call that takes longer has failed, in seconds.
DEADLINE = 20.0


@dataclass
class Seen:
    """How the calls went; times in seconds."""

    calls: int = 0
    worst: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


class Bystander:
    """Makes calls from the moment it is entered until it is left; then `seen` says how they went."""

    def __init__(self, address: str, url: str) -> None:
        self._command = [sys.executable, __file__, address, url]
        self.seen = Seen()

    def __enter__(self) -> Self:
        self._process = Popen(self._command, stdin=PIPE, stdout=PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "begun\n"
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        output, _ = self._process.communicate("", timeout=5 * DEADLINE)
        self.seen = Seen(**json.loads(output))


def main(address: str, url: str) -> None:
    """Run until standard input ends."""
    with grpc.insecure_channel(address) as channel:
        service = status_service_pb2_grpc.StatusServiceStub(channel)
        first = trace_pb2.TraceEvent(domain="dataset", domain_id="bystander/1", component="bystander")
        trace_id = service.Create(pb.CreateRequest(event=first), timeout=DEADLINE).trace.trace_id
        event = trace_pb2.TraceEvent(trace_id=trace_id, component="bystander")
        calls: dict[str, Any] = {
            "Update": lambda: service.Update(pb.UpdateRequest(event=event), timeout=DEADLINE),
            "GetTrace": lambda: service.GetTrace(pb.GetTraceRequest(trace_id=trace_id, page_size=1), timeout=DEADLINE),
            "healthz": lambda: urllib.request.urlopen(f"{url}/healthz", timeout=DEADLINE).close(),
        }
        for call in calls.values():
            call()
        print("begun", flush=True)
        seen = Seen(worst=dict.fromkeys(calls, 0.0))
        while not _input_ended():
            for name, call in calls.items():
                began = time.monotonic()
                try:
                    call()
                except (grpc.RpcError, OSError) as error:
                    seen.failures.append(f"{name}: {error}")
                seen.calls += 1
                seen.worst[name] = max(seen.worst[name], time.monotonic() - began)
        print(json.dumps(seen.__dict__))


def _input_ended() -> bool:
    import select

    return bool(select.select([sys.stdin], [], [], PAUSE)[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
