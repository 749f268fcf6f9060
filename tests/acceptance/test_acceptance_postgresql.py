"""The same promises on PostgreSQL, a selection; and what is about a database that comes and goes."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from calls import ENDED_OK, Code, Stub, all_events, new_trace, refusal, update
from followers import PATIENCE, Following
from grpc_health.v1 import health_pb2, health_pb2_grpc
from postgres import Cluster, Databases
from server_process import BIN, Server
from test_acceptance_finding import (  # noqa: F401
    test_paths_are_exact_strings,
    test_the_same_path_uploaded_three_times_gives_the_newest_and_lists_all_three,
    test_traces_are_listed_newest_first_and_once_whatever_the_page_size,
)
from test_acceptance_following import (  # noqa: F401
    test_a_follower_of_a_new_run_sees_both_runs_and_ends_with_the_last,
    test_a_live_follower_ends_at_the_end_and_a_later_one_also_gets_the_late_events,
    test_a_path_means_the_newest_trace_created_with_it,
    test_a_trace_that_does_not_exist_yet_is_waited_for_by_its_path,
    test_followers_that_join_anywhere_in_a_storm_of_writes_see_every_event_once_and_in_order,
    test_new_only_waits_for_the_next_upload_of_a_path_whose_earlier_one_finished_long_ago,
)
from test_acceptance_recording import (  # noqa: F401
    test_a_live_follower_and_a_later_reader_get_the_same_bytes,
    test_a_retried_batch_stores_nothing,
    test_a_retried_create_answers_as_the_first_time_and_stores_nothing,
    test_a_retried_update_answers_as_the_first_time_and_stores_nothing,
    test_every_field_comes_back_as_it_was_sent_by_every_way,
    test_expected_sequence_lets_one_of_many_writers_through,
    test_of_many_ends_at_once_the_first_recorded_decides,
    test_one_bad_item_of_a_batch_fails_alone_with_the_error_that_update_gives,
    test_times_are_kept_to_the_microsecond_and_answered_so,
    test_twenty_retries_at_once_store_one_event_and_answer_alike,
)

Connect = Callable[..., Stub]
Launch = Callable[..., Server]

_SERVING, _NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def server(postgresql_databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that the tests of this module share."""
    flags = ("--checkpoint-seconds", "0.5", "--poll-seconds", "0.3", "--drain-seconds", "1")
    with postgresql_databases.database() as url:
        shared = Server(tmp_path_factory.mktemp("server"), *flags, database_url=url)
        shared.start()
        yield shared
        assert shared.stop() == 0


@pytest.fixture
def on_cluster(postgresql_cluster: Cluster, tmp_path: Path) -> Iterator[Launch]:
    """Make a server on a cluster that the test may stop; not started yet."""
    servers: list[Server] = []

    def make(*flags: str) -> Server:
        url = postgresql_cluster.url.render_as_string(hide_password=False)
        servers.append(Server(tmp_path, "--drain-seconds", "1", *flags, database_url=url))
        return servers[-1]

    yield make
    for server in servers:
        server.kill()


async def migrate(cluster: Cluster, *flags: str) -> None:
    url = cluster.url.render_as_string(hide_password=False)
    process = await asyncio.create_subprocess_exec(BIN / "status-grpc", "migrate", "--database-url", url, *flags)
    assert await process.wait() == 0


