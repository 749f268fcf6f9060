"""The installed wheel, alone and on protobuf 6.33: what others import works, and is typed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from installed import PROTOBUF, installed_python
from real_server import RealServer

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def python() -> Path:
    return installed_python()


def run(*command: str | Path, cwd: Path, server: str = "127.0.0.1:1") -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STATUS_GRPC_", "PYTHON"))}
    done = subprocess.run(
        command, cwd=cwd, env={**kept, "STATUS_GRPC_SERVER": server}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_everything_that_is_imported_comes_with_it(python: Path, real: RealServer, tmp_path: Path):
    (tmp_path / "service.py").write_text((HERE / "everyday_service.py").read_text())
    said = run(python, "service.py", cwd=tmp_path, server=real.address).splitlines()
    assert said[0].startswith(f"{PROTOBUF}."), "another protobuf than this test is about"
    assert said[1:] == ["OK FAILED", "TRACE_NOT_FOUND", "OK OK OK OK", "child", "no server code"]


def test_the_command_comes_with_it(python: Path, real: RealServer, tmp_path: Path):
    command = python.with_name("status-grpc")
    create = (command, "create", "--domain", "d", "--domain-id", "x/1", "--component", "c")
    trace_id = run(*create, cwd=tmp_path, server=real.address).strip()
    assert trace_id in run(command, "status", trace_id, cwd=tmp_path, server=real.address)
    assert '"ready": true' in run(command, "health", "--format", "json", cwd=tmp_path, server=real.address)


def test_a_server_says_what_is_missing(python: Path, tmp_path: Path):
    command = (python.with_name("status-grpc"), "serve")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'status-grpc[server]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_typed_service_passes_the_strictest_type_checker(python: Path, tmp_path: Path):
    (tmp_path / "service.py").write_text((HERE / "typed_service.py").read_text())
    options = ("--strict", "--no-incremental", "--config-file=", f"--python-executable={python}")
    run(sys.executable, "-m", "mypy", *options, "service.py", cwd=tmp_path)
