"""The floors of docs/architecture.md: the contracts that guard them notice what they are there for."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

#: Contract -> a module that must not have this line.
VIOLATIONS = {
    "A module imports only from floors below its own": ("wire/times.py", "import status_grpc.storage.rows"),
    "The client needs wire, domain and the stubs, and no server code": ("client/values.py", "import structlog"),
    "The adapters of AWS are clients like any other": ("aws/router.py", "import status_grpc.server.settings"),
    "Client commands need no server code": ("cli/texts.py", "import status_grpc.server.settings"),
    "The use cases and the tables know no gRPC and no protobuf": ("service/traces.py", "import grpc"),
    "The use cases and what is above them know no SQL": ("service/traces.py", "import sqlalchemy"),
    "The domain is made of the standard library": ("domain/ids.py", "import orjson"),
}


def test_every_contract_has_a_violation_here():
    assert set(VIOLATIONS) == {contract["name"] for contract in CONTRACTS}


@pytest.mark.parametrize("contract", VIOLATIONS)
def test_a_violation_breaks_its_contract(contract, tmp_path):
    shutil.copytree(ROOT / "status_grpc", tmp_path / "status_grpc", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    place, line = VIOLATIONS[contract]
    module = tmp_path / "status_grpc" / place
    module.write_text(f"{module.read_text()}\n{line}\n")
    run = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert re.search(rf"^{re.escape(contract)} BROKEN", run.stdout, re.MULTILINE)


def test_the_domain_is_kept_from_every_package_that_is_imported_anywhere():
    (contract,) = [contract for contract in CONTRACTS if contract.get("source_modules") == ["status_grpc.domain"]]
    imported = {name for path in (ROOT / "status_grpc").rglob("*.py") for name in imported_packages(path)}
    missing = imported - sys.stdlib_module_names - {"status_grpc"} - set(contract["forbidden_modules"])
    assert not missing


def imported_packages(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


def test_every_package_and_every_file_that_the_text_names_is_there():
    text = (ROOT / "docs" / "architecture.md").read_text()
    packages = {path.parent.name for path in (ROOT / "status_grpc").glob("*/__init__.py")}
    assert {name for name in packages if f"{name}/" not in text} == set()
    named = re.findall(rf"`((?:{'|'.join(packages)})/[\w./]*)`", text)
    assert len(named) > 20
    assert [name for name in named if not (ROOT / "status_grpc" / name).exists()] == []
