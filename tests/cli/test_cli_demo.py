"""The demo, as somebody sees it who tries the project for the first time."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from command_line import COMMAND


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """The folder for temporary files; whatever is left in it was not cleaned up."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def test_the_demo_follows_two_uploads(offline_cli, temporary):
    # Settings for another server are not for the demo's.
    run = offline_cli("demo", "--pace", "0", TMPDIR=str(temporary), STATUS_GRPC_SERVER="127.0.0.1:1")
    assert (run.code, run.err) == (0, "")
    for words in (
        "s3-writer            copy took",
        "The trace finished OK after",
        "The trace failed after",
        'en  csv-validator said: Row 2: "many" is not a number; Row 3: "2020-31-01" is not a date',
        "nb  csv-validator said: Rad 2: «many» er ikke et tall; Rad 3: «2020-31-01» er ikke en dato",
        "All 12 events arrived once and in order",
        "Nothing is left running. Now your own: ",
    ):
        assert words in run.out
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(("number", "after"), [(signal.SIGTERM, "Starting"), (signal.SIGINT, "validate begins")])
def test_an_interrupted_demo_leaves_nothing(offline_cli, temporary, number, after):
    with subprocess.Popen(
        [*COMMAND, "demo", "--pace", "60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=offline_cli.environment | {"TMPDIR": str(temporary)},
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if after in line:
                break
        process.send_signal(number)
        assert process.wait() == 128 + number
        assert "Traceback" not in process.stderr.read()
    assert list(temporary.iterdir()) == []
    assert _processes_of(temporary) == []


def _processes_of(folder: Path) -> list[str]:
    """The command lines of processes that name the folder, as the demo's server does."""
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if str(folder) in line and str(os.getpid()) not in line]