async def health(server: Server, name: str) -> int | None:
    """Return what a health check says, None where nothing listens."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE
            )
        except grpc.aio.AioRpcError:
            return None
        status: int = answer.status
        return status


async def until(condition: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.05)


async def test_a_server_may_start_before_its_database(
    postgresql_cluster: Cluster, on_cluster: Launch, connect: Connect
) -> None:
    await migrate(postgresql_cluster)
    await asyncio.to_thread(postgresql_cluster.stop)
    server = on_cluster()
    starting = asyncio.create_task(asyncio.to_thread(server.start))

    async def is_alive() -> bool:
        return await health(server, "liveness") == _SERVING

    await until(is_alive)
    assert await health(server, "readiness") == _NOT_SERVING
    stub = connect(server)
    refused = await refusal(new_trace(stub), Code.UNAVAILABLE)
    assert refused.retry_seconds
    assert not starting.done()
    await asyncio.to_thread(postgresql_cluster.start)
    await asyncio.wait_for(starting, PATIENCE)
    assert await health(server, "readiness") == _SERVING
    trace_id = await new_trace(stub)
    assert [event.sequence for event in await all_events(stub, trace_id)] == [1]
    assert server.stop() == 0


async def test_a_server_that_waits_for_its_database_can_be_stopped(
    postgresql_cluster: Cluster, on_cluster: Launch
) -> None:
    await asyncio.to_thread(postgresql_cluster.stop)
    server = on_cluster()
    starting = asyncio.create_task(asyncio.to_thread(server.start))

    async def is_alive() -> bool:
        return await health(server, "liveness") == _SERVING

    await until(is_alive)
    process = server.process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, PATIENCE) == 0
    with pytest.raises(AssertionError, match="instead of where it listens"):
        await starting


async def serve(cluster: Cluster, *flags: str) -> tuple[int, str]:
    """Run a server that cannot start; return its exit code and what it said."""
    url = cluster.url.render_as_string(hide_password=False)
    command = [BIN / "status-grpc", "serve", "--listen", "127.0.0.1:0", "--database-url", url, *flags]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, said = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode is not None
    return process.returncode, said.decode()


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_server_does_not_wait_for_ever(postgresql_cluster: Cluster, workers: str) -> None:
    await asyncio.to_thread(postgresql_cluster.stop)
    code, said = await serve(postgresql_cluster, "--database-wait-seconds", "1", "--workers", workers)
    assert code == 1
    assert re.search(
        r"^Error: The database at .*:\d+ cannot be reached: .*; the server waited 1 s for it\.$", said, re.MULTILINE
    )


async def test_a_database_that_does_not_exist_is_refused_at_once(postgresql_cluster: Cluster) -> None:
    url = postgresql_cluster.url.set(database="missing").render_as_string(hide_password=False)
    code, said = await serve(postgresql_cluster, "--database-url", url)
    assert code == 2
    assert re.fullmatch(
        r'Error: --database-url: the database at .* refuses: database "missing" does not exist\.\n', said
    )


async def test_a_server_does_not_start_on_another_schema(postgresql_cluster: Cluster) -> None:
    code, said = await serve(postgresql_cluster)
    assert code == 2
    assert "Error: The database has no schema, this release needs" in said
    assert "run status-grpc migrate first" in said
    await migrate(postgresql_cluster, "--to", "0001")
    code, said = await serve(postgresql_cluster, "--workers", "2")
    assert code == 2
    assert "Error: The database has schema 0001, this release needs" in said


async def test_while_the_database_is_away_the_server_is_alive_and_followers_stay(
    postgresql_cluster: Cluster, on_cluster: Launch, connect: Connect
) -> None:
    await migrate(postgresql_cluster)
    server = on_cluster("--checkpoint-seconds", "0.3", "--poll-seconds", "0.3")
    await asyncio.to_thread(server.start)
    stub = connect(server)
    trace_id = await new_trace(stub)
    following = Following(stub, trace_id=trace_id)
    assert (await following.event()).sequence == 1

    async def has(status: int) -> bool:
        return await health(server, "readiness") == status

    for last in (2, 3):
        await asyncio.to_thread(postgresql_cluster.stop)
        await until(lambda: has(_NOT_SERVING))
        assert await health(server, "liveness") == _SERVING
        refused = await refusal(update(stub, trace_id), Code.UNAVAILABLE)
        assert refused.retry_seconds
        for _ in range(3):
            await following.checkpoint()
        await asyncio.to_thread(postgresql_cluster.start)
        await until(lambda: has(_SERVING))
        await update(stub, trace_id)
        assert (await following.event()).sequence == last
    await update(stub, trace_id, **ENDED_OK)
    story = await following.to_the_end()
    assert story.sequences == [1, 2, 3, 4]
    assert server.stop() == 0
