"""The process of one component: `python -m status_grpc.demo.component NAME`.

It reads JSON lines: first {"server", "bucket", "pace"}, then the events it is called with. Each call is answered with a
line {"result", "recorded"}. It ends with its input, so that nothing is left when the demo itself is killed.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from status_grpc.client.sync import StatusClient
from status_grpc.demo.work import COMPONENTS, Context


def main(name: str) -> None:
    """Serve calls until there are no more."""
    # A Ctrl-C is for the demo, which then closes this process's input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    handler = COMPONENTS[name]
    settings = sys.stdin.readline()
    if not settings:
        return
    given = json.loads(settings)
    with StatusClient(given["server"]) as client:
        for line in sys.stdin:
            context = Context(name, client, Path(given["bucket"]), given["pace"])
            result = handler(json.loads(line), context)
            sys.stdout.write(json.dumps({"result": result, "recorded": context.recorded}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
