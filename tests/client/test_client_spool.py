from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fake_server import FakeServer, Fault
from hypothesis import given
from hypothesis import strategies as st
from patience import eventually
from warm import WarmProcess

from status_grpc import PermissionDenied, StatusClient, Unavailable, configure, flush, status_step, trace
from status_grpc.client.options import ClientOptions, is_server_configured, normal_server
from status_grpc.client.reporting.default import end_reporting
from status_grpc.client.reporting.reports import Report, make_report
from status_grpc.client.reporting.spool import BadSpoolFile, Spool, SpoolHeader, decode_spool, encode_spool
from status_grpc.client.reporting.spool_delivery import SpoolDelivery, SpoolOutcome
from status_grpc.client.reporting.spool_folder import default_spool_folder, spool_folder
from status_grpc.domain.events import EventDraft, TraceStatus

#: What a loaded machine may add to a step, in seconds.
SLACK = 3.0
REPORTS = st.lists(st.builds(Report, st.booleans(), st.binary(max_size=200)))


@given(st.text(), REPORTS)
def test_what_is_written_is_read(server: str, reports: list[Report]):
    assert decode_spool(encode_spool(server, reports)) == (SpoolHeader(server, len(reports)), reports)


@given(REPORTS, st.integers(0), st.binary(max_size=3))
def test_a_damaged_file_is_noticed(reports: list[Report], position: int, garbage: bytes):
    content = encode_spool("status.example:443", reports)
    position %= len(content) + 1
    damaged = content[:position] + garbage + content[position + len(garbage) :]
    try:
        assert decode_spool(damaged)[1] == reports if damaged == content else decode_spool(damaged) is None
    except BadSpoolFile:
        assert damaged != content
    with pytest.raises(BadSpoolFile):
        decode_spool(content[:-1])


def test_a_file_belongs_to_one_process_until_it_is_delivered(tmp_path: Path):
    spool = Spool(tmp_path / "spool", "s:1")
    reports = [Report(False, b"one"), Report(True, b"two")]
    file = spool.write(reports)
    assert list(spool.claim()) == []
    file.release()
    ((claimed, found),) = spool.claim()
    assert found == reports
    assert list(spool.claim()) == []
    claimed.settled_one()
    assert claimed.path.exists()
    claimed.settled_one()
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_report_that_is_refused_while_its_file_is_merged_stays(tmp_path: Path):
    spool = Spool(tmp_path, "s:1")
    file = spool.write([Report(False, b"one")])
    file.discard()
    file.hold(Report(False, b"one"))
    assert [reports for _, reports in spool.claim_all()] == [[Report(False, b"one")]]


def test_a_damaged_file_is_kept_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    spool = Spool(tmp_path, "s:1")
    spool.write([Report(False, b"one")]).release()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-2])
    assert list(spool.claim()) == []
    assert [file.suffix for file in tmp_path.iterdir()] == [".bad"]
    assert "damaged" in caplog.text


def test_the_folder_has_a_limit(tmp_path: Path):
    spool = Spool(tmp_path, "s:1", most_bytes=1000)
    spool.write([Report(False, b"x" * 500)])
    with pytest.raises(OSError, match="as much as it may"):
        spool.write([Report(False, b"x" * 500)])


PROGRAM = """
import os
from status_grpc import status_step, trace
with trace("d", "spooled/1", trace_id="spooled") as t:
    for number in range(5):
        with status_step(f"step-{number}"):
            pass
os._exit(0)
"""


def run(program: str, server: str, spool: Path, *, flush_timeout: float = 0.5) -> int:
    environment = {**os.environ, "STATUS_GRPC_SERVER": server, "STATUS_GRPC_SPOOL": str(spool)}
    environment |= {"STATUS_GRPC_FLUSH_TIMEOUT": str(flush_timeout), "STATUS_GRPC_COMPONENT": "c"}
    return subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode


