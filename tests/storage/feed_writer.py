"""A process that writes: `python feed_writer.py URL NAME TRACE...` commits until its standard input ends.

It appends to the traces that it is given, whoever else does, and starts new ones; its last line says how many events
were acknowledged.
"""

from __future__ import annotations

import asyncio
import random
import sys

from builders import append, create

from status_grpc.domain.decisions import Recorded
from status_grpc.domain.errors import StatusError
from status_grpc.storage.dialects import open_database
from status_grpc.storage.store import Store


async def main(url: str, name: str, *shared: str) -> None:
    database = open_database(url)
    await database.open()
    store = Store(database, events_per_trace=1_000_000)
    told_to_stop = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    acknowledged, round_number, own = 0, 0, [f"{name}-0"]
    await store.commit([create(own[0])])
    print("began", flush=True)
    while not told_to_stop.done():
        round_number += 1
        traces = random.sample(shared, 3) + random.sample(own, 1)
        commands = [append(trace_id, f"{name}-{round_number}-{trace_id}") for trace_id in traces]
        if random.random() < 0.2:
            own.append(f"{name}-{round_number}")
            commands.append(create(own[-1], f"{name}-{round_number}", s3_path=f"path/{own[-1]}"))
        while True:
            try:
                decisions = await store.commit(commands)
                break
            except StatusError:
                await asyncio.sleep(0.01)
        assert not any(isinstance(decision, Exception) for decision in decisions), decisions
        acknowledged += sum(isinstance(decision, Recorded) for decision in decisions)
    await told_to_stop
    await database.close()
    print(acknowledged + 1, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
