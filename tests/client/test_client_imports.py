from __future__ import annotations

import subprocess
import sys


def modules_after(program: str) -> set[str]:
    code = f"{program}\nimport sys\nprint(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


HEAVY = {"sqlalchemy", "rich", "pydantic", "pydantic_settings", "structlog", "click", "alembic", "uvloop", "orjson"}


def test_importing_the_package_loads_next_to_nothing():
    loaded = modules_after("import status_grpc")
    assert not loaded & (HEAVY | {"grpc", "google.protobuf", "asyncio", "platformdirs"})


def test_steps_load_no_grpc_until_one_begins():
    program = """
from status_grpc import status_add, status_step, status_wrapper, trace
@status_wrapper
def step(): pass
"""
    assert not modules_after(program) & (HEAVY | {"grpc", "asyncio", "platformdirs"})


def test_a_client_loads_grpc_when_it_is_made_and_nothing_of_the_server():
    imported = modules_after("from status_grpc import StatusClient, AsyncStatusClient")
    assert not imported & (HEAVY | {"grpc"})
    made = modules_after("from status_grpc import StatusClient\nStatusClient('127.0.0.1:9')")
    assert "grpc" in made
    assert not made & HEAVY
    assert not {name for name in made if name.startswith(("status_grpc.server", "status_grpc.storage"))}


def test_compat_loads_no_grpc_either():
    assert not modules_after("from status_grpc.compat.okdata import status_wrapper, Status") & (HEAVY | {"grpc"})
