"""Followers that check, with every message, what a follower may believe."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

import grpc
from calls import Refusal, Stub, assert_explained, read_refusal
from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1 import trace_pb2

#: How long to wait for what must come, in seconds; only what never comes takes so long.
PATIENCE = 60.0


class Story:
    """What one stream tells. Every message is checked when it comes: order, no gap, checkpoints that say the truth."""

    def __init__(self, after: int = 0) -> None:
        self.messages: list[pb.StreamTraceResponse] = []
        self.events: list[trace_pb2.TraceEvent] = []
        self.checkpoints: list[pb.Checkpoint] = []
        self._sequence = after

    def add(self, message: pb.StreamTraceResponse) -> pb.StreamTraceResponse:
        """Take the next message."""
        if message.WhichOneof("message") == "event":
            self._check_event(message.event)
            self.events.append(message.event)
        else:
            self._check_checkpoint(message.checkpoint)
            self.checkpoints.append(message.checkpoint)
        self.messages.append(message)
        return message

    def _check_event(self, event: trace_pb2.TraceEvent) -> None:
        assert self.messages, "the first message must be a checkpoint"
        assert not self.checkpoints[-1].done, "something came after the checkpoint that is the last"
        self._sequence += 1
        assert event.sequence == self._sequence, f"{event.sequence} came where {self._sequence} belongs"

    def _check_checkpoint(self, checkpoint: pb.Checkpoint) -> None:
        assert checkpoint.sequence == self._sequence, "a checkpoint names another sequence than what was delivered"
        assert checkpoint.HasField("server_time")
        if self.checkpoints:
            last = self.checkpoints[-1]
            assert not last.done, "something came after the checkpoint that is the last"
            assert checkpoint.server_time.ToDatetime() >= last.server_time.ToDatetime()
            assert checkpoint.read_time.ToDatetime() >= last.read_time.ToDatetime()
        if checkpoint.done:
            assert checkpoint.trace.done
            assert checkpoint.trace.last_sequence == self._sequence, "the end came before everything was delivered"

    @property
    def sequences(self) -> list[int]:
        """The sequences of the events."""
        return [event.sequence for event in self.events]

    def assert_complete(self) -> None:
        """The stream has ended with OK: then its last word was that the trace is done and all was delivered."""
        assert self.messages[0].WhichOneof("message") == "checkpoint"
        assert self.messages[-1].checkpoint.done
        assert self.messages[-1].checkpoint.caught_up
        assert any(checkpoint.caught_up and checkpoint.HasField("trace") for checkpoint in self.checkpoints)


class Following:
    """One stream, read message by message."""

    def __init__(self, stub: Stub, **request: Any) -> None:
        self.call = stub.StreamTrace(pb.StreamTraceRequest(**request))
        self.story = Story(request.get("after_sequence", 0))

    async def _next(self) -> pb.StreamTraceResponse | None:
        message = await self.call.read()
        return None if message is grpc.aio.EOF else self.story.add(message)

    async def read(self) -> pb.StreamTraceResponse:
        """Return the next message."""
        async with asyncio.timeout(PATIENCE):
            message = await self._next()
        assert message is not None, "the stream ended too early"
        return message

    async def checkpoint(self) -> pb.Checkpoint:
        """Return the next message, which must be a checkpoint."""
        message = await self.read()
        assert message.WhichOneof("message") == "checkpoint", message
        return message.checkpoint

    async def event(self) -> trace_pb2.TraceEvent:
        """Return the next event; checkpoints in between are checked and passed over."""
        async with asyncio.timeout(PATIENCE):
            while (message := await self.read()).WhichOneof("message") != "event":
                pass
        return message.event

    async def caught_up(self) -> pb.Checkpoint:
        """Read on to the first checkpoint that says so."""
        async with asyncio.timeout(PATIENCE):
            while not (message := await self.read()).checkpoint.caught_up:
                pass
        return message.checkpoint

    async def to_the_end(self) -> Story:
        """Read on to the end, which must be OK."""
        async with asyncio.timeout(PATIENCE):
            while await self._next() is not None:
                pass
        assert await self.call.code() is grpc.StatusCode.OK
        self.story.assert_complete()
        return self.story

    async def refused(self) -> Refusal:
        """Read on to the end, which must be an error that is explained."""
        try:
            await self.to_the_end()
        except grpc.aio.AioRpcError as error:
            found = read_refusal(error)
            assert_explained(found)
            return found
        raise AssertionError("the stream ended with OK")

    def leave(self) -> None:
        """Follow no longer."""
        self.call.cancel()


async def follow(stub: Stub, **request: Any) -> Story:
    """Follow to the end, which must be OK."""
    return await Following(stub, **request).to_the_end()


class ResumingFollower:
    """Follows a trace to its end over broken streams, resuming where it stood as the contract says."""

    def __init__(self, stub: Stub, trace_id: str) -> None:
        self.events: list[trace_pb2.TraceEvent] = []
        self.breaks: list[Refusal] = []
        self._stub = stub
        self._trace_id = trace_id

    async def run(self) -> ResumingFollower:
        """Follow until a stream ends with OK."""
        while True:
            last = self.events[-1] if self.events else trace_pb2.TraceEvent()
            following = Following(
                self._stub,
                trace_id=self._trace_id,
                after_sequence=last.sequence,
                after_event_id=last.trace_event_id,
            )
            try:
                await following.to_the_end()
            except grpc.aio.AioRpcError as error:
                found = read_refusal(error)
                # What gRPC itself cancels was never begun; a stream that was is told more than that.
                never_begun = found.code is grpc.StatusCode.CANCELLED and not following.story.messages
                assert found.code is grpc.StatusCode.UNAVAILABLE or never_begun, found
                self.breaks.append(found)
                await asyncio.sleep(found.retry_seconds or 0.05)
            else:
                return self
            finally:
                self.events += following.story.events

    def assert_saw(self, event_ids: Iterable[str]) -> None:
        """It saw these events, once each, in the order of their sequences."""
        assert [event.sequence for event in self.events] == list(range(1, len(self.events) + 1))
        assert [event.trace_event_id for event in self.events] == list(event_ids)


async def ended(task: asyncio.Task[Any]) -> None:
    """Cancel a task of a test and wait for it."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
