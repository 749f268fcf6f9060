from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fake_server import FakeServer, Fault
from hypothesis import given
from hypothesis import strategies as st
from patience import eventually

from status_grpc import Unavailable, configure, flush, status_step, trace
from status_grpc.client.reporting.reports import Report
from status_grpc.client.reporting.spool import BadSpoolFile, Spool, SpoolHeader, decode_spool, encode_spool

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


def test_files_and_folder_are_for_this_user_only(tmp_path: Path):
    spool = Spool(tmp_path / "spool", "s:1")
    file = spool.write([Report(False, b"secret")])
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0
    assert file.path.stat().st_mode & 0o077 == 0


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
    configure(server=fake.address, flush_timeout=0.2, spool=str(tmp_path), component="c")
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
