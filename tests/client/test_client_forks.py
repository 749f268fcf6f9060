"""Forks: the child reports, nothing hangs, nothing crashes, and the parent goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
from real_server import RealServer

from status_grpc import StatusClient

PRELUDE = """
import os, signal, sys, threading, time
from status_grpc import *

def fork(child):
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        try:
            child()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    return pid

def joined(pids):
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]

def step(name):
    with status_step(name):
        pass

trace_id = os.environ["STATUS_GRPC_TRACE_ID"]
"""
WITH_CLIENT = PRELUDE + "client = StatusClient()\n"


@pytest.fixture
def trace_id(client: StatusClient) -> str:
    return client.create(domain="d", domain_id="forks/1", component="c").trace.trace_id


def run(program: str, real: RealServer, trace_id: str, prelude: str = WITH_CLIENT) -> None:
    environment = {**os.environ, "STATUS_GRPC_SERVER": real.address, "STATUS_GRPC_TRACE_ID": trace_id}
    environment |= {"STATUS_GRPC_COMPONENT": "c", "STATUS_GRPC_FLUSH_TIMEOUT": "30", "GRPC_VERBOSITY": "NONE"}
    code = prelude + textwrap.dedent(program)
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True, timeout=100
    )
    assert result.returncode == 0, result.stderr


def operations(client: StatusClient, trace_id: str) -> list[str]:
    return sorted(event.operation for event in client.get_trace(trace_id).events)[1:]


def test_a_client_used_then_a_fork_then_a_step_then_os_exit(real: RealServer, client: StatusClient, trace_id: str):
    run(
        """
        client.get_trace(trace_id)
        step("parent before")
        assert joined([fork(lambda: step("child"))]) == [0]
        step("parent after")
        client.update(trace_id=trace_id, component="c", operation="client of the parent")
        """,
        real,
        trace_id,
    )
    assert operations(client, trace_id) == ["child", "client of the parent", "parent after", "parent before"]


def test_children_of_a_parent_that_is_busy_with_calls(real: RealServer, client: StatusClient, trace_id: str):
    run(
        """
        stop = threading.Event()
        def busy():
            while not stop.is_set():
                client.heartbeat(trace_id)
                with status_step("busy", trace_id="nowhere"):
                    pass
        threads = [threading.Thread(target=busy, daemon=True) for _ in range(4)]
        for thread in threads: thread.start()
        time.sleep(0.3)
        def child(number):
            with status_step(f"outer-{number}"):
                step(f"inner-{number}")
            client.update(trace_id=trace_id, component="c", operation=f"client-{number}")
            assert client.get_trace(trace_id).trace.trace_id == trace_id
        assert joined([fork(lambda: child(number)) for number in range(4)]) == [0] * 4
        stop.set()
        for thread in threads: thread.join()
        """,
        real,
        trace_id,
    )
    assert operations(client, trace_id) == sorted(f"{k}-{n}" for k in ("outer", "inner", "client") for n in range(4))


def test_a_step_around_the_fork_leaves_the_child_its_own(real: RealServer, client: StatusClient, trace_id: str):
    run(
        """
        with status_step("around"):
            assert joined([fork(lambda: step("child"))]) == [0]
        """,
        real,
        trace_id,
    )
    assert operations(client, trace_id) == ["around", "child"]


def test_a_child_that_leaves_what_its_parent_is_in_does_not_tell_its_end(
    real: RealServer, client: StatusClient, trace_id: str
):
    run(
        """
        try:
            with trace("d", "forked/1", trace_id="forked-trace"), status_step("of the parent"):
                pid = os.fork()
                if pid == 0:
                    step("of the child")
                    raise SystemExit(3)
                assert joined([pid]) == [3]
        except SystemExit:
            os._exit(3)
        """,
        real,
        trace_id,
    )
    told = [(event.operation, event.trace_event_status) for event in client.get_trace("forked-trace").events]
    assert told == [("", "OK"), ("of the child", "OK"), ("of the parent", "OK"), ("", "OK")]


def test_a_child_of_a_process_that_has_not_loaded_grpc_uses_it_itself(
    real: RealServer, client: StatusClient, trace_id: str
):
    run(
        """
        def child():
            step("child")
            from status_grpc.client.forks import grpc_is_usable
            assert grpc_is_usable()
        assert "grpc" not in sys.modules
        assert joined([fork(child)]) == [0]
        """,
        real,
        trace_id,
        PRELUDE,
    )
    assert operations(client, trace_id) == ["child"]


def test_a_grandchild_reports_too(real: RealServer, client: StatusClient, trace_id: str):
    run(
        """
        step("parent")
        def child():
            step("child")
            assert joined([fork(lambda: step("grandchild"))]) == [0]
            step("child again")
        assert joined([fork(child)]) == [0]
        """,
        real,
        trace_id,
    )
    assert operations(client, trace_id) == ["child", "child again", "grandchild", "parent"]


def test_process_pools(real: RealServer, client: StatusClient, trace_id: str):
    run(
        """
        import multiprocessing
        step("parent")
        with multiprocessing.get_context("fork").Pool(2) as pool:
            pool.map(step, [f"task-{number}" for number in range(6)])
        """,
        real,
        trace_id,
    )
    assert operations(client, trace_id) == ["parent", *[f"task-{number}" for number in range(6)]]


def test_a_coroutine_in_a_forked_child(real: RealServer, client: StatusClient, trace_id: str):
    run(
        """
        import asyncio
        step("parent")
        async def main():
            async with status_step("child"):
                pass
            async with AsyncStatusClient() as client:
                await client.update(trace_id=trace_id, component="c", operation="client")
        assert joined([fork(lambda: asyncio.run(main()))]) == [0]
        """,
        real,
        trace_id,
    )
    assert operations(client, trace_id) == ["child", "client", "parent"]


def test_the_relay_says_what_the_service_says(real: RealServer, client: StatusClient, trace_id: str):
    run(
        """
        step("parent")
        def child():
            try:
                client.get_trace("no-such-trace")
            except TraceNotFound:
                pass
            try:
                client.create(domain="d")
            except InvalidArgument as error:
                assert set(error.fields) == {"event.domain_id", "event.component"}
            done = client.update(trace_id=trace_id, component="c", trace_status="FINISHED", trace_event_status="OK")
            assert client.wait(trace_id) == done.trace
        assert joined([fork(child)]) == [0]
        """,
        real,
        trace_id,
    )


def test_a_relay_that_is_killed_is_replaced(real: RealServer, client: StatusClient, trace_id: str):
    run(
        """
        step("parent")
        def child():
            step("one")
            from status_grpc.client import relay
            import subprocess
            pids = subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True, text=True).stdout.split()
            for pid in pids:
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass
            step("two")
        assert joined([fork(child)]) == [0]
        """,
        real,
        trace_id,
    )
    assert operations(client, trace_id) == ["one", "parent", "two"]
