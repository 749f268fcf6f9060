"""What `quickly_made` makes is what the class itself makes."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
from hypothesis import given
from strategies import drafts

from status_grpc.domain.events import EventDraft
from status_grpc.domain.traces import Trace
from status_grpc.domain.values import quickly_made

quick_draft = quickly_made(EventDraft)


@given(drafts())
def test_an_instance_is_equal_and_of_the_same_class(draft: EventDraft) -> None:
    made = quick_draft(**{field.name: getattr(draft, field.name) for field in dataclasses.fields(draft)})

    assert made == draft
    assert type(made) is EventDraft


def test_an_instance_is_frozen() -> None:
    made = quick_draft(component="s3-writer")

    with pytest.raises(dataclasses.FrozenInstanceError):
        made.component = "another"  # type: ignore[misc]


def test_defaults_are_made_anew_for_each() -> None:
    assert quick_draft().encodings is not quick_draft().encodings


@pytest.mark.parametrize("frozen", [EventDraft, Trace])
def test_the_signature_is_that_of_the_class(frozen: type) -> None:
    quick, usual = inspect.signature(quickly_made(frozen)), inspect.signature(frozen)

    assert [(p.name, p.kind, p.default is p.empty) for p in quick.parameters.values()] == [
        (p.name, p.kind, p.default is p.empty) for p in usual.parameters.values()
    ]
