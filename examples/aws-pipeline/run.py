"""Four uploads through a pipeline on AWS, each followed to its end: `python examples/aws-pipeline/run.py`.

One goes well; one meets a step that fails and is tried again; one is not valid; and of one nobody hears again, until
somebody asks. AWS is moto's server on this machine (platform_aws.py), everything else is as it would be.
"""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.request import Request, urlopen

from platform_aws import Platform, moto_server, use

import status_grpc
from status_grpc import StatusClient, Trace
from status_grpc.aws import EndStates, Router, Upload, Uploads, reconcile

GOOD = "bike,price\nred,100\nblue,120\n"
FILES = {"good.csv": GOOD, "flaky.csv": GOOD, "invalid.csv": "bike,price\nred,100\nblue,\n", "dies.csv": GOOD}


def main() -> None:
    """Run all of it."""
    with tempfile.TemporaryDirectory() as folder, moto_server() as aws, status_server(Path(folder)) as address:
        use({**aws, "STATUS_GRPC_SERVER": address})
        platform = Platform("bike-trips", write_seconds=5)
        with StatusClient() as client, running(platform, client):
            for name, content in FILES.items():
                show(client, platform, name, content)
            show_lineage(f"s3://{platform.bucket}/green/bike-trips/version=1/good.json")


def show(client: StatusClient, platform: Platform, name: str, content: str) -> Trace:
    """Upload a file, and print what is told of it until its end."""
    print(f"\n{name}")
    uploads = Uploads(platform.s3, platform.bucket)
    upload = uploads.put(
        f"raw/bike-trips/version=1/{name}", "dataset", "bike-trips/1", content_type="text/csv", user="kari"
    )
    if name == "dies.csv":
        threading.Thread(target=ask_until_ended, args=(client, platform, upload.trace_id), daemon=True).start()
    with client.follow(upload.trace_id, timeout=120) as events:
        events.start()
        send(upload, content)
        for event in events:
            why = [error.message["en"] for error in event.errors]
            why += [f"{event.exception.type} {event.exception.message}"] if event.exception else []
            print(f"  {event.component:20} {event.operation:10} {event.trace_event_status:7} {'; '.join(why)}".rstrip())
    trace = events.finished_trace
    because = f", because of {trace.first_failure.component}" if trace.first_failure else ""
    print(f"  {trace.trace_event_status}{because if trace.trace_event_status == 'FAILED' else ''}")
    return trace


def show_lineage(uri: str) -> None:
    """Print where a file comes from. There are pictures of it, too: `--format svg`."""
    print(f"\n$ status-grpc lineage {uri}", flush=True)
    subprocess.run([sys.executable, "-m", "status_grpc.cli.main", "lineage", uri], check=True)


def send(upload: Upload, content: str) -> None:
    """Do what a browser or curl does with an upload."""
    request = Request(upload.url, content.encode(), upload.headers, method=upload.method)
    urlopen(request, timeout=30).close()


def ask_until_ended(client: StatusClient, platform: Platform, trace_id: str) -> None:
    """Do what `status-grpc reconcile` does every few minutes."""
    while not client.get_trace(trace_id).trace.done:
        for asked in reconcile(client, platform.stepfunctions, [platform.state_machine], quiet_for=timedelta(0)):
            if asked.ended and asked.execution is not None:
                print(f"  (asked, Step Functions says that it has {asked.execution.status})")
        threading.Event().wait(0.5)


@contextmanager
def running(platform: Platform, client: StatusClient) -> Iterator[None]:
    """Run what AWS would run: the functions of the router, of the end state, and of the steps."""
    router = Router(client, platform.s3, platform.stepfunctions, state_machine=platform.state_machine)
    ends = EndStates(client)
    over = threading.Event()

    def route() -> None:
        platform.deliver(platform.arrivals, router.handle, wait_seconds=1)

    def end() -> None:
        platform.tell_ends()
        platform.deliver(platform.ends, EndStatesExcept("dies.csv", ends).handle)
        over.wait(0.1)

    threads = [threading.Thread(target=_repeat, args=(work, over)) for work in (route, end)]
    threads.append(threading.Thread(target=_run_workers, args=(platform.tasks, over)))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


class EndStatesExcept:
    """Loses the end of an execution, as best effort sometimes does."""

    def __init__(self, name: str, ends: EndStates) -> None:
        self._name, self._ends = name, ends

    def handle(self, event: dict, context: object) -> dict:
        """Handle those events that are not lost."""
        kept = [record for record in event["Records"] if self._name not in record["body"]]
        return self._ends.handle({"Records": kept}, context) if kept else {"batchItemFailures": []}


def _repeat(work: Callable[[], None], over: threading.Event) -> None:
    while not over.is_set():
        work()


def _run_workers(queue_url: str, over: threading.Event) -> None:
    """Keep one worker process running: there is a new one when a step has taken it down."""
    while not over.is_set():
        with subprocess.Popen([sys.executable, str(Path(__file__).with_name("worker.py")), queue_url]) as worker:
            while not over.is_set() and worker.poll() is None:
                over.wait(0.1)
            worker.kill()


@contextmanager
def status_server(folder: Path) -> Iterator[str]:
    """Run a status-grpc server; yields where it listens."""
    command = [sys.executable, "-m", "status_grpc.cli.main", "serve", "--listen", "127.0.0.1:0"]
    command += ["--database-url", f"sqlite+aiosqlite:///{folder / 'traces.db'}", "--drain-seconds", "0"]
    with (
        (folder / "server.log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"the server did not start: {(folder / 'server.log').read_text()}")
            yield line.split()[-1]
        finally:
            process.kill()


if __name__ == "__main__":
    main()
    status_grpc.flush()
