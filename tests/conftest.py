"""How all tests run, and their PostgreSQL; also puts this folder on the path, for `builders` and `strategies`."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from postgres import Cluster, Databases, own_cluster, shared_databases

# In the background of a shell's script, and behind nohup, these are ignored, which every process that a test starts
# would take over.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Reports that cannot be delivered are spooled, but never into the real home. Processes that tests start inherit this.
_STATE = tempfile.mkdtemp(prefix="status-grpc-tests-state-")
os.environ["XDG_STATE_HOME"] = _STATE
atexit.register(shutil.rmtree, _STATE, ignore_errors=True)

# No deadline: a busy machine is no defect. A failing example is printed in a form that can be pasted into a test. Other
# examples each time: many runs look at more than one long one. STATUS_GRPC_LONG_TESTS=1 looks at more at once.
settings.register_profile(
    "default",
    max_examples=500 if os.environ.get("STATUS_GRPC_LONG_TESTS") else 40,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("default")


@pytest.fixture(scope="session")
def postgresql_databases() -> Iterator[Databases]:
    """PostgreSQL for all tests of this process; it is started when the first test asks for it."""
    with shared_databases() as databases:
        yield databases


@pytest.fixture
def postgresql_url(postgresql_databases: Databases) -> Iterator[str]:
    """The URL of a database of the test's own, which has the tables and no rows."""
    with postgresql_databases.database() as url:
        yield url


@pytest.fixture
def empty_postgresql_url(postgresql_databases: Databases) -> Iterator[str]:
    """The URL of a database of the test's own without any tables."""
    with postgresql_databases.database(empty=True) as url:
        yield url


@pytest.fixture
def postgresql_cluster() -> Iterator[Cluster]:
    """A PostgreSQL server of the test's own, which it may stop and start; `url` is that of an empty database."""
    with own_cluster() as cluster:
        yield cluster
