"""A worker that works on many traces at once, each in a task of its own.

The engine that hands out the jobs tries again when one fails, and tells the end: hence on_exception="continue".
"""

import asyncio

from status_grpc import status_add, status_wrapper


@status_wrapper(component="thumbnailer", on_exception="continue")
async def thumbnail(trace_id: str, image: str, attempt: int) -> str:
    status_add(trace_id=trace_id, attempt=attempt, inputs=[image])
    await asyncio.sleep(0.01)
    if attempt == 1 and image.endswith(".tiff"):
        raise ValueError("needs another try")
    status_add(outputs=[f"{image}.thumb"])
    return f"{image}.thumb"


async def with_retries(trace_id: str, image: str) -> str:
    try:
        return await thumbnail(trace_id, image, attempt=1)
    except ValueError:
        return await thumbnail(trace_id, image, attempt=2)


async def work(jobs: list[tuple[str, str]]) -> list[str]:
    return await asyncio.gather(*(with_retries(trace_id, image) for trace_id, image in jobs))
