"""Where the time of a server goes while it is busy with Updates: `python -m benchmarks.flame FILE.svg`, by py-spy."""

import argparse
import re
import shlex
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

from benchmarks import load
from benchmarks.databases import SQLITE, Engines
from benchmarks.load import Job
from benchmarks.payloads import UPDATE, new_traces, update
from benchmarks.servers import start_service

SECONDS, PER_SECOND = 10, 250


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flame")
    parser.add_argument("file", type=Path)
    serve = shlex.join([str(Path(sys.executable).with_name("status-grpc")), "serve"])
    parser.add_argument("--serve", metavar="COMMAND", default=serve, help="starts the service")
    given = parser.parse_args()
    with ExitStack() as stack:
        driver = stack.enter_context(load.choose("auto"))
        url = stack.enter_context(Engines(stack).database(SQLITE))
        service = stack.enter_context(start_service(shlex.split(given.serve), url))
        bodies = tuple(update(trace).SerializeToString() for trace in new_traces(service.stub, 8))
        done = threading.Event()

        def keep_busy() -> None:
            while not done.is_set():
                driver.run(Job(service.address, UPDATE, bodies, 64, 4_000))

        busy = threading.Thread(target=keep_busy)
        busy.start()
        try:
            command = ["record", "--pid", str(service.pid), "--duration", str(SECONDS), "--rate", str(PER_SECOND)]
            command += ["--gil", "--function", "--format", "flamegraph", "--output", str(given.file)]
            subprocess.run([Path(sys.executable).with_name("py-spy"), *command], check=True)
        finally:
            done.set()
            busy.join()
    # The command is noted in the picture, with the paths of this machine.
    given.file.write_text(re.sub(r">[^<>]*py-spy record[^<>]*<", "><", given.file.read_text()))


if __name__ == "__main__":
    main()
