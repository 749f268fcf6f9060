"""How large things may be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may hold; every one can be set by the operator.

    Lengths of texts are in characters, of paths and URIs in bytes of UTF-8. None of the counts that depend on what is
    stored already (`events_per_trace`) ever refuses the event that ends a run.
    """

    event_bytes: int = 1024 * 1024
    id_length: int = 128
    name_length: int = 256
    domain_id_length: int = 1024
    path_bytes: int = 2048
    exception_message_length: int = 16 * 1024
    traceback_length: int = 64 * 1024
    errors_per_event: int = 100
    error_languages: int = 20
    error_text_length: int = 4096
    language_tag_length: int = 35
    datasets_per_event: int = 1000
    json_depth: int = 24
    events_per_trace: int = 100_000
    batch_items: int = 1000


#: How many errors a trace's state keeps, and how many characters of them; the events keep all.
TRACE_ERRORS = 100
TRACE_ERROR_LENGTH = 16 * 1024

#: How much of one text of an error a trace's state keeps, in characters.
TRACE_ERROR_TEXT_LENGTH = 1024

#: How much of an exception's text a trace's state keeps, in characters.
FAILURE_MESSAGE_LENGTH = 1024