def test_a_later_run_delivers_what_an_earlier_one_could_not(fake: FakeServer, tmp_path: Path):
    fake.stop()
    assert run(PROGRAM, fake.address, tmp_path) == 0
    assert list(tmp_path.glob("*.spool"))
    fake.start()
    later = "from status_grpc import status_step\nwith status_step('x', trace_id='spooled'): pass"
    assert run(later, fake.address, tmp_path, flush_timeout=60) == 0
    operations = [event.operation for event in fake.service.events["spooled"]]
    assert [name for name in operations if name != "x"] == ["", *[f"step-{number}" for number in range(5)], ""]
    assert list(tmp_path.iterdir()) == []


def test_what_this_process_delivers_itself_is_deleted(fake: FakeServer, tmp_path: Path):
    fake.service.fail("Create", *[Fault(error=Unavailable())] * 3)
    configure(server=fake.address, flush_timeout=0.2, spool=str(tmp_path), component="c")
    with trace("d", "x/1") as t, status_step("one"):
        pass
    assert flush(60)
    assert [event.operation for event in fake.service.events[t.trace_id]] == ["", "one", ""]
    eventually(lambda: not list(tmp_path.iterdir()), "the spool is empty")


def test_what_does_not_fit_into_memory_goes_to_the_spool(fake: FakeServer, tmp_path: Path):
    fake.service.fail("BatchUpdate", *[Fault(error=Unavailable())] * 5)
    configure(server=fake.address, flush_timeout=10, spool=str(tmp_path), component="c")
    with trace("d", "x/1", finish=False) as t:
        for number in range(150):
            with status_step(f"step-{number}", status_body={"big": "x" * 900_000}, flush="background"):
                pass
    eventually(lambda: flush(1) and len(fake.service.events[t.trace_id]) == 151, "everything arrives")
    assert {event.operation for event in fake.service.events[t.trace_id]} == {"", *[f"step-{n}" for n in range(150)]}
    eventually(lambda: not list(tmp_path.iterdir()), "the spool is empty")


def test_a_folder_that_cannot_be_written_hurts_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "file").write_text("in the way")
    configure(server="127.0.0.1:9", flush_timeout=0.1, spool=str(tmp_path / "file" / "spool"), component="c")
    with status_step("x", trace_id="t"):
        pass
    assert "cannot be spooled" in caplog.text


def test_a_killed_process_leaves_its_spool_to_others(fake: FakeServer, tmp_path: Path):
    fake.stop()
    program = PROGRAM.replace("os._exit(0)", f"os.kill(os.getpid(), {int(signal.SIGKILL)})")
    assert run(program, fake.address, tmp_path) == -signal.SIGKILL
    fake.start()
    configure(server=fake.address, flush_timeout=30, spool=str(tmp_path), component="c")
    with trace("d", "other"):
        pass
    eventually(lambda: len(fake.service.events.get("spooled", [])) == 7, "the spooled events arrive")


