"""Follows traces that are not there yet by one AsyncStatusClient, in a process of its own.

Usage: many_followers.py ADDRESS COUNT. Prints "following" when each follower has its first checkpoint, and ends with
its input.
"""

from __future__ import annotations

import asyncio
import sys

from status_grpc import AsyncStatusClient


async def main(address: str, count: int) -> None:
    listening = asyncio.Semaphore(0)
    async with AsyncStatusClient(address) as client:

        async def follow(number: int) -> None:
            async with client.follow(
                f"not-yet-{number}", wait_for_trace=True, on_checkpoint=lambda _: listening.release()
            ) as events:
                async for _ in events:
                    pass

        tasks = [asyncio.create_task(follow(number)) for number in range(count)]
        for _ in range(count):
            await asyncio.wait_for(listening.acquire(), 120)
        print("following", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
