from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from certificates import Certificates
from fake_server import FakeServer, Fault, Script
from patience import eventually, in_threads
from real_server import RealServer

from status_grpc import (
    AsyncStatusClient,
    Checkpoint,
    DeadlineExceeded,
    Reconnect,
    StatusClient,
    TraceEvent,
    TraceEventStatus,
    TraceStatus,
    Unavailable,
)

END = {"component": "c", "trace_status": TraceStatus.FINISHED, "trace_event_status": TraceEventStatus.OK}


def create(client: StatusClient, events: int = 1, *, s3_path: str = "", done: bool = False) -> str:
    trace_id = client.create(domain="d", domain_id="x", component="c", s3_path=s3_path).trace.trace_id
    for _ in range(events - 1 - done):
        client.update(trace_id=trace_id, component="c")
    if done:
        client.update(trace_id=trace_id, **END)
    return trace_id


BREAKS = [
    Script(messages=2),
    Script(messages=3, code=grpc.StatusCode.OK),
    Script(messages=0, code=grpc.StatusCode.INTERNAL),
    Script(skip=5),
    Script(repeat=True, messages=3),
    Script(messages=1, code=grpc.StatusCode.CANCELLED),
]


def test_a_follower_survives_whatever_breaks(fake: FakeServer, fake_client: StatusClient):
    trace_id = create(fake_client, 9, done=True)
    fake.service.scripts.extend(BREAKS)
    checkpoints: list[Checkpoint] = []
    reconnects: list[Reconnect] = []
    with fake_client.follow(trace_id, on_checkpoint=checkpoints.append, on_reconnect=reconnects.append) as events:
        assert [event.sequence for event in events] == list(range(1, 10))
    assert events.finished_trace.last_sequence == 9
    assert len(reconnects) == len(BREAKS)
    assert checkpoints[-1].done
    assert list(events) == []


async def test_an_asynchronous_follower_does_too(fake: FakeServer, fake_client: StatusClient):
    trace_id = create(fake_client, 9, done=True)
    fake.service.scripts.extend(BREAKS)
    reconnects: list[Reconnect] = []
    async with (
        AsyncStatusClient(fake.address) as client,
        client.follow(trace_id, on_reconnect=reconnects.append) as events,
    ):
        assert [event.sequence async for event in events] == list(range(1, 10))
    assert events.finished_trace.last_sequence == 9
    assert len(reconnects) == len(BREAKS)


def test_a_silent_stream_is_dead(fake: FakeServer):
    with StatusClient(fake.address, silence_timeout=0.5) as client:
        trace_id = create(client, 3, done=True)
        fake.service.scripts.append(Script(messages=2, silent=60))
        reconnects: list[Reconnect] = []
        assert [e.sequence for e in client.follow(trace_id, on_reconnect=reconnects.append)] == [1, 2, 3]
    assert "silent" in str(reconnects[0].error)


async def test_a_silent_stream_is_dead_for_coroutines_as_well(fake: FakeServer, fake_client: StatusClient):
    trace_id = create(fake_client, 3, done=True)
    fake.service.scripts.append(Script(messages=2, silent=60))
    async with AsyncStatusClient(fake.address, silence_timeout=0.5) as client:
        assert [event.sequence async for event in client.follow(trace_id)] == [1, 2, 3]


def test_a_slow_reader_is_no_silent_stream(fake: FakeServer):
    with StatusClient(fake.address, silence_timeout=0.3) as client:
        trace_id = create(client, 3, done=True)
        reconnects: list[Reconnect] = []
        sequences = []
        for event in client.follow(trace_id, on_reconnect=reconnects.append):
            time.sleep(1.2)
            sequences.append(event.sequence)
    assert (sequences, reconnects) == ([1, 2, 3], [])


def test_the_whole_follow_has_a_deadline(fake: FakeServer, fake_client: StatusClient):
    trace_id = create(fake_client, 2)
    events = fake_client.follow(trace_id, timeout=0.6)
    assert next(events).sequence == 1
    assert next(events).sequence == 2
    with pytest.raises(DeadlineExceeded):
        next(events)
    with pytest.raises(StopIteration):
        next(events)


