"""No acknowledged write is lost, doubled or out of place, and no follower sees a wrong end, whatever breaks.

Clients write and followers follow while it does, over several servers on one database. The verdict comes from the
clients' own records; `make faults` repeats each fault more often. Both print the figures (pytest -rP).
"""

from __future__ import annotations

import asyncio
import copy
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import sqlalchemy as sa
from calls import all_events
from engines import Engine, Sqlite, migrated
from full_disk import SmallDisk
from load import PATIENCE, Load, Replicas
from postgres import Cluster
from proxy import Proxy
from server_process import Server
from verdict import judge

#: After how many seconds a worker counts as hanging, in these tests.
HANG_SECONDS = 5.0

StartServer = Callable[..., Server]
StartLoad = Callable[..., Awaitable[Load]]
Rounds = Callable[[int], range]


async def finished(load: Load, name: str) -> None:
    """Let everything come to its end, and judge it."""
    await load.finish()
    (await judge(load)).assert_flawless(name)


async def test_a_replica_is_killed(
    engine: Engine, start_server: StartServer, start_load: StartLoad, rounds: Rounds
) -> None:
    servers = [start_server(engine.url) for _ in range(2)]
    load = await start_load(*servers)
    await load.more()
    load.paused.reads.clear()
    for _ in rounds(1):
        killed = random.choice(servers)
        killed.kill()
        await load.more(20)  # of the other one
        await asyncio.to_thread(killed.start)
        await load.more()
    await finished(load, "a replica killed")


async def test_all_servers_are_killed_at_once(
    engine: Engine, start_server: StartServer, start_load: StartLoad, rounds: Rounds
) -> None:
    servers = [start_server(engine.url) for _ in range(2)]
    load = await start_load(*servers)
    for _ in rounds(1):
        await load.more()
        for server in servers:
            server.kill()
        await asyncio.gather(*[asyncio.to_thread(server.start) for server in servers])
    await load.more()
    await finished(load, "all servers killed")


async def test_replicas_are_replaced_one_after_the_other(
    engine: Engine, start_server: StartServer, start_load: StartLoad, rounds: Rounds
) -> None:
    """As in a rolling upgrade: each is told to stop, drains, and a new one takes its place."""
    servers = [start_server(engine.url) for _ in range(2)]
    load = await start_load(*servers)
    for _ in rounds(1):
        for server in servers:
            await load.more(60)
            assert await asyncio.to_thread(server.stop) == 0
            await asyncio.to_thread(server.start)
    await load.more()
    await finished(load, "replicas replaced")


async def test_a_worker_is_killed(
    engine: Engine, start_server: StartServer, start_load: StartLoad, rounds: Rounds
) -> None:
    server = start_server(engine.url, "--workers", "2")
    load = await start_load(server)
    for _ in rounds(1):
        await load.more()
        workers = server.workers()
        os.kill(random.choice(workers), signal.SIGKILL)
        await load.more(20)
        async with asyncio.timeout(PATIENCE):
            while not (len(now := server.workers()) == 2 and set(now) != set(workers)):
                await asyncio.sleep(0.05)
    await load.more()
    await finished(load, "a worker killed")


async def test_frozen_worker_is_replaced_only_beyond_the_limit(
    engine: Engine, start_server: StartServer, start_load: StartLoad, rounds: Rounds
) -> None:
    server = start_server(engine.url, "--workers", "2", "--hang-seconds", str(HANG_SECONDS))
    load = await start_load(server)
    for _ in rounds(1):
        await load.more()
        workers = server.workers()
        frozen = random.choice(workers)
        os.kill(frozen, signal.SIGSTOP)
        await asyncio.sleep(HANG_SECONDS / 4)
        os.kill(frozen, signal.SIGCONT)
        await load.more()
        assert server.workers() == workers
        os.kill(frozen, signal.SIGSTOP)
        async with asyncio.timeout(PATIENCE):
            while not (len(now := server.workers()) == 2 and frozen not in now):
                await asyncio.sleep(0.05)
        assert "a worker hangs: killing it" in server.log
    await load.more()
    await finished(load, "a worker frozen beyond the limit")


async def test_supervisor_forgives_workers_for_its_own_freeze(
    tmp_path: Path, start_server: StartServer, start_load: StartLoad
) -> None:
    """As after a suspended machine: all processes have stood still, and none of them hangs."""
    server = start_server(Sqlite(tmp_path).url, "--workers", "2", "--hang-seconds", str(HANG_SECONDS))
    load = await start_load(server)
    await load.more()
    workers = server.workers()
    server.freeze()
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    await asyncio.sleep(HANG_SECONDS + 1)
    server.wake()  # first: it looks before the workers can pulse
    for worker in workers:
        os.kill(worker, signal.SIGCONT)
    await load.more()
    assert server.workers() == workers
    assert "a worker hangs" not in server.log
    await finished(load, "everything frozen")


