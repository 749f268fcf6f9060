"""docs/operations.md names every setting, and its commands do what it says."""

import re
import sqlite3
import subprocess
import tomllib
from dataclasses import fields
from pathlib import Path

from pydantic_core import PydanticUndefined

from status_grpc.server.app import StatusServer
from status_grpc.server.metrics import Metrics
from status_grpc.server.parts import ServerParts
from status_grpc.server.settings import Settings, load_settings

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def row(name: str) -> str:
    """Return what the table of settings has to say about one."""
    field = Settings.model_fields[name]
    flag = "--limit" if name == "limits" else f"--{name.replace('_', '-')}"
    default = "" if field.default in (None, PydanticUndefined) else f"`{str(field.default).lower()}`"
    return f"| `{flag}` | `STATUS_GRPC_{name.upper()}` | {default} | {field.description} |"


def test_the_table_is_that_of_the_settings():
    rows = re.findall(r"^\| `--.*$", OPERATIONS, re.MULTILINE)
    assert rows == [row(name) for name in Settings.model_fields]


async def test_every_metric_is_explained(tmp_path):
    server = StatusServer(Settings(database_url=f"sqlite+aiosqlite:///{tmp_path}/t.db", metrics="127.0.0.1:0"))
    metrics = Metrics()
    names = [field.name for field in fields(ServerParts)]
    metrics.look_at(ServerParts(**{name: getattr(server, f"_{name}") for name in names}))
    families = metrics.registry.collect()
    await server.stop(0)
    told = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    ours = {name for name in told if not name.startswith(("process_", "python_"))}
    explained = re.findall(r"^\| `((?:grpc|status_grpc)_\w+)` \|", OPERATIONS, re.MULTILINE)
    assert set(explained) == ours
    assert len(set(explained)) == len(explained)


def test_the_settings_file_it_shows_is_one(tmp_path):
    (shown,) = re.findall(r"^```toml\n(.*?)^```$", OPERATIONS, re.MULTILINE | re.DOTALL)
    file = tmp_path / "status-grpc.toml"
    file.write_text(shown)
    settings = load_settings({}, file)
    assert settings.model_dump(include=tomllib.loads(shown)) == tomllib.loads(shown)


def test_the_backup_it_shows_holds_what_is_in_the_wal(tmp_path):
    (shown,) = re.findall(r"^```bash\n(.*?)^```$", OPERATIONS, re.MULTILINE | re.DOTALL)
    running = sqlite3.connect(tmp_path / "status-grpc.db")
    running.executescript(
        "PRAGMA journal_mode = WAL; CREATE TABLE traces (trace_id TEXT); INSERT INTO traces VALUES ('t')"
    )
    running.commit()
    subprocess.run(["bash", "-ec", shown], cwd=tmp_path, check=True, timeout=60)
    with sqlite3.connect(tmp_path / "backup.db") as copy:
        assert copy.execute("SELECT trace_id FROM traces").fetchall() == [("t",)]
    copy.close()
    running.close()
