"""`status-grpc migrate`, on both engines."""

from __future__ import annotations

import subprocess

import pytest
from command_line import COMMAND

from status_grpc.storage.tables import SCHEMA_REVISION


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """The URL of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'traces.db'}"
    return request.getfixturevalue("empty_postgresql_url")


def test_migrate_makes_a_new_database_and_leaves_it_then(offline_cli, url):
    first = offline_cli("migrate", "--database-url", url)
    assert first.code == 0
    assert first.err.startswith("Schema 0001: Traces, their events, and the paths they are found by.\nSchema 0002: ")
    assert first.err.endswith("\nThe database has the schema of this release.\n")
    again = offline_cli("migrate", STATUS_GRPC_DATABASE_URL=url)
    assert (again.code, again.err) == (0, "The database has the schema of this release.\n")


def test_check_says_what_is_missing_and_changes_nothing(offline_cli, url):
    for _ in range(2):
        run = offline_cli("migrate", "--check", "--database-url", url)
        assert (run.code, run.err) == (1, f"Error: The database has no schema, not {SCHEMA_REVISION}.\n")
        assert run.out.startswith("missing: 0001 Traces, their events, and the paths they are found by.\n")
        assert f"\nmissing: {SCHEMA_REVISION} " in run.out
    assert offline_cli("migrate", "--database-url", url).code == 0
    assert offline_cli("migrate", "--check", "--database-url", url).code == 0
    assert offline_cli("migrate", "--check", "--to", "0001", "--database-url", url).code == 1


def test_to_goes_up_and_down(offline_cli, url):
    run = offline_cli("migrate", "--to", "0002", "--database-url", url)
    assert (run.code, run.err.splitlines()[-1]) == (0, "The database has schema 0002.")
    run = offline_cli("migrate", "--to", "0001", "--database-url", url)
    assert run.err == "Back from schema 0002 to 0001.\nThe database has schema 0001.\n"
    run = offline_cli("migrate", "--check", "--database-url", url)
    assert run.err == f"Error: The database has schema 0001, not {SCHEMA_REVISION}.\n"
    assert run.out.startswith("missing: 0002 ")
    run = offline_cli("migrate", "--to", "1", "--database-url", url)
    assert run.code == 2
    assert "there is no schema '1'" in run.sentence


def test_many_may_migrate_at_once(clean_environment, url):
    command = [*COMMAND, "migrate", "--database-url", url]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=clean_environment) for _ in range(4)]
    ends = [(process.communicate(timeout=100)[1], process.returncode) for process in running]
    assert [code for _, code in ends] == [0] * 4, ends
    assert [text.splitlines()[-1] for text, _ in ends] == ["The database has the schema of this release."] * 4


@pytest.mark.parametrize(
    "wrong", ["nonsense", "sqlite+aiosqlite:////no/such/folder/traces.db", "postgresql+asyncpg://x@127.0.0.1:1/x"]
)
def test_a_database_that_is_not_there(offline_cli, wrong):
    for flags in ([], ["--check"]):
        run = offline_cli("migrate", "--database-url", wrong, *flags)
        assert run.code in (2, 5)
        assert run.sentence
