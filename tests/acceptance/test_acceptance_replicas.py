"""Several processes and one truth: whatever is written on one is followed on every other."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from calls import ENDED_OK, Stub, all_events, new_trace, unique, update
from followers import Following, ResumingFollower
from server_process import BIN, PATIENCE, Server

Connect = Callable[..., Stub]
NewServer = Callable[..., Server]

#: A port on which nobody listens: no hints come from there.
NOWHERE = "postgresql+asyncpg://nobody@127.0.0.1:9/nothing"


@pytest.fixture(params=["sqlite", "postgresql", "postgresql without hints"])
def replicas(request: pytest.FixtureRequest, new_server: NewServer, tmp_path: Path) -> list[Server]:
    """Two servers on one database."""
    if request.param == "sqlite":
        flags = ["--database-url", f"sqlite+aiosqlite:///{tmp_path / 'shared.db'}"]
    else:
        flags = ["--database-url", request.getfixturevalue("postgresql_url")]
    if request.param.endswith("without hints"):
        flags += ["--database-listen-url", NOWHERE, "--poll-seconds", "0.2"]
    else:
        # Nothing below waits for so long: it is hints that tell.
        flags += ["--poll-seconds", "600"]
    return [new_server(*flags) for _ in range(2)]


async def test_what_one_replica_writes_is_followed_on_another_to_its_end(
    replicas: list[Server], connect: Connect
) -> None:
    here, there = map(connect, replicas)
    path = unique("raw/green/cycling/file")
    by_path = Following(here, s3_path=path, wait_for_trace=True)
    assert (await by_path.checkpoint()).trace_id == ""
    trace_id = await new_trace(there, s3_path=path)
    by_id = Following(here, trace_id=trace_id)
    await by_id.caught_up()
    for sequence in range(2, 12):
        writing = (here, there)[sequence % 2]  # by turns: both number their commits
        await update(writing, trace_id, trace_event_id=f"event-{sequence}")
        assert (await by_id.event()).trace_event_id == f"event-{sequence}"
    await update(there, trace_id, **ENDED_OK)
    for following in (by_id, by_path):
        assert (await following.to_the_end()).sequences == list(range(1, 13))


async def test_a_replica_that_is_killed_takes_nothing_with_it(replicas: list[Server], connect: Connect) -> None:
    here, there = map(connect, replicas)
    trace_id = await new_trace(there, trace_event_id="event-0")
    follower = asyncio.create_task(ResumingFollower(here, trace_id).run())
    written = ["event-0"]

    async def write(stub: Stub, name: str, **fields: Any) -> None:
        await update(stub, trace_id, trace_event_id=name, **fields)
        written.append(name)

    for number in range(1, 20):
        await write(there, f"event-{number}")
    replicas[1].kill()
    for number in range(20, 30):
        await write(here, f"event-{number}")
    await write(here, "the end", **ENDED_OK)
    (await follower).assert_saw(written)


# Workers


def workers_of(server: Server) -> list[int]:
    assert server.process is not None
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(server.process.pid)], check=False, capture_output=True, text=True
    )
    return [int(pid) for pid in found.stdout.split() if "server.worker" in command_of(int(pid))]


def command_of(pid: int) -> str:
    """Return what the process runs; nothing of one that has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.02)


def lines(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.splitlines()]


@pytest.fixture(params=["sqlite", "postgresql"])
def workers(request: pytest.FixtureRequest, new_server: NewServer) -> Server:
    """A server of three workers."""
    url = ["--database-url", request.getfixturevalue("postgresql_url")] if request.param == "postgresql" else []
    return new_server("--workers", "3", "--drain-seconds", "5", *url)


async def test_workers_are_one_server(workers: Server, connect: Connect) -> None:
    pids = workers_of(workers)
    assert len(pids) == 3
    # Connections are spread over the workers: with a dozen it would be strange if all were one's.
    stubs = [connect(workers, ("status_grpc.test", number)) for number in range(12)]
    trace_id = await new_trace(stubs[0], trace_event_id="event-0")
    followers = [asyncio.create_task(ResumingFollower(stub, trace_id).run()) for stub in stubs]
    for number, stub in enumerate(stubs[1:], 1):
        await update(stub, trace_id, trace_event_id=f"event-{number}")

    os.kill(pids[0], signal.SIGKILL)
    await until(lambda: len(now := workers_of(workers)) == 3 and pids[0] not in now)
    await until(lambda: any(line["event"] == "a worker was replaced" for line in lines(workers)))

    end = connect(workers)
    await update(end, trace_id, trace_event_id="the end", **ENDED_OK)
    written = [event.trace_event_id for event in await all_events(end, trace_id)]
    assert len(written) == 13
    for follower in followers:
        (await follower).assert_saw(written)

    assert workers.stop() == 0
    assert all(gone(pid) for pid in pids)
    said = lines(workers)
    assert {line["worker"] for line in said if line["event"] == "stopped" and "worker" in line} == {1, 2, 3}
    replaced = [line["worker"] for line in said if line["event"].startswith("a worker ended")]
    assert len(replaced) == 1


async def test_workers_do_not_outlive_their_supervisor(workers: Server) -> None:
    pids = workers_of(workers)
    workers.kill()
    await until(lambda: all(gone(pid) for pid in pids))
    await asyncio.to_thread(workers.start)
    again = workers_of(workers)
    workers.terminate()
    await until(lambda: "draining" in {line["event"] for line in lines(workers)})
    workers.terminate()
    assert workers.wait() in (0, 128 + signal.SIGTERM)  # ended at once, unless it had just drained
    await until(lambda: all(gone(pid) for pid in again))


@pytest.mark.parametrize("second", [[], ["--workers", "2"]], ids=["alone", "workers"])
def test_a_second_service_on_the_port_of_workers_is_refused(new_server: NewServer, second: list[str]) -> None:
    first = new_server("--workers", "2", "--drain-seconds", "1")
    found = started(first.folder, "--listen", first.address, *second)
    assert found.returncode == 2
    assert found.stderr == f"Error: --listen {first.address}: address already in use.\n"
    assert first.stop() == 0


def test_workers_that_cannot_start_end_the_service_with_a_sentence(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    found = started(tmp_path, "--workers", "2", "--tls-cert", str(missing), "--tls-key", str(missing))
    assert found.returncode == 2
    assert re.search(r"Error: .*missing\.pem: No such file", found.stderr)
    assert "Traceback" not in found.stderr
    found = started(tmp_path, "--workers", "2", "--listen", "unix:socket")
    assert found.returncode == 2
    assert "--listen unix:socket: several workers share a port" in found.stderr


async def test_workers_that_are_told_to_stop_before_they_are_ready_do(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [BIN / "status-grpc", "serve", "--listen", "127.0.0.1:0", "--workers", "2", "--database-url", NOWHERE]
    with log.open("w") as writing:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=writing, text=True)
    try:
        await until(lambda: log.read_text().count("waiting for the database") == 2)
        process.terminate()
        assert await asyncio.to_thread(process.wait, PATIENCE) == 0
        assert process.stdout is not None
        assert process.stdout.read() == "", "it was never ready"
        assert log.read_text().count("stopped before it was ready") == 2
    finally:
        process.kill()
        process.communicate()


def started(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run a server that is expected to end by itself."""
    command = [BIN / "status-grpc", "serve", "--listen", "127.0.0.1:0", *flags]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