def test_a_forked_child_does_not_keep_its_dead_parents_spool_from_others(fake: FakeServer, tmp_path: Path):
    fake.stop()
    child = "pid = os.fork()\nif pid == 0:\n    import time; time.sleep(60)\nprint(pid, flush=True)\nos._exit(0)"
    environment = {**os.environ, "STATUS_GRPC_SERVER": fake.address, "STATUS_GRPC_SPOOL": str(tmp_path)}
    environment |= {"STATUS_GRPC_FLUSH_TIMEOUT": "0.2", "STATUS_GRPC_COMPONENT": "c"}
    command = [sys.executable, "-c", PROGRAM.replace("os._exit(0)", child)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.wait()
        try:
            # The child lets go of the files as soon as it runs.
            found: list[Report] = []

            def claim() -> bool:
                for _, reports in Spool(tmp_path, fake.address).claim():
                    found.extend(reports)
                return len(found) >= 7

            eventually(claim, "all files are free")
        finally:
            os.kill(pid, signal.SIGKILL)


def state_spool() -> Path:
    """Where the spool is by default."""
    folder = default_spool_folder()
    assert folder is not None
    return folder


def files(folder: Path | None = None) -> list[Path]:
    folder = folder or state_spool()
    return sorted(folder.iterdir()) if folder.exists() else []


def step(operation: str, trace_id: str = "t") -> None:
    with status_step(operation, trace_id=trace_id):
        pass


def test_by_default_the_spool_is_a_folder_of_the_user_s_state_for_this_user_only(fake: FakeServer):
    fake.stop()
    configure(server=fake.address, flush_timeout=0.2, token="hunter2", component="c")
    step("x")
    (file,) = files()
    assert state_spool().is_relative_to(os.environ["XDG_STATE_HOME"])
    assert state_spool().stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o777 == 0o600
    content = file.read_bytes()
    assert decode_spool(content)[0] == SpoolHeader(fake.address, 1)
    assert b"hunter2" not in content


@pytest.mark.parametrize(
    ("given", "environment", "on"),
    [
        ({}, {}, False),
        ({"server": "127.0.0.1:50051"}, {}, True),
        ({}, {"STATUS_GRPC_SERVER": "status.example:443"}, True),
        ({"server": "s:1", "spool": "off"}, {}, False),
        ({"server": "s:1", "spool": ""}, {}, False),
        ({"spool": "on"}, {}, True),
    ],
)
def test_the_default_spool_is_on_where_a_server_was_configured(given: dict, environment: dict, on: bool):
    configured = is_server_configured(given, environment)
    folder = spool_folder(given.get("spool"), server_configured=configured)
    assert folder == (state_spool() if on else None)


def test_a_spool_that_was_asked_for_is_used_in_any_case(tmp_path: Path):
    assert spool_folder(str(tmp_path), server_configured=False) == tmp_path


def test_the_spool_of_a_lambda_function_is_where_it_may_write(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "validate")
    assert default_spool_folder() == Path("/tmp/status-grpc/spool")


def test_without_a_home_folder_there_is_no_spool(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    def unknown_user(number: int) -> None:
        raise KeyError(number)

    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown_user)  # as in a container that runs as a user of no name
    assert default_spool_folder() is None
    configure(server="127.0.0.1:9", flush_timeout=0.1, component="c")
    step("x")
    end_reporting()
    assert "1 event for 127.0.0.1:9 is lost: the server did not take them in time, and there is no spool" in caplog.text


def test_a_spool_that_is_off_keeps_nothing_and_the_end_says_so(fake: FakeServer, caplog: pytest.LogCaptureFixture):
    fake.stop()
    configure(server=fake.address, flush_timeout=0.1, spool="off", component="c")
    step("one")
    step("two")
    end_reporting()
    assert files() == []
    assert f"2 events for {fake.address} are lost" in caplog.text


def test_the_end_says_nothing_if_all_has_arrived(fake: FakeServer, caplog: pytest.LogCaptureFixture):
    configure(server=fake.address, flush_timeout=30, component="c")
    with trace("d", "x/1"):
        pass
    end_reporting()
    assert caplog.text == ""


@pytest.mark.parametrize("folder", ["/proc/no-such-folder", "/dev/null/spool"])
def test_a_folder_that_cannot_be_written_costs_one_line(folder: str, caplog: pytest.LogCaptureFixture):
    configure(server="127.0.0.1:9", flush_timeout=0.1, spool=folder, component="c")
    for number in range(3):
        step(f"step-{number}")
    end_reporting()
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if "cannot be" in line]) == 1
    assert "3 events for 127.0.0.1:9 are lost" in lines[-1]
    assert "Traceback" not in caplog.text


def test_a_full_spool_takes_no_more(caplog: pytest.LogCaptureFixture):
    configure(server="127.0.0.1:9", flush_timeout=0.1, spool_bytes=10, component="c")
    step("x")
    assert files() == []
    assert "as much as it may" in caplog.text


