"""Prefect: sets states of a flow run, by Prefect's own client, on the Prefect server at PREFECT_API_URL."""

import asyncio
import sys
import time

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Running


@flow
def pipeline() -> None:
    pass


async def main() -> None:
    async with get_client() as client:
        runs = [await client.create_flow_run(pipeline) for _ in range(8)]
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            calls, at_a_time = map(int, line.split())

            async def caller(number: int, count: int) -> None:
                for _ in range(count):
                    await client.set_flow_run_state(runs[number % len(runs)].id, Running(message="copy"), force=True)

            began = time.perf_counter()
            await asyncio.gather(*(caller(number, calls // at_a_time) for number in range(at_a_time)))
            print(time.perf_counter() - began, flush=True)


asyncio.run(main())
