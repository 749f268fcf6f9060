"""How traces and events get their ids."""

from __future__ import annotations

import random
import re
import uuid
from time import time_ns

from status_grpc.domain.text import escape_surrogates

#: A Step Functions execution name has at most this many characters, and a minted trace id must be able to be one.
MINTED_ID_LENGTH = 80

_NAMESPACE = uuid.UUID("6e1c4a52-6f0b-5d0e-9d3c-1f6d3c0f7a41")
_NOT_IN_EXECUTION_NAMES = re.compile(r"[^A-Za-z0-9_.-]")
_UUID_LENGTH = 36
#: The readable part of an id whose domain id has no character that an execution name may have.
_NAMELESS = "trace"
#: The variant of RFC 9562: the first two of a UUID's last 64 bits are 10.
_VARIANT = 0b10 << 62


def dataset_id(domain_id: str) -> str:
    """Return the dataset's id: `domain_id` up to the first "/" (what follows is its version)."""
    return domain_id.partition("/")[0]


def mint_event_id() -> str:
    """Return a new event id: a version 7 UUID, made of the time and of 62 random bits."""
    # Ids made one after another lie side by side in the index of a trace's event ids, which then grows at one place.
    # By the book (RFC 9562, 6.2 method 3): milliseconds, then what is left of the time in 4096ths of one.
    milliseconds, rest = divmod(time_ns(), 1_000_000)
    digits = f"{milliseconds:012x}7{(rest << 12) // 1_000_000:03x}{_VARIANT | random.getrandbits(62):016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def mint_trace_id(domain_id: str, trace_event_id: str) -> str:
    """Return `{dataset id}-{uuid}` of at most 80 characters.

    The uuid is made from the whole dataset id and the first event's id: a retried Create, on whatever replica, mints
    the same id again and so meets what it stored the first time. Only the readable prefix is cut when it is too long,
    and characters that Step Functions refuses in an execution name become "-". The prefix is never empty and never
    begins with "-", because a command would take such an id for an option.
    """
    domain_id = escape_surrogates(domain_id)
    dataset = dataset_id(domain_id)
    unique = uuid.uuid5(_NAMESPACE, f"{dataset}\n{trace_event_id}")
    # A name such as /data/x.csv has no dataset id, so all of it is the readable part.
    readable = _NOT_IN_EXECUTION_NAMES.sub("-", dataset or domain_id).lstrip("-") or _NAMELESS
    return f"{readable[: MINTED_ID_LENGTH - _UUID_LENGTH - 1]}-{unique}"


def derived_event_id(*parts: str) -> str:
    """Return the event id that the same parts always give: whoever reports the same fact again reports one event."""
    return str(uuid.uuid5(_NAMESPACE, escape_surrogates("\n".join(parts))))
