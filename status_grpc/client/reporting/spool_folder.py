"""The choice of the folder for the spool."""

from __future__ import annotations

import os
from pathlib import Path

from status_grpc.client.options import is_off, is_on

#: The only folder of a Lambda function that can be written. It lasts as long as the function's environment is warm.
_LAMBDA_FOLDER = Path("/tmp/status-grpc/spool")  # noqa: S108 - a Lambda function has no other user


def spool_folder(spool: str | None, *, server_configured: bool) -> Path | None:
    """Return the folder for the option `spool`.

    None: no spool. Without the option the spool is on only where a server was configured, because anything may listen
    at the default address.
    """
    if spool is None:
        return default_spool_folder() if server_configured else None
    if not spool or is_off(spool):
        return None
    return default_spool_folder() if is_on(spool) else Path(spool)


def default_spool_folder() -> Path | None:
    """Return the folder of the user's state.

    None: there is no home folder, or the platform is not POSIX.
    """
    if os.name != "posix":
        return None  # the spool needs file locks of POSIX
    if os.environ.get("AWS_LAMBDA_FUNCTION_NAME"):
        return _LAMBDA_FOLDER
    import platformdirs  # here and not above: few programs need it

    try:
        folder = Path(platformdirs.user_state_dir("status-grpc", appauthor=False)) / "spool"
    except (OSError, RuntimeError):
        return None
    # Older releases of platformdirs leave a "~" that stands for no folder as it is.
    return folder if folder.is_absolute() else None
