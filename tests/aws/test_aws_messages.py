"""What AWS hands over: the same object comes out of every wrapping, and what is nonsense is said to be."""

from __future__ import annotations

from contextlib import suppress

import pytest
from aws_messages import from_sns, from_sqs, in_sns_envelope, notification, object_created, status_change
from hypothesis import given
from hypothesis import strategies as st

from status_grpc.aws import Unroutable
from status_grpc.aws.arrivals import arrived_object
from status_grpc.aws.envelopes import deliver, messages
from status_grpc.aws.executions import changed_execution, execution_arn

keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda key: len(key.encode()) <= 1024)
wrappings = st.lists(st.sampled_from([in_sns_envelope, from_sns, from_sqs, lambda message: message]), max_size=3)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(key=keys, wrappings=wrappings, via_event_bridge=st.booleans())
def test_any_key_comes_out_of_any_wrapping(key, wrappings, via_event_bridge):
    event = object_created(key) if via_event_bridge else notification(key)
    for wrap in wrappings:
        event = wrap(event)
    (message,) = messages(event)
    assert arrived_object(message.content).key == key


@given(key=keys, version=st.text(min_size=1), sequencer=st.text(min_size=1))
def test_one_write_is_the_same_however_it_is_told(key, version, sequencer):
    told = arrived_object(notification(key, versionId=version, sequencer=sequencer, eTag="abc"))
    told_again = arrived_object(object_created(key, **{"version-id": version, "sequencer": sequencer, "etag": "abc"}))
    assert told.identity == told_again.identity
    assert told.identity != arrived_object(notification(key, versionId=version, sequencer=sequencer + "0")).identity


def test_a_store_without_sequencers_is_told_apart_by_time_and_content():
    first, second = (arrived_object(notification("k", eTag=etag)) for etag in ("a", "b"))
    assert first.identity != second.identity


def test_a_suspended_version_is_none():
    told, told_again = notification("k", sequencer="0A"), object_created("k", **{"version-id": "null"}, sequencer="0A")
    assert arrived_object(told).identity == arrived_object(told_again).identity


@given(value=json_values)
def test_nonsense_is_unroutable_and_nothing_else(value):
    for message in messages(value):
        with pytest.raises(Unroutable):
            arrived_object(message.content)
        with pytest.raises(Unroutable):
            changed_execution(message.content)


@st.composite
def damaged(draw, event):
    """The event with something in it replaced or missing."""
    place = event
    while True:
        name = draw(st.sampled_from(sorted(place)))
        inside = place[name][0] if isinstance(place[name], list) else place[name]
        if isinstance(inside, dict) and draw(st.booleans()):
            place = inside
            continue
        if draw(st.booleans()):
            del place[name]
        else:
            place[name] = draw(json_values)
        return event


@given(data=st.data(), via_event_bridge=st.booleans())
def test_a_damaged_message_of_s3_is_read_or_unroutable(data, via_event_bridge):
    event = object_created("k") if via_event_bridge else notification("k")
    for message in messages(data.draw(damaged(event))):
        with suppress(Unroutable):
            arrived_object(message.content)


@given(data=st.data(), status=st.sampled_from(["RUNNING", "SUCCEEDED", "FAILED"]))
def test_a_damaged_message_of_step_functions_is_read_or_unroutable(data, status):
    event = data.draw(damaged(status_change("t", status, error="E", cause="C")))
    with suppress(Unroutable):
        changed_execution(event)


@pytest.mark.parametrize(
    "message",
    [
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "raw-files"},
        notification("k", name="ObjectRemoved:Delete"),
        object_created("k", detail_type="Object Tags Added"),
    ],
    ids=["test", "removed", "tagged"],
)
def test_what_is_not_about_an_arrival_is_no_object(message):
    assert arrived_object(message) is None


def test_a_key_that_is_not_utf8_is_unroutable():
    event = notification("k")
    event["Records"][0]["s3"]["object"]["key"] = "raw/%FF"
    with pytest.raises(Unroutable, match="UTF-8"):
        arrived_object(event)


def test_every_record_of_every_message_is_handled():
    two = {"Records": notification("a")["Records"] + notification("b")["Records"]}
    handled = []
    answer = deliver(from_sqs(two, in_sns_envelope(notification("c"))), lambda m: handled.append(arrived_object(m).key))
    assert (handled, answer) == (["a", "b", "c"], {"batchItemFailures": []})


def failing(*keys):
    def handle(message):
        if arrived_object(message).key in keys:
            raise OSError("away")
        return "done"

    return handle


def test_only_those_messages_of_a_queue_that_failed_are_delivered_again():
    two = {"Records": notification("a")["Records"] + notification("b")["Records"]}
    answer = deliver(from_sqs(two, notification("c"), notification("d")), failing("a", "d"))
    assert answer == {"batchItemFailures": [{"itemIdentifier": "0"}, {"itemIdentifier": "2"}]}


def test_when_all_of_a_batch_failed_the_invocation_fails():
    with pytest.raises(OSError, match="away"):
        deliver(from_sqs(notification("a")), failing("a"))


def test_without_a_queue_the_error_is_raised_once_all_was_tried():
    handled = []

    def handle(message):
        handled.append(arrived_object(message).key)
        return failing("a", "b")(message)

    with pytest.raises(ExceptionGroup):
        deliver(from_sns(*map(notification, "abc")), handle)
    assert handled == ["a", "b", "c"]


def test_what_there_is_no_time_for_is_left_to_the_next_delivery():
    class Context:
        def get_remaining_time_in_millis(self):
            return 900

    answer = deliver(from_sqs(notification("a"), notification("b")), failing(), Context())
    assert answer == {"batchItemFailures": [{"itemIdentifier": "1"}]}


def test_the_arn_of_an_execution_follows_from_that_of_its_state_machine():
    arn = "arn:aws:states:eu-west-1:123456789012:stateMachine:pipeline"
    assert execution_arn(arn, "t") == "arn:aws:states:eu-west-1:123456789012:execution:pipeline:t"
    assert execution_arn(f"{arn}:7", "t") == execution_arn(arn, "t")  # a version of it
    with pytest.raises(ValueError, match="not the ARN"):
        execution_arn("arn:aws:sqs:eu-west-1:123456789012:queue", "t")
