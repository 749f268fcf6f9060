"""How all tests run; also puts this folder on the path, for `builders` and `strategies`."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No deadline: a busy machine is no defect. A failing example is printed in a form that can be pasted into a test.
settings.register_profile("default", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")
