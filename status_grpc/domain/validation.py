"""Whether a draft may be recorded: every bad field is named, none is mended."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from operator import attrgetter

from status_grpc.domain.errors import FieldViolation, InvalidArgument
from status_grpc.domain.events import Dataset, ErrorDetail, EventDraft, ExceptionDetail, TraceStatus
from status_grpc.domain.limits import Limits

_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class DraftRules:
    """Checks drafts against one set of limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # (field, longest, in bytes): read once here, so that checking a draft is one loop over a table.
        self._texts = [
            (name, attrgetter(name), longest)
            for name, longest in (
                ("domain", limits.name_length),
                ("domain_id", limits.domain_id_length),
                ("user", limits.name_length),
                ("component", limits.name_length),
                ("operation", limits.name_length),
                ("step_id", limits.id_length),
            )
        ]

    def check_create(self, draft: EventDraft, violations: list[FieldViolation]) -> None:
        """Add what is wrong with the first event of a trace; fields are named from "event." on."""
        _require(draft, ("domain", "domain_id", "component"), violations)
        self._check(draft, violations)

    def check_update(self, draft: EventDraft, violations: list[FieldViolation]) -> None:
        """Add what is wrong with an event to append; fields are named from "event." on."""
        _require(draft, ("trace_id", "component"), violations)
        self._check(draft, violations)

    def _check(self, draft: EventDraft, violations: list[FieldViolation]) -> None:
        if draft.trace_id:
            check_id("event.trace_id", draft.trace_id, self._limits, violations)
        if draft.trace_event_id:
            check_id("event.trace_event_id", draft.trace_event_id, self._limits, violations)
        for name, get, longest in self._texts:
            text = get(draft)
            if text and (len(text) > longest or "\0" in text):
                violations.append(_bad_text(f"event.{name}", text, longest))
        if draft.s3_path:
            check_path("event.s3_path", draft.s3_path, self._limits, violations)
        if draft.attempt < 0:
            violations.append(FieldViolation("event.attempt", "must not be negative"))
        self._check_statuses(draft, violations)
        self._check_times(draft, violations)
        if draft.exception is not None:
            self._check_exception(draft.exception, violations)
        if draft.errors:
            self._check_errors(draft.errors, violations)
        if draft.inputs:
            self._check_datasets("event.inputs", draft.inputs, violations)
        if draft.outputs:
            self._check_datasets("event.outputs", draft.outputs, violations)

    def _check_statuses(self, draft: EventDraft, violations: list[FieldViolation]) -> None:
        if draft.trace_status is TraceStatus.FINISHED and draft.trace_event_status is None:
            violations.append(
                FieldViolation("event.trace_event_status", "a FINISHED event must say whether it is OK or FAILED")
            )

    def _check_times(self, draft: EventDraft, violations: list[FieldViolation]) -> None:
        if draft.duration is not None and draft.duration.days < 0:
            violations.append(FieldViolation("event.duration", "must not be negative"))

    def _check_exception(self, exception: ExceptionDetail, violations: list[FieldViolation]) -> None:
        limits = self._limits
        for name, text, longest in (
            ("type", exception.type, limits.name_length),
            ("message", exception.message, limits.exception_message_length),
            ("traceback", exception.traceback, limits.traceback_length),
        ):
            if len(text) > longest or "\0" in text:
                violations.append(_bad_text(f"event.exception.{name}", text, longest))

    def _check_errors(self, errors: Sequence[ErrorDetail], violations: list[FieldViolation]) -> None:
        limits = self._limits
        if len(errors) > limits.errors_per_event:
            violations.append(_too_many("event.errors", len(errors), limits.errors_per_event))
            return
        for index, error in enumerate(errors):
            path = f"event.errors[{index}].message"
            if not error.message:
                violations.append(FieldViolation(path, "must have a text in at least one language"))
            elif len(error.message) > limits.error_languages:
                violations.append(_too_many(path, len(error.message), limits.error_languages))
            else:
                self._check_message(path, error.message, violations)

    def _check_message(self, path: str, message: dict[str, str], violations: list[FieldViolation]) -> None:
        for tag, text in message.items():
            if not tag or len(tag) > self._limits.language_tag_length or _CONTROL_CHARACTERS.search(tag):
                violations.append(FieldViolation(path, "has a key that is not a language tag such as nb or en"))
            if len(text) > self._limits.error_text_length or "\0" in text:
                violations.append(_bad_text(f"{path}[{tag[:35]!r}]", text, self._limits.error_text_length))

    def _check_datasets(self, path: str, datasets: Sequence[Dataset], violations: list[FieldViolation]) -> None:
        limits = self._limits
        if len(datasets) > limits.datasets_per_event:
            violations.append(_too_many(path, len(datasets), limits.datasets_per_event))
            return
        for index, dataset in enumerate(datasets):
            if not dataset.uri:
                violations.append(FieldViolation(f"{path}[{index}].uri", "is required"))
            else:
                check_path(f"{path}[{index}].uri", dataset.uri, limits, violations)
            if len(dataset.version) > limits.name_length or "\0" in dataset.version:
                violations.append(_bad_text(f"{path}[{index}].version", dataset.version, limits.name_length))


def check_id(path: str, value: str, limits: Limits, violations: list[FieldViolation]) -> None:
    """Add what is wrong with a trace id, event id or the like; an empty one is missing."""
    if not value:
        violations.append(FieldViolation(path, "is required"))
    elif len(value) > limits.id_length:
        violations.append(_bad_text(path, value, limits.id_length))
    elif not (value.isascii() and value.isprintable()) and _CONTROL_CHARACTERS.search(value):
        violations.append(FieldViolation(path, "must not contain control characters"))


def check_path(path: str, value: str, limits: Limits, violations: list[FieldViolation]) -> None:
    """Add what is wrong with an S3 path or URI. It is an exact string: nothing about it is normalised."""
    if not value:
        violations.append(FieldViolation(path, "is required"))
    elif "\0" in value:
        violations.append(FieldViolation(path, "must not contain U+0000"))
    elif len(value) * 4 > limits.path_bytes and len(value.encode()) > limits.path_bytes:
        violations.append(FieldViolation(path, f"is longer than {limits.path_bytes} bytes"))


def check_filter(path: str, value: str, longest: int, violations: list[FieldViolation]) -> None:
    """Add what is wrong with a text that stored texts are compared with."""
    if len(value) > longest or "\0" in value:
        violations.append(_bad_text(path, value, longest))


def raise_if_any(violations: list[FieldViolation]) -> None:
    """Raise InvalidArgument with the violations, if there are some."""
    if violations:
        raise InvalidArgument(violations)


def _require(draft: EventDraft, names: Iterable[str], violations: list[FieldViolation]) -> None:
    for name in names:
        if not getattr(draft, name):
            violations.append(FieldViolation(f"event.{name}", "is required"))


def _bad_text(path: str, text: str, longest: int) -> FieldViolation:
    if len(text) > longest:
        return FieldViolation(path, f"has {len(text)} characters, more than {longest}")
    return FieldViolation(path, "must not contain U+0000")


def _too_many(path: str, count: int, most: int) -> FieldViolation:
    return FieldViolation(path, f"has {count} entries, more than {most}")