def test_a_server_that_was_never_there_is_tried_for_the_time_of_an_outage():
    reconnects: list[Reconnect] = []
    # The options of a call do not count: neither how long it may take, nor how long it may connect.
    options = {"timeout": 0.01, "connect_timeout": 0.01, "outage_timeout": 0.6}
    with StatusClient("127.0.0.1:9", **options) as client:
        with pytest.raises(Unavailable):
            client.wait("t", on_reconnect=reconnects.append)
        with pytest.raises(Unavailable):
            client.follow("t", on_reconnect=reconnects.append).start()
    assert [reconnect.failures for reconnect in reconnects].count(1) == 2
    assert len(reconnects) > 2
    assert 0 < reconnects[0].remaining <= 0.6


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL])
async def test_whoever_asks_before_the_server_is_up_gets_the_end(fake: FakeServer, caplog, code: grpc.StatusCode):
    with StatusClient(fake.address) as client:
        trace_id = create(client, 2, done=True)
    fake.service.fail("WaitTrace", *[Fault(code=code)] * 2)
    fake.service.fail("StreamTrace", *[Fault(code=code)] * 2)
    address = fake.address
    fake.stop()
    threading.Timer(0.5, fake.start).start()
    options = {"timeout": 0.01, "connect_timeout": 0.01}
    async with AsyncStatusClient(address, **options) as client:
        waited, events = await asyncio.gather(client.wait(trace_id), _all_events(client, trace_id))
    assert waited.done
    assert [event.sequence for event in events] == [1, 2]
    warnings = [record.getMessage() for record in caplog.records if record.name == "status_grpc"]
    assert len(warnings) == 2, "one line each for the outage, not one for each attempt"
    assert all(f"at {address}, retrying for 300 s" in warning for warning in warnings)


async def _all_events(client: AsyncStatusClient, trace_id: str) -> list[TraceEvent]:
    async with client.follow(trace_id) as events:
        return [event async for event in events]


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_a_name_that_does_not_exist_ends_at_once(scheme: str):
    try:
        socket.getaddrinfo("nonexistent.invalid", 1)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            pytest.skip("this machine has no resolver of names")
    reconnects: list[Reconnect] = []
    with StatusClient(f"{scheme}nonexistent.invalid:50051", plaintext=True) as client:
        with pytest.raises(Unavailable):
            client.wait("t", timeout=20, on_reconnect=reconnects.append)
        with pytest.raises(Unavailable):
            client.follow("t", timeout=20, on_reconnect=reconnects.append).start()
    assert reconnects == []


@pytest.mark.parametrize("scheme", ["", "https://"])
def test_a_certificate_of_another_authority_ends_at_once(tmp_path, scheme: str):
    certificates, strangers = Certificates(tmp_path / "own"), Certificates(tmp_path / "strangers")
    server = grpc.server(ThreadPoolExecutor(2))
    chain, key = (Path(file).read_bytes() for file in certificates.server)
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)]))
    server.start()
    reconnects: list[Reconnect] = []
    try:
        with StatusClient(f"{scheme}127.0.0.1:{port}", ca=strangers.authority) as client:
            with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
                client.wait("t", timeout=20, on_reconnect=reconnects.append)
            with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
                client.follow("t", timeout=20, on_reconnect=reconnects.append).start()
    finally:
        server.stop(None).wait()
    assert reconnects == []


def test_an_earlier_follow_is_resumed(client: StatusClient):
    trace_id = create(client, 6, done=True)
    events = client.follow(trace_id)
    first = [next(events) for _ in range(3)]
    events.close()
    rest = client.follow(trace_id, after_sequence=events.sequence, after_event_id=events.event_id)
    assert [event.sequence for event in [*first, *rest]] == list(range(1, 7))


def test_a_follower_can_be_closed_from_another_thread(client: StatusClient):
    trace_id = create(client)
    events = client.follow(trace_id)
    next(events)
    threading.Timer(0.3, events.close).start()
    assert list(events) == []
    assert events.trace is not None
    assert not events.trace.done


async def test_a_follower_can_be_cancelled(aio_client: AsyncStatusClient, client: StatusClient):
    trace_id = create(client)

    async def follow() -> None:
        async with aio_client.follow(trace_id) as events:
            async for _ in events:
                pass

    task = asyncio.create_task(follow())
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_only_a_new_trace_of_a_path_and_nothing_is_missed(client: StatusClient):
    old = create(client, 2, s3_path="p/new", done=True)
    with client.follow(s3_path="p/new", new_only=True) as events:
        first = events.start()
        assert first.trace_id == ""
        new = create(client, 2, s3_path="p/new", done=True)
        assert [event.trace_id for event in events] == [new, new]
    # Without it, the finished trace of an earlier upload is the answer.
    assert old != new
    assert client.wait(s3_path="p/new").trace_id == new
    assert client.wait(s3_path="p/new", created_after=first.server_time).trace_id == new


async def test_the_asynchronous_follower_starts_in_the_same_way(aio_client: AsyncStatusClient, client: StatusClient):
    async with aio_client.follow(s3_path="p/aio", new_only=True) as events:
        await events.start()
        new = create(client, 2, s3_path="p/aio", done=True)
        assert [event.trace_id async for event in events] == [new, new]


