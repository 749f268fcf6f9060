"""Lineage: what traces have read and written, found by trace and by dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from status_grpc.domain.events import Dataset, TraceEvent
from status_grpc.domain.lineage import datasets_of
from status_grpc.storage.rows import RowCodec


def dataset_key(dataset: Dataset) -> str:
    """Return what a dataset is known by within its trace: 32 hexadecimal digits for any uri and version."""
    return hashlib.blake2b(f"{dataset.uri}\0{dataset.version}".encode(), digest_size=16).hexdigest()


def dataset_rows(codec: RowCodec, event: TraceEvent, bucket: int) -> Iterator[tuple[Any, ...]]:
    """Give a row for each dataset that the event has read or written, in the order of the columns."""
    read, written = datasets_of(event.inputs, event.outputs, event.status_body)
    record_time = codec.time_in(event.record_time)
    for is_output, datasets in ((False, read), (True, written)):
        for dataset in datasets:
            yield (
                bucket,
                event.trace_id,
                is_output,
                dataset_key(dataset),
                dataset.uri,
                dataset.version or None,
                event.sequence,
                record_time,
            )