def test_what_is_too_old_is_dropped_and_counted(fake: FakeServer, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    old = Spool(tmp_path, "other.example:1").write([Report(False, b"one"), Report(False, b"two")])
    old.release()
    days_ago = int(old.path.name.partition("-")[0]) - 8 * 24 * 3600 * 10**9
    old.path.rename(tmp_path / f"{days_ago}-1-1.spool")
    configure(server=fake.address, flush_timeout=30, spool=str(tmp_path), component="c")
    with trace("d", "x/1"):
        pass
    assert files(tmp_path) == []
    assert "2 events are lost: they have waited" in caplog.text
    assert "more than 7 days" in caplog.text


def spooled(folder: Path, server: str, draft: EventDraft, *, creates: bool = False) -> None:
    """Leave an event in a spool, as an ended process does."""
    Spool(folder, server).write([make_report(draft, creates=creates)]).release()


CREATE = EventDraft(
    trace_id="early", trace_event_id="1", domain="d", domain_id="x", component="c", trace_status=TraceStatus.STARTED
)
UPDATE = EventDraft(trace_id="early", trace_event_id="2", component="c", operation="before")


def test_a_file_is_for_its_server_only(fake: FakeServer):
    spooled(state_spool(), "other.example:443", CREATE, creates=True)
    spooled(state_spool(), normal_server(f"ipv4:{fake.address}"), CREATE, creates=True)
    configure(server=f"dns:///{fake.address}", flush_timeout=30, component="c")
    step("x", "early")
    eventually(lambda: len(files()) == 1, "the file for this server is delivered")
    assert list(fake.service.events) == ["early"]


@pytest.mark.parametrize(
    ("server", "normal"),
    [
        ("dns:///Status.example:443", "status.example:443"),
        ("dns:status.example:443", "status.example:443"),
        ("dns://8.8.8.8/status.example:443", "dns://8.8.8.8/status.example:443"),
        ("ipv6:[::1]:50051", "[::1]:50051"),
        ("unix:///run/Status.sock", "unix:/run/Status.sock"),
        ("https://Status.example:443/api/", "https://status.example/api"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_server_is_the_same_however_it_is_written(server: str, normal: str):
    assert normal_server(server) == normal_server(normal) == normal


def test_what_others_left_is_delivered_before_what_this_process_reports(fake: FakeServer):
    spooled(state_spool(), fake.address, CREATE, creates=True)
    for number in range(100):  # more files than are open at a time
        spooled(state_spool(), fake.address, EventDraft(trace_id="early", component="c", operation=f"step-{number}"))
    configure(server=fake.address, flush_timeout=30, component="c")
    step("now", "early")
    operations = [event.operation for event in fake.service.events["early"]]
    assert operations == ["", *[f"step-{number}" for number in range(100)], "now"]


def test_an_event_waits_for_the_one_that_creates_its_trace(fake: FakeServer):
    # Another process has the file with the Create: it has locked it.
    other = Spool(state_spool(), fake.address)
    create = other.write([make_report(CREATE, creates=True)])
    configure(server=fake.address, flush_timeout=30, component="c")
    step("early-bird", "early")
    end_reporting()
    create.release()
    assert deliver(fake) == SpoolOutcome(delivered=2)
    assert [event.operation for event in fake.service.events["early"]] == ["", "early-bird"]


def test_a_delivery_is_repeated_while_it_gets_on(fake: FakeServer):
    spooled(state_spool(), fake.address, UPDATE)
    spooled(state_spool(), fake.address, CREATE, creates=True)
    assert deliver(fake) == SpoolOutcome(delivered=2)
    assert files() == []


def deliver(fake: FakeServer, **options: str) -> SpoolOutcome:
    """Deliver what waits for the server. Return the outcome."""
    found = SpoolDelivery(Spool(state_spool(), fake.address), ClientOptions(server=fake.address, **options)).run()
    if not found.remaining:
        found.error = None
    return found


def test_what_is_refused_for_want_of_a_right_stays(fake: FakeServer, caplog: pytest.LogCaptureFixture):
    with StatusClient(fake.address) as client:
        trace_id = client.create(domain="d", domain_id="x", component="c").trace.trace_id
    fake.service.fail("item", *[Fault(error=PermissionDenied())] * 3)
    configure(server=fake.address, flush_timeout=30, component="c")
    for number in range(3):
        step(f"step-{number}", trace_id)
    step("allowed", trace_id)
    end_reporting()
    assert f"3 events for {fake.address} are kept in {state_spool()}" in caplog.text
    fake.service.fail("item", *[Fault(error=PermissionDenied())] * 100)
    found = deliver(fake)
    assert (found.delivered, found.remaining, type(found.error)) == (0, 3, PermissionDenied)
    fake.service.faults.clear()
    assert deliver(fake) == SpoolOutcome(delivered=3)
    operations = [event.operation for event in fake.service.events[trace_id]]
    assert sorted(operations) == ["", "allowed", "step-0", "step-1", "step-2"]


def test_what_is_refused_for_want_of_a_token_stays(fake: FakeServer, caplog: pytest.LogCaptureFixture):
    fake.service.token = "right"
    configure(server=fake.address, flush_timeout=0.2, token="wrong", component="c")
    with trace("d", "x/1") as t:
        pass
    end_reporting()
    assert f"2 events for {fake.address} are kept in" in caplog.text
    found = deliver(fake, token="wrong")
    assert (found.delivered, found.remaining) == (0, 2)
    assert deliver(fake, token="right") == SpoolOutcome(delivered=2)
    assert len(fake.service.events[t.trace_id]) == 2


def test_a_long_outage_leaves_few_files(fake: FakeServer):
    fake.stop()
    configure(server=fake.address, flush_timeout=0.2, component="c")
    for number in range(60):
        step(f"step-{number}")
    assert len(files()) <= 17
    assert sum(decode_spool(file.read_bytes())[0].events for file in files()) == 60
    end_reporting()
    with StatusClient(fake.address) as client:
        fake.start()
        client.create(domain="d", domain_id="x", component="c", trace_id="t")
    assert deliver(fake) == SpoolOutcome(delivered=60)
    operations = [event.operation for event in fake.service.events["t"]]
    assert operations == ["", *[f"step-{number}" for number in range(60)]]


def test_a_step_that_has_ended_is_on_disk_though_the_server_hangs(fake: FakeServer):
    fake.service.fail("BatchUpdate", *[Fault(hang=60)] * 100)
    configure(server=fake.address, flush_timeout=0.3, component="c")
    for number in range(3):
        step(f"step-{number}")
        assert sum(decode_spool(file.read_bytes())[0].events for file in files()) == number + 1


async def test_an_asynchronous_step_that_has_ended_is_on_disk(fake: FakeServer):
    fake.stop()
    configure(server=fake.address, flush_timeout=0.3, component="c")
    async with status_step("x", trace_id="t"):
        pass
    assert len(files()) == 1


def test_an_interpreter_that_ends_and_starts_no_thread_keeps_its_events(monkeypatch: pytest.MonkeyPatch):
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    configure(server="http://127.0.0.1:9", flush_timeout=0.3, component="c")
    with status_step("x", trace_id="t", flush="background"):
        pass
    monkeypatch.setattr(threading.Thread, "start", refuse)
    end_reporting()
    assert len(files()) == 1


def test_a_disk_that_hangs_delays_a_step_no_longer_than_a_server(monkeypatch: pytest.MonkeyPatch):
    hangs = threading.Event()
    monkeypatch.setattr("os.fsync", lambda descriptor: hangs.wait(60))
    configure(server="127.0.0.1:9", flush_timeout=0.5, component="c")
    for _ in range(2):
        began = time.monotonic()
        step("x")
        assert time.monotonic() - began < 0.5 + SLACK
    hangs.set()
    end_reporting()
    assert sum(decode_spool(file.read_bytes())[0].events for file in files()) == 2


def test_each_server_is_sent_the_token_of_its_own_context_only(
    fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    servers = {"first": fake, "second": FakeServer(), "without": FakeServer()}
    for name, server in servers.items():
        if server is not fake:
            server.start()
        spooled(state_spool(), server.address, CREATE, creates=True)
        (tmp_path / name).write_text(f"token-of-{name}")
    contexts = [
        f'[contexts.{name}]\nserver = "{servers[name].address}"\ntoken_file = "{tmp_path / name}"\n'
        for name in ("first", "second")
    ]
    (tmp_path / "config.toml").write_text("\n".join(['current = "first"', *contexts]))
    monkeypatch.setenv("STATUS_GRPC_CLIENT_CONFIG", str(tmp_path / "config.toml"))
    process = WarmProcess(["spool", "deliver", "--all"], log=tmp_path / "log")
    assert process.communicate().count(b"1 event was delivered to") == 3
    assert process.wait() == 0
    sent = {name: server.service.calls[0][2].get("authorization") for name, server in servers.items()}
    assert sent == {"first": "Bearer token-of-first", "second": "Bearer token-of-second", "without": None}
    for name in ("second", "without"):
        servers[name].stop()
