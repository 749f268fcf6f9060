"""`status-grpc` as it is started without some of the standard streams."""

from __future__ import annotations

import os
import sys

from status_grpc.cli.main import main


def main_without(numbers: tuple[int, ...]) -> None:
    """Run the command line as Python does when these descriptors are closed."""
    for number in numbers:
        name = ("stdin", "stdout", "stderr")[number]
        setattr(sys, name, None)
        setattr(sys, f"__{name}__", None)
        os.close(number)
    main()
