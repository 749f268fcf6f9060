"""Load generators: they send one prepared body per connection over and over, and note when each answer came."""

import shutil

from benchmarks.load.base import Driver, Job, Outcome
from benchmarks.load.h2load import H2load
from benchmarks.load.python import PythonDriver

__all__ = ["Driver", "H2load", "Job", "Outcome", "PythonDriver", "choose"]


def choose(name: str) -> Driver:
    """The driver of that name; auto: h2load if there is one, since it costs the machine least."""
    path = shutil.which("h2load")
    if name == "h2load" and path is None:
        raise SystemExit("there is no h2load (Debian: nghttp2-client); --driver python needs none")
    return H2load(path) if path is not None and name in ("auto", "h2load") else PythonDriver()
