"""Fuzzes the parsers of `status_grpc.wire`, guided by coverage: needs atheris, takes libFuzzer's options."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent.parent / "wire"))

with atheris.instrument_imports(include=["status_grpc.wire", "status_grpc.edge", "status_grpc.domain"]):
    from parsers import PARSERS


def parse_all(data: bytes) -> None:
    """Give the bytes to each parser; what is not documented is a finding."""
    for parse, errors in PARSERS.values():
        try:
            parse(data)
        except errors:
            pass


if __name__ == "__main__":
    atheris.Setup(sys.argv, parse_all)
    atheris.Fuzz()
