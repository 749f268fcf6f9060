"""README.md: what it shows runs as it stands, and says what it is said to say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
PATIENCE = 60
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str, address: str) -> list[str]:
    """Return the code of that language, for a server at the address."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [block.replace("127.0.0.1:50051", address) for block in found]


@pytest.fixture
def environment(address: str, tmp_path: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("STATUS_GRPC_")},
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "STATUS_GRPC_SERVER": address,
    }


def run(command: list[str | Path], environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_commands(address, environment, tmp_path):
    script = "set -eu\n" + "\n".join(blocks("bash", address))
    told = run(["bash", "-c", script], environment, tmp_path)
    # What the README says that they print.
    for line in (
        ": CONTINUE OK",
        ": FINISHED FAILED",
        "  1  STARTED   running  data-uploader upload",
        "  3  FINISHED  failed   state-machine",
        "csv-validator said: Row 3 has no price",
        "exit code 1",
        '"firstFailure": {',
        '"caughtUp": true,\n    "done": true',
        "event.domain_id: is required; event.component: is required; event.attempt: must not be negative",
    ):
        assert line in told


def test_the_python(address, environment, tmp_path):
    told = run([sys.executable, "-c", "\n".join(blocks("python", address))], environment, tmp_path)
    assert re.search(r"^5  FINISHED OK$", told, re.MULTILINE)
    assert told.endswith("1 uploader\n2 uploader\n")


def test_the_pipeline_has_at_most_eight_lines():
    assert len(blocks("python", "")[0].splitlines()) <= 8