async def test_postgresql_is_stopped_as_by_a_crash(
    postgresql_cluster: Cluster, start_server: StartServer, start_load: StartLoad, rounds: Rounds
) -> None:
    url = postgresql_cluster.url.render_as_string(hide_password=False)
    await migrated(url)
    load = await start_load(*[start_server(url) for _ in range(2)])
    for _ in rounds(1):
        await load.more()
        await asyncio.to_thread(postgresql_cluster.stop)
        await asyncio.sleep(random.random())
        await asyncio.to_thread(postgresql_cluster.start)
    await load.more()
    await finished(load, "PostgreSQL stopped")


async def proxied(url: str) -> tuple[Proxy, str]:
    """Return a proxy before PostgreSQL, and the URL that leads through it."""
    parsed = sa.make_url(url)
    assert parsed.host
    assert parsed.port
    proxy = await Proxy(parsed.host, parsed.port).start()
    through = parsed.set(host="127.0.0.1", port=proxy.port)
    return proxy, through.render_as_string(hide_password=False)


async def test_connections_are_lost_in_the_middle_of_a_commit(
    postgresql_url: str, start_server: StartServer, start_load: StartLoad, rounds: Rounds
) -> None:
    """Before the COMMIT has reached the database, or after: the server cannot know, and the client retries."""
    proxy, through = await proxied(postgresql_url)
    try:
        load = await start_load(*[await asyncio.to_thread(start_server, through) for _ in range(2)])
        for number in rounds(5):
            await load.more(20)
            async with asyncio.timeout(PATIENCE):
                await proxy.lose_commit(forwarded=number % 2 == 0)
        await load.more()
        await finished(load, "commits lost")
    finally:
        await proxy.close()


async def test_a_replica_freezes_between_its_statements_and_its_commit(
    postgresql_url: str, start_server: StartServer, start_load: StartLoad, rounds: Rounds
) -> None:
    """It holds the rows of traces that the other writes to; the database takes them from it."""
    proxy, through = await proxied(postgresql_url)
    try:
        frozen = await asyncio.to_thread(start_server, through)
        other = await asyncio.to_thread(start_server, postgresql_url)
        load = await start_load(frozen, other)
        took = []
        for _ in rounds(1):
            await load.more()
            await load.stop_writing()
            woken = asyncio.Event()
            async with asyncio.timeout(PATIENCE):
                stuck = asyncio.create_task(load.write_to_shared(frozen, other))
                await proxy.hold_commit(frozen.freeze, woken)
            began = time.monotonic()
            await load.write_to_shared(other)
            took.append(time.monotonic() - began)
            load.write()
            await load.more(20)
            frozen.wake()
            woken.set()
            await stuck
        await load.more()
        await finished(load, f"a replica frozen; the other wrote after {max(took):.1f} s at most")
        # The promise is 5 s: of a machine that does nothing else.
        assert max(took) < 15
    finally:
        await proxy.close()


async def test_a_replica_freezes_at_any_moment_and_wakes(
    engine: Engine, start_server: StartServer, start_load: StartLoad, rounds: Rounds
) -> None:
    servers = [start_server(engine.url) for _ in range(2)]
    load = await start_load(*servers)
    for _ in rounds(1):
        await load.more()
        frozen = random.choice(servers)
        frozen.freeze()
        await asyncio.sleep(random.random())
        frozen.wake()
    await load.more()
    await finished(load, "a replica frozen at any moment")


async def test_the_database_is_restored_from_a_backup_under_its_followers(
    engine: Engine, start_server: StartServer, start_load: StartLoad
) -> None:
    """What was recorded after the backup is gone; who has seen it is told so, and what is left is true."""
    load = await start_load(*[start_server(engine.url) for _ in range(2)])
    records = load.records
    await load.more()
    acknowledged, ends = copy.deepcopy(records.acknowledged), dict(records.ends)
    await engine.back_up()
    await load.more()
    await load.stop_writing()
    await load.all_seen()
    await engine.restore()
    records.acknowledged, records.ends = acknowledged, ends
    load.forget(
        lambda follower: follower.trace_id not in acknowledged or (follower.end and follower.trace_id not in ends)
    )
    load.write()
    await load.more()
    await load.stop_writing()
    for trace_id in acknowledged.keys() - records.ends.keys() - set(load.shared):
        await load.end_if_open(trace_id)
    await load.finish()
    verdict = await judge(load)
    verdict.assert_flawless("restored from a backup")
    assert verdict.restarts >= len(load.shared), "who had seen what is gone was not told"


async def test_the_disk_is_full_for_a_while(tmp_path: Path, start_server: StartServer, start_load: StartLoad) -> None:
    """Writes are refused with a reason, reads go on, and so do writes when there is space again."""
    server = start_server(Sqlite(tmp_path).url, kind=SmallDisk)
    assert isinstance(server, SmallDisk)
    load = await start_load(server)
    await load.more()
    server.fill()
    async with asyncio.timeout(PATIENCE):
        while load.records.failures["UNAVAILABLE"] < 20:
            await asyncio.sleep(0.05)
    replicas = Replicas([server])
    assert await all_events(replicas.any(), load.shared[0])
    await replicas.close()
    server.make_room()
    await load.more()
    await finished(load, "a full disk")
