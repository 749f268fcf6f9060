"""The contract of the older status service, as its callers rely on it."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from old_bodies import created, creation, encoded, events, unique, update, updated

from status_grpc import StatusClient


def test_create_answers_the_new_id_and_nothing_else(http):
    answer = http.post("/status", json=creation())
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["trace_id"]
    assert re.fullmatch(r"my-dataset-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", answer.json()["trace_id"])


def test_create_needs_no_content_type(http):
    request = http.build_request("POST", "/status", content=json.dumps(creation()))
    assert "content-type" not in request.headers
    assert http.send(request).status_code == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json; a=b"])
def test_json_may_be_called_something_else(http, content_type):
    content = json.dumps(creation())
    assert http.post("/status", content=content, headers={"content-type": content_type}).status_code == 200


def test_the_first_event_is_started_and_ok_and_its_ids_are_new_whatever_the_caller_says(http):
    said = creation(
        trace_id="mine", id="mine", trace_event_id="mine", trace_status="FINISHED", trace_event_status="FAILED"
    )
    trace_id = http.post("/status", json=said).json()["trace_id"]
    (event,) = events(http, trace_id)
    assert event.pop("trace_event_id") != "mine"
    assert event == {
        "trace_id": trace_id,
        "domain": "dataset",
        "domain_id": "my-dataset/1",
        "start_time": "2020-03-02T12:34:23.042400+00:00",
        "end_time": "2020-03-02T12:34:24.042400+00:00",
        "trace_status": "STARTED",
        "trace_event_status": "OK",
        "component": "data-uploader",
    }
    assert trace_id != "mine"


EVERYTHING = {
    "domain_id": "my-dataset/2",
    "user": "ooo123456",
    "operation": "copy",
    "status_body": {"files_incoming": [], "files_outgoing": ["a"], "nothing": None},
    "meta": {"git_rev": "abc"},
    "s3_path": "raw/yellow/my-dataset/file.xls",
    "duration": 123.456,
    "exception": "ZeroDivisionError: division by zero",
    "errors": [{"message": {"nb": "feil", "en": "wrong"}, "row": 3, "where": {"column": "price"}}],
}


def test_an_update_is_answered_as_it_was_stored(http):
    trace_id = created(http)
    answered = updated(http, trace_id, **EVERYTHING)
    stored = events(http, trace_id)[-1]
    assert answered == stored
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", answered.pop("trace_event_id"))
    times = {"start_time": "2020-03-02T12:35:00.000000+00:00", "end_time": "2020-03-02T12:35:01.000000+00:00"}
    assert answered == {"trace_id": trace_id, **update(**EVERYTHING), **times}


def test_what_is_absent_or_null_is_absent(http):
    trace_id = created(http)
    nothing = dict.fromkeys(("user", "operation", "status_body", "meta", "s3_path", "duration", "exception", "errors"))
    event = updated(http, trace_id, **nothing)
    assert not set(nothing) & set(event)


def test_a_list_of_events_is_in_the_order_they_came_in_whatever_their_times(http):
    trace_id = created(http)
    for year in (2022, 2021, 2023):
        updated(http, trace_id, start_time=f"{year}-01-01", end_time="N/A")
    assert [event["start_time"][:4] for event in events(http, trace_id)] == ["2020", "2022", "2021", "2023"]


def test_older_names_are_accepted_and_the_newer_ones_answered(http):
    said = {
        "id": "another",
        "application": "dataset",
        "application_id": "older/1",
        "date_started": "2020-01-01T00:00:00+00:00",
        "date_end": "N/A",
        "handler": "uploader",
        "run_status": "FINISHED",
        "status": "FAILED",
        "s3path": "raw/older.json",
        "body": {"a": 1},
    }
    trace_id = http.post("/status", json=said).json()["trace_id"]
    assert trace_id.startswith("older-")
    answered = http.post(f"/status/{trace_id}", json=said).json()
    answered.pop("trace_event_id")
    assert answered == {
        "trace_id": trace_id,
        "domain": "dataset",
        "domain_id": "older/1",
        "start_time": "2020-01-01T00:00:00.000000+00:00",
        "end_time": "N/A",
        "component": "uploader",
        "trace_status": "FINISHED",
        "trace_event_status": "FAILED",
        "s3_path": "raw/older.json",
        "status_body": {"a": 1},
    }


def test_the_newer_of_two_names_counts(http):
    trace_id = created(http)
    assert updated(http, trace_id, handler="older")["component"] == "s3-writer"
    assert updated(http, trace_id, handler="older", component=None)["component"] == "older"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("2020-03-02T12:34:23.042400", "2020-03-02T12:34:23.042400+00:00"),
        ("2020-03-02T12:34:23Z", "2020-03-02T12:34:23.000000+00:00"),
        ("2020-03-02 14:34:23.5+02:00", "2020-03-02T12:34:23.500000+00:00"),
        ("2020-03-02T12:34:23.123456789Z", "2020-03-02T12:34:23.123456+00:00"),
    ],
)
def test_times_come_back_as_the_same_instant(http, said, told):
    event = updated(http, created(http), start_time=said, end_time=said)
    assert (event["start_time"], event["end_time"]) == (told, told)


def test_an_event_that_is_not_over_has_no_end(http, rpc: StatusClient):
    trace_id = created(http)
    assert updated(http, trace_id, end_time="N/A")["end_time"] == "N/A"
    assert rpc.get_trace(trace_id).events[-1].end_time is None


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"a": {"b": [1, None, True]}}, {"a": {"b": [1, None, True]}}),
        ({}, {}),
        ({"value": 1}, {"value": 1}),
        ([1, 2], {"value": [1, 2]}),
        ("text", {"value": "text"}),
        ("", None),
        ("N/A", None),
        (0, {"value": 0}),
        (False, {"value": False}),
        ([], {"value": []}),
        ([2**70, 2.0], {"value": [float(2**70), 2]}),
    ],
)
def test_a_status_body_of_any_json_comes_back_as_sent(http, rpc: StatusClient, said, told):
    trace_id = created(http)
    for event in (updated(http, trace_id, status_body=said), events(http, trace_id)[-1]):
        assert json.dumps(event["status_body"]) == json.dumps(said)
    # gRPC knows objects only.
    assert rpc.get_trace(trace_id).events[-1].status_body == told


def test_lists_and_objects_that_are_empty_come_back_empty(http):
    trace_id = created(http)
    empty = {"errors": [], "meta": {}, "status_body": {}}
    for event in (updated(http, trace_id, **empty), events(http, trace_id)[-1]):
        assert {name: event[name] for name in empty} == empty


def test_a_domain_id_that_was_not_sent_is_absent(http, rpc: StatusClient):
    trace_id = created(http)
    for fields in ({}, {"domain_id": None}):
        assert "domain_id" not in updated(http, trace_id, **fields)
        assert "domain_id" not in events(http, trace_id)[-1]
    assert rpc.get_trace(trace_id).events[-1].domain_id == "my-dataset/1"
    assert updated(http, trace_id, domain_id="other")["domain_id"] == "other"


def test_an_end_before_the_start_is_recorded(http, rpc: StatusClient):
    trace_id = created(http)
    event = updated(http, trace_id, start_time="2026-01-01T00:00:01Z", end_time="2026-01-01T00:00:00Z")
    assert (event["start_time"][17:19], event["end_time"][17:19]) == ("01", "00")
    recorded = rpc.get_trace(trace_id).events[-1]
    rpc.update(trace_id=trace_id, component="c", start_time=recorded.start_time, end_time=recorded.end_time)
    assert events(http, trace_id)[-1]["end_time"] == event["end_time"]


@pytest.mark.parametrize(
    "numbers",
    [
        '{"large":123456789012345678901234567890,"odd":9007199254740993,"three":3,"half":0.5,"tiny":-1e-300}',
        '{"whole":3.0,"trailing":1.50,"large":1E22,"fine":0.1234567890123456789,"both":12345678901234567890.5}',
        "[1.0,-0.0,10.10]",
        "1.10",
    ],
)
def test_numbers_come_back_exactly(http, numbers):
    trace_id = created(http)
    body = json.dumps(update())[:-1] + f', "status_body": {numbers}}}'
    answered = http.post(f"/status/{trace_id}", content=body)
    assert f'"status_body":{numbers}' in answered.text
    assert f'"status_body":{numbers}' in http.get(f"/status/{trace_id}").text


@pytest.mark.parametrize("milliseconds", [0, 123, 0.001, 1234.567, 86_400_000.5, 12.345678, 3.0])
def test_durations_are_milliseconds_with_fractions(http, rpc: StatusClient, milliseconds):
    trace_id = created(http)
    assert updated(http, trace_id, duration=milliseconds)["duration"] == milliseconds
    duration = rpc.get_trace(trace_id).events[-1].duration
    assert duration is not None
    assert duration.total_seconds() * 1000 == pytest.approx(milliseconds, abs=0.001)


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        ("ZeroDivisionError: division by zero", "ZeroDivisionError", "division by zero"),
        ("botocore.exceptions.ClientError: no\nsuch: key", "botocore.exceptions.ClientError", "no\nsuch: key"),
        ("division by zero", "", "division by zero"),
        ("warning: almost full", "", "warning: almost full"),
        ("KeyError: ", "", "KeyError: "),
    ],
)
def test_an_exception_is_a_text(http, rpc: StatusClient, said, kind, message):
    trace_id = created(http)
    assert updated(http, trace_id, exception=said)["exception"] == said
    exception = rpc.get_trace(trace_id).events[-1].exception
    assert exception is not None
    assert (exception.type, exception.message) == (kind, message)


def test_the_end_of_a_step_with_a_very_long_exception_is_not_lost(http):
    trace_id = created(http)
    event = updated(
        http, trace_id, exception="x" * 100_000, trace_status="FINISHED", trace_event_status="FAILED", end_time="N/A"
    )
    assert event["exception"] == "x" * 16384


def test_statuses_may_have_the_prefix_of_the_protocol_and_come_back_without(http):
    event = updated(
        http,
        created(http),
        trace_status="TRACE_STATUS_FINISHED",
        trace_event_status="TRACE_EVENT_STATUS_FAILED",
    )
    assert (event["trace_status"], event["trace_event_status"]) == ("FINISHED", "FAILED")


def test_an_update_may_be_of_another_domain_and_have_an_empty_meta(http):
    event = updated(http, created(http), domain="N/A", domain_id="other", meta={})
    assert (event["domain"], event["domain_id"], event["meta"]) == ("N/A", "other", {})


def test_unknown_fields_are_dropped(http):
    assert "colour" not in updated(http, created(http), colour="green", sequence=99, inputs=[{"uri": "x"}])


def test_the_id_in_the_url_counts(http):
    trace_id = created(http)
    assert updated(http, trace_id, trace_id="another", id="another")["trace_id"] == trace_id


def test_a_trace_that_is_unknown_is_not_found(http):
    for answer in (http.get("/status/nobody-knows"), http.post("/status/nobody-knows", json=update())):
        assert answer.status_code == 404
        assert answer.json() == {"message": "there is no trace 'nobody-knows'"}


def test_what_is_required_is_named(http):
    answer = http.post("/status", json={"component": "", "user": "me"})
    assert answer.status_code == 400
    names = ("domain", "domain_id", "start_time", "end_time", "component")
    assert answer.json() == {"message": "; ".join(f"{name}: is required" for name in names)}
    answer = http.post(f"/status/{created(http)}", json={"trace_status": None})
    assert answer.status_code == 400
    names = ("domain", "start_time", "end_time", "trace_status", "trace_event_status", "component")
    assert answer.json() == {"message": "; ".join(f"{name}: is required" for name in names)}


def test_a_trace_is_found_by_its_path(http):
    path = f"raw/grønn/{unique('a b+c')}/>>>???.json"  # base64 with +, / and padding
    assert "/" in encoded(path) or "+" in encoded(path)
    trace_id = created(http, s3_path=path)
    told = {"id": trace_id, "trace_id": trace_id}
    for form in (encoded(path), quote(encoded(path), safe=""), encoded(path).replace("=", "%3d")):
        answer = http.get(f"/status-from-path/{form}")
        assert (answer.status_code, answer.json()) == (200, told)


def test_paths_are_exact(http):
    path = f"raw/{unique('x')}/a b%20c/../d.json"
    created(http, s3_path=path)
    assert http.get(f"/status-from-path/{encoded(path)}").status_code == 200
    for other in (path.upper(), path + "/", path.replace("%20", " "), path.replace("a b%20c/../", "")):
        answer = http.get(f"/status-from-path/{encoded(other)}")
        assert (answer.status_code, list(answer.json())) == (404, ["message"])


def test_the_newest_trace_of_a_path_is_found(http):
    path = f"raw/{unique('again')}.json"
    first = created(http, s3_path=path)
    second = created(http, s3_path=path)
    assert first != second
    assert http.get(f"/status-from-path/{encoded(path)}").json()["trace_id"] == second


def test_every_route_is_also_under_the_prefix(http):
    trace_id = http.post("/status-api/status", json=creation(s3_path=unique("p"))).json()["trace_id"]
    assert http.post(f"/status-api/status/{trace_id}", json=update()).status_code == 200
    assert http.get(f"/status-api/status/{trace_id}").json() == events(http, trace_id)
    assert http.get("/status-api/readyz").json() == {"status": "ready"}
    assert http.get("/status-apix/readyz").status_code == 404


# What was broken there.


def test_two_events_with_one_start_time_are_two(http):
    trace_id = created(http)
    updated(http, trace_id, operation="a")
    updated(http, trace_id, operation="b")
    assert [event.get("operation") for event in events(http, trace_id)] == [None, "a", "b"]


def test_a_long_dataset_id_leaves_the_uuid_whole(http):
    ids = {created(http, domain_id="x" * 100 + "/1") for _ in range(2)}
    assert len(ids) == 2
    assert all(len(trace_id) == 80 for trace_id in ids)


def test_an_event_that_is_sent_again_is_recorded_once_and_answered_alike(http):
    trace_id = created(http)
    said = update(operation="again", status_body={"a": 1})
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: http.post(f"/status/{trace_id}", json=said).json(), range(8)))
    assert len(events(http, trace_id)) == 2
    assert answers == [answers[0]] * 8


def test_a_large_trace_is_told_whole(http):
    trace_id = created(http)
    bodies = [{"number": number, "filling": "x" * 100_000} for number in range(80)]
    for body in bodies:
        updated(http, trace_id, status_body=body)
    answer = http.get(f"/status/{trace_id}")
    assert len(answer.content) > 8_000_000
    assert [event.get("status_body") for event in answer.json()] == [None, *bodies]


def test_an_end_that_says_only_failed_comes_with_the_reason(http, rpc: StatusClient):
    trace_id = created(http)
    updated(http, trace_id, component="validator", errors=[{"message": {"nb": "Rad 3", "en": "Row 3"}}])
    updated(http, trace_id, component="state-machine", trace_status="FINISHED", trace_event_status="FAILED")
    trace = rpc.get_trace(trace_id).trace
    assert trace.first_failure is not None
    assert trace.first_failure.component == "validator"
    assert [reported.error.message["en"] for reported in trace.errors] == ["Row 3"]
