"""The Makefile: the first commands install what they run, and no more."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def commands(target: str) -> str:
    """Return what make would run for the target in a fresh clone."""
    done = subprocess.run(
        ["make", "-n", "-B", target], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


@pytest.mark.parametrize("target", ["demo", "serve"])
def test_the_demo_and_the_server_need_no_tools(target):
    said = commands(target)
    assert ".[server,http]" in said
    assert "requirements/dev.txt" not in said
    assert said.index("echo") < said.index("-m venv"), "what takes long is said before"


@pytest.mark.parametrize("target", ["test", "check", "setup"])
def test_tests_and_checks_install_their_tools(target):
    said = commands(target)
    assert "-r requirements/dev.txt" in said
    assert ".[all]" in said