def test_waiting_for_a_new_trace_of_a_path(client: StatusClient):
    create(client, 2, s3_path="p/wait", done=True)
    made: list[str] = []
    waited: list[str] = []

    def work(number: int) -> None:
        if number == 0:
            waited.append(client.wait(s3_path="p/wait", new_only=True, timeout=60).trace_id)
        else:
            for _ in range(10):
                time.sleep(0.1)
                made.append(create(client, 2, s3_path="p/wait", done=True))

    in_threads(2, work)
    assert waited[0] in made


def test_waiting_for_a_trace_that_does_not_exist_yet(client: StatusClient):
    def work(number: int) -> None:
        if number == 0:
            assert client.wait("later", wait_for_trace=True).trace_id == "later"
        elif number == 1:
            assert [event.sequence for event in client.follow("later", wait_for_trace=True)] == [1, 2]
        else:
            time.sleep(0.5)
            client.create(trace_id="later", domain="d", domain_id="x", component="c")
            client.update(trace_id="later", **END)

    in_threads(3, work)


def test_following_and_waiting_go_on_when_the_server_is_restarted(mortal: RealServer):
    with StatusClient(mortal.address) as client:
        trace_id = create(client)
        seen: list[int] = []

        def work(number: int) -> None:
            if number == 0:
                seen.extend(event.sequence for event in client.follow(trace_id))
            elif number == 1:
                assert client.wait(trace_id).done
            else:
                for how in (mortal.kill, mortal.stop):
                    client.update(trace_id=trace_id, component="c")
                    how()
                    mortal.start()
                client.update(trace_id=trace_id, **END)

        in_threads(3, work)
    assert seen == [1, 2, 3, 4]


def test_a_follower_and_a_writer_move_from_replica_to_replica(tmp_path: Path):
    replicas = [RealServer(tmp_path), RealServer(tmp_path)]
    for replica in replicas:
        replica.start()
    addresses = ",".join(replica.address for replica in replicas)
    try:
        with StatusClient(f"ipv4:{addresses}") as client:
            trace_id = create(client)
            seen: list[int] = []
            reader = threading.Thread(target=lambda: seen.extend(e.sequence for e in client.follow(trace_id)))
            reader.start()
            for replica in replicas:
                client.update(trace_id=trace_id, component="c")
                replica.kill()
                client.update(trace_id=trace_id, component="c")
                replica.start()
            client.update(trace_id=trace_id, **END)
            reader.join()
        assert seen == [1, 2, 3, 4, 5, 6]
    finally:
        for replica in replicas:
            replica.kill()


FROZEN = """
import threading, time
from status_grpc import StatusClient, status_step
client = StatusClient(silence_timeout=1)
events = client.follow(trace_id)
print(next(events).sequence, flush=True)
for event in events:
    print(event.sequence, flush=True)
with status_step("after the freeze", trace_id=trace_id):
    pass
"""


def test_a_client_that_was_frozen_goes_on(client: StatusClient, real: RealServer):
    trace_id = create(client)
    environment = {**os.environ, "STATUS_GRPC_SERVER": real.address, "STATUS_GRPC_FLUSH_TIMEOUT": "30"}
    command = [sys.executable, "-c", f"trace_id = {trace_id!r}\n{FROZEN}"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    process.send_signal(signal.SIGSTOP)
    for _ in range(3):
        client.update(trace_id=trace_id, component="c")
    time.sleep(1.5)  # longer than the silence that this client puts up with
    client.update(trace_id=trace_id, **END)
    process.send_signal(signal.SIGCONT)
    output, _ = process.communicate(timeout=60)
    assert output.split() == ["2", "3", "4", "5"]
    assert client.get_trace(trace_id).events[-1].operation == "after the freeze"


def test_a_frozen_server_is_noticed_and_its_stream_resumed(mortal: RealServer):
    with StatusClient(mortal.address, silence_timeout=0.5) as client:
        trace_id = create(client)
        reconnects: list[Reconnect] = []
        events = client.follow(trace_id, on_reconnect=reconnects.append)
        assert next(events).sequence == 1
        mortal.send(signal.SIGSTOP)
        seen: list[int] = []
        reader = threading.Thread(target=lambda: seen.extend(event.sequence for event in events))
        reader.start()
        eventually(lambda: reconnects, "the silent stream is given up")
        mortal.send(signal.SIGCONT)
        client.update(trace_id=trace_id, **END)
        reader.join()
    assert seen == [2]
