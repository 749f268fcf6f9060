"""Lineage: what traces have read and written, found by trace and by dataset."""

from __future__ import annotations

import hashlib

from status_grpc.domain.events import Dataset


def dataset_key(dataset: Dataset) -> str:
    """Return what a dataset is known by within its trace: 32 hexadecimal digits for any uri and version."""
    return hashlib.blake2b(f"{dataset.uri}\0{dataset.version}".encode(), digest_size=16).hexdigest()
