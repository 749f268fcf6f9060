"""Processes that generate load: started once, given one job after another.

They are spawned, never forked (gRPC does not survive a fork), and kept, so that starting Python is not part of what is
measured.
"""

import asyncio
import multiprocessing
import traceback
from collections.abc import Callable, Coroutine
from multiprocessing.connection import Connection as Pipe
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Line:
    """What a running job may say to the one that started it, and hear."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    def tell(self, word: str) -> None:
        self._pipe.send(("told", word))

    def told(self) -> bool:
        """Whether `Worker.tell` was called since the job began."""
        return self._pipe.poll()


class Worker:
    """A process that runs jobs: coroutine functions of a module, with arguments that can be pickled."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._pipe.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()

    def start(self, job: Callable[Concatenate[Line, P], Coroutine[Any, Any, R]], *args: P.args, **_: P.kwargs) -> None:
        self._pipe.send((job, args))

    def hear(self, word: str) -> None:
        """Wait until the running job says this."""
        kind, value = self._pipe.recv()
        if kind == "failed":
            raise RuntimeError(f"a load generator failed:\n{value}")
        assert (kind, value) == ("told", word), f"{kind} {value} instead of {word}"

    def tell(self) -> None:
        self._pipe.send(None)

    def result(self) -> Any:
        """What the job returned."""
        kind, value = self._pipe.recv()
        if kind == "failed":
            raise RuntimeError(f"a load generator failed:\n{value}")
        assert kind == "done", f"{kind} {value} instead of a result"
        return value


def _serve(pipe: Pipe) -> None:
    try:
        import uvloop
    except ImportError:
        loop_factory = None
    else:
        loop_factory = uvloop.new_event_loop
    try:
        while True:
            message = pipe.recv()
            if message is None:
                continue  # told when the job had seen that already, or had ended
            job, args = message
            try:
                with asyncio.Runner(loop_factory=loop_factory) as runner:
                    answer = ("done", runner.run(job(Line(pipe), *args)))
            except Exception:
                answer = ("failed", traceback.format_exc())
            pipe.send(answer)
    except (EOFError, OSError, KeyboardInterrupt):
        return  # whoever started this has gone
