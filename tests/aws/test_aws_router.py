"""The router: each object starts the execution of its own trace, once; and nothing gets lost."""

from __future__ import annotations

import json
import random
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from aws_messages import from_sns, from_sqs, in_sns_envelope, notification, object_created
from pipeline_example import shared_client

from status_grpc import EventDraft, InvalidArgument, StatusClient, TraceEventStatus, TraceStatus
from status_grpc.aws import ArrivedObject, DeadLetters, Router, Unroutable
from status_grpc.aws.handlers import new_trace_from_environment
from status_grpc.aws.router import trace_of_unknown, uri_as_path

REGION = "eu-west-1"
QUEUE = f"arn:aws:sqs:{REGION}:123456789012:"
PASS = json.dumps({"StartAt": "Pass", "States": {"Pass": {"Type": "Pass", "End": True}}})
TIMES = 20


class StepFunctions:
    """boto3's client, one call at a time: unlike Step Functions, moto may start two executions of one name at once."""

    def __init__(self) -> None:
        self._client = shared_client("stepfunctions")
        self._lock = threading.Lock()
        name = f"machine-{uuid.uuid4()}"
        created = self._client.create_state_machine(
            name=name, definition=PASS, roleArn="arn:aws:iam::123456789012:role/r"
        )
        self.state_machine = created["stateMachineArn"]

    def start_execution(self, **arguments):
        with self._lock:
            return self._client.start_execution(**arguments)

    @property
    def executions(self) -> list[str]:
        answer = self._client.list_executions(stateMachineArn=self.state_machine)
        return sorted(execution["name"] for execution in answer["executions"])

    def input_of(self, name: str) -> dict:
        arn = self.state_machine.replace(":stateMachine:", ":execution:")
        return json.loads(self._client.describe_execution(executionArn=f"{arn}:{name}")["input"])


class Pipeline:
    """A bucket, a state machine, and routers between them."""

    def __init__(self, client: StatusClient) -> None:
        self.client = client
        self.s3 = shared_client("s3")
        self.stepfunctions = StepFunctions()
        self.bucket = f"bucket-{uuid.uuid4()}"
        self.s3.create_bucket(Bucket=self.bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.dead_letters = DeadLetters(self.s3, self.bucket)

    def router(self, **options) -> Router:
        options = {"state_machine": self.stepfunctions.state_machine, "patience": 0} | options
        client = options.pop("client", self.client)
        return Router(client, self.s3, self.stepfunctions, **{"dead_letters": self.dead_letters} | options)

    def trace(self, path: str, **fields) -> str:
        given = {"domain": "dataset", "domain_id": "d/1", "component": "data-uploader", "s3_path": path}
        return self.client.create(**given | fields).trace.trace_id

    def put(self, key: str, trace_id: str = "", body: bytes = b"abc") -> None:
        metadata = {"trace-id": trace_id} if trace_id else {}
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, Metadata=metadata)

    def told(self, key: str, **item) -> dict:
        return notification(key, bucket=self.bucket, **{"sequencer": "0A"} | item)

    def finish(self, trace_id: str) -> None:
        self.client.update(
            trace_id=trace_id,
            component="c",
            trace_status=TraceStatus.FINISHED,
            trace_event_status=TraceEventStatus.OK,
        )

    def claims(self, trace_id: str) -> list[dict]:
        events = self.client.get_trace(trace_id).events
        return [event.meta["claimed_object"] for event in events if event.meta]

    @property
    def letters(self) -> list[str]:
        return [letter.reason for letter in self.dead_letters.all()]


@pytest.fixture
def pipeline(aws, client: StatusClient) -> Pipeline:
    return Pipeline(client)


def key() -> str:
    """A key that no other test uses: they share a server, and traces are found by their path."""
    return f"raw/{uuid.uuid4()}/file.csv"


def at_once(calls):
    with ThreadPoolExecutor(max_workers=len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


@pytest.mark.parametrize("has_metadata", [True, False])
def test_an_event_that_is_delivered_20_times_at_once_starts_one_execution(pipeline, has_metadata):
    path = key()
    trace_id, later = pipeline.trace(path), pipeline.trace(path)
    pipeline.put(path, trace_id if has_metadata else "")
    routers = [pipeline.router() for _ in range(TIMES)]
    results = at_once([lambda router=router: router.route(pipeline.told(path)) for router in routers])
    assert {result.trace_id for result in results} == {trace_id}
    assert {result.outcome for result in results} <= {"started", "exists"}
    assert pipeline.stepfunctions.executions == [trace_id]
    assert (len(pipeline.claims(trace_id)), pipeline.claims(later)) == (1, [])


def test_three_uploads_of_one_path_start_three_executions_whatever_the_order(pipeline):
    path = key()
    traces = [pipeline.trace(path) for _ in range(3)]
    deliveries = [pipeline.told(path, sequencer=f"0{number}") for number in range(3) for _ in range(5)]
    random.Random(4).shuffle(deliveries)
    routers = [pipeline.router() for _ in deliveries]
    results = at_once(
        [lambda r=r, d=d: (str(d), r.route(d).trace_id) for r, d in zip(routers, deliveries, strict=True)]
    )
    assert len(set(results)) == 3
    assert {trace_id for _, trace_id in results} == set(traces)
    assert pipeline.stepfunctions.executions == sorted(traces)
    assert [len(pipeline.claims(trace_id)) for trace_id in traces] == [1, 1, 1]


def test_a_trace_is_claimed_once_while_somebody_reports_to_it(pipeline):
    path = key()
    trace_id = pipeline.trace(path)
    over = threading.Event()

    def report():
        while not over.is_set():
            pipeline.client.update(trace_id=trace_id, component="uploader", operation="progress")
            over.wait(0.01)  # as fast as commits follow each other, it would be in all of them before the claim

    reporter = threading.Thread(target=report)
    reporter.start()
    try:
        results = at_once([lambda: pipeline.router().route(pipeline.told(path)) for _ in range(5)])
    finally:
        over.set()
        reporter.join()
    assert {result.trace_id for result in results} == {trace_id}
    assert len(pipeline.claims(trace_id)) == 1


def test_the_oldest_trace_that_is_neither_done_nor_claimed_is_claimed(pipeline):
    path = key()
    done, claimed, oldest, _ = (pipeline.trace(path) for _ in range(4))
    touched = pipeline.trace("another path")
    pipeline.client.update(trace_id=touched, component="c", s3_path=path)
    pipeline.finish(done)
    router = pipeline.router()
    assert router.route(pipeline.told(path, sequencer="01")).trace_id == claimed
    assert router.route(pipeline.told(path, sequencer="02")).trace_id == oldest


def test_an_event_that_comes_again_after_the_end_claims_nothing_else(pipeline):
    path = key()
    trace_id, next_upload = pipeline.trace(path), pipeline.trace(path)
    router = pipeline.router()
    router.route(pipeline.told(path))
    pipeline.finish(trace_id)
    assert str(router.route(pipeline.told(path))) == f"exists {trace_id}"
    assert pipeline.claims(next_upload) == []


def test_the_metadata_names_the_trace_and_the_input_names_the_object(pipeline):
    path = key()
    _, named = pipeline.trace(path), pipeline.trace(path)
    pipeline.put(path, named)
    assert pipeline.router().route(pipeline.told(path)).trace_id == named
    assert pipeline.stepfunctions.input_of(named) == {
        "execution_name": named,
        "bucket": pipeline.bucket,
        "key": path,
        "s3_path": path,
    }


def test_metadata_that_names_the_trace_of_another_path_is_not_believed(pipeline):
    path = key()
    foreign, own = pipeline.trace(key()), pipeline.trace(path)
    pipeline.put(path, foreign)
    assert pipeline.router().route(pipeline.told(path)).trace_id == own


def test_metadata_of_a_later_upload_is_not_taken_for_that_of_an_earlier_one(pipeline):
    path = key()
    first, second = pipeline.trace(path), pipeline.trace(path)
    pipeline.put(path, first, b"first")
    etag = pipeline.s3.head_object(Bucket=pipeline.bucket, Key=path)["ETag"].strip('"')
    pipeline.put(path, second, b"second")
    router = pipeline.router()
    # The first object is no longer there to be asked.
    assert router.route(pipeline.told(path, sequencer="01", eTag=etag)).trace_id == first
    assert router.route(pipeline.told(path, sequencer="02")).trace_id == second


def test_each_version_has_metadata_of_its_own(pipeline):
    path = key()
    pipeline.s3.put_bucket_versioning(Bucket=pipeline.bucket, VersioningConfiguration={"Status": "Enabled"})
    traces = [pipeline.trace(path) for _ in range(3)]
    for trace_id in traces:
        pipeline.put(path, trace_id, b"the same")
    listed = pipeline.s3.list_object_versions(Bucket=pipeline.bucket)["Versions"]
    versions = [item["VersionId"] for item in sorted(listed, key=lambda item: item["LastModified"])]
    events = [
        object_created(path, bucket=pipeline.bucket, **{"version-id": version}, sequencer="constant, as moto's")
        for version in reversed(versions)
    ]
    routed = {pipeline.router().route(event).trace_id for event in events}
    assert (routed, pipeline.stepfunctions.executions) == (set(traces), sorted(traces))


LONGEST = "raw/" + "å" * 510  # 1,024 bytes
KEYS = ["raw/with a space.csv", "raw/a+b%2B%.csv", "raw/blåbær/東京 🚲.csv", 'raw/?#&="\\~.csv', LONGEST]


@pytest.mark.parametrize("odd", KEYS, ids=["space", "plus", "unicode", "signs", "1024-bytes"])
def test_odd_keys_find_their_traces_on_the_way_from_the_bucket(pipeline, odd):
    # The path is the object's URI, since other tests have the same keys.
    queue = pipeline.s3_notifies_queue = shared_client("sqs").create_queue(QueueName=f"q-{uuid.uuid4()}")["QueueUrl"]
    topic = shared_client("sns").create_topic(Name=f"t-{uuid.uuid4()}")["TopicArn"]
    shared_client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=QUEUE + queue.rpartition("/")[2])
    pipeline.s3.put_bucket_notification_configuration(
        Bucket=pipeline.bucket,
        NotificationConfiguration={"TopicConfigurations": [{"TopicArn": topic, "Events": ["s3:ObjectCreated:*"]}]},
    )
    trace_id = pipeline.trace(f"s3://{pipeline.bucket}/{odd}")
    pipeline.put(odd)
    taken = shared_client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=20)["Messages"]
    answer = pipeline.router(path_of=uri_as_path).handle(from_sqs(*[message["Body"] for message in taken]))
    assert answer == {"batchItemFailures": []}
    assert pipeline.stepfunctions.executions == [trace_id]
    assert pipeline.stepfunctions.input_of(trace_id)["key"] == odd


class Watching(StatusClient):
    """Tells when somebody has looked for a path, or for a trace, in vain."""

    looked: threading.Event

    def get_by_path(self, *args, **kwargs):
        try:
            return super().get_by_path(*args, **kwargs)
        finally:
            self.looked.set()


@pytest.mark.parametrize("has_metadata", [True, False])
def test_a_trace_that_is_being_created_is_waited_for(pipeline, has_metadata, address):
    path = key()
    trace_id = f"late-{uuid.uuid4()}"
    pipeline.put(path, trace_id if has_metadata else "")
    if has_metadata:
        pipeline.trace(path)  # must be left to the upload that it belongs to
    with Watching(address) as watching, ThreadPoolExecutor() as pool:
        watching.looked = threading.Event()
        routed = pool.submit(pipeline.router(client=watching, patience=60).route, pipeline.told(path))
        assert watching.looked.wait(60)
        pipeline.trace(path, trace_id=trace_id)
        assert routed.result().trace_id == trace_id


def test_without_a_trace_the_message_is_a_dead_letter(pipeline):
    path = key()
    assert pipeline.router().route(pipeline.told(path)).outcome == "dead-letter"
    assert pipeline.letters == [f"No trace that has not ended was created with the path {path!r}."]
    with pytest.raises(Unroutable):
        pipeline.router(dead_letters=None).route(pipeline.told(path))


def test_without_a_trace_the_object_may_be_ignored(pipeline):
    assert str(pipeline.router(without_trace="ignore").route(pipeline.told(key()))) == "ignored has no trace"
    assert pipeline.letters == []


@pytest.mark.parametrize("has_metadata", [True, False])
def test_without_a_trace_one_may_be_created_once(pipeline, has_metadata):
    path = f"raw/bike-trips-{uuid.uuid4()}/version=2/file.csv"
    named = f"named-{uuid.uuid4()}" if has_metadata else ""
    pipeline.put(path, named)
    results = at_once(
        [lambda: pipeline.router(without_trace="create").route(pipeline.told(path)) for _ in range(TIMES)]
    )
    (trace_id,) = {result.trace_id for result in results}
    assert pipeline.stepfunctions.executions == [trace_id]
    history = pipeline.client.get_trace(trace_id)
    assert (history.trace.s3_path, len(history.events)) == (path, 1)
    assert history.trace.domain_id == path.split("/")[1] + "/2"
    assert trace_id == named or not named
    # The next upload of the path gets a trace of its own.
    pipeline.put(path)
    again = pipeline.router(without_trace="create").route(pipeline.told(path, sequencer="0B"))
    assert again.trace_id != trace_id


def test_the_trace_of_an_unknown_object_is_of_its_dataset_or_its_bucket():
    dataset = trace_of_unknown(ArrivedObject("b", "raw/green/bike-trips/version=1/edition=2/f.csv"))
    assert (dataset.domain, dataset.domain_id) == ("dataset", "bike-trips/1")
    other = trace_of_unknown(ArrivedObject("b", "f.csv"))
    assert (other.domain, other.domain_id) == ("s3", "b")


@pytest.mark.parametrize(
    "key",
    [
        "raw/mine/victim/version=1/f.csv",
        "raw/green/mine/victim/version=1/f.csv",
        "raw/green/mine/x/victim/version=1/f.csv",
        "mine/raw/victim/version=1/f.csv",
        "mine/victim/version=1/f.csv",
        "/raw/victim/version=1/f.csv",
        "raw//version=1/f.csv",
        "raw/victim/version=/f.csv",
        "raw/victim/version=1/",
        "raw/victim/version=1",
        "raw/victim/xversion=1/f.csv",
        "raw/x/mine\nraw/victim/version=1/f.csv",
    ],
)
def test_key_that_fits_no_template_names_no_dataset(key):
    draft = trace_of_unknown(ArrivedObject("b", key))
    assert (draft.domain, draft.domain_id) == ("s3", "b")


def test_templates_decide_which_segment_is_the_dataset(monkeypatch):
    monkeypatch.setenv("STATUS_GRPC_AWS_DATASET_KEYS", "landing/{dataset}/v{version}/,{version}/x/{dataset}/")
    of = new_trace_from_environment()
    assert of(ArrivedObject("b", "landing/bikes/v2/sub/f.csv")).domain_id == "bikes/2"
    assert of(ArrivedObject("b", "7/x/bikes/f.csv")).domain_id == "bikes/7"
    assert of(ArrivedObject("b", "raw/bikes/version=2/f.csv")).domain == "s3"
    for wrong in ("raw/{dataset}/", "raw/{dataset}/{version}", "{dataset}/{dataset}/{version}/", "raw/*/"):
        monkeypatch.setenv("STATUS_GRPC_AWS_DATASET_KEYS", wrong)
        with pytest.raises(ValueError, match="STATUS_GRPC_AWS_DATASET_KEYS"):
            new_trace_from_environment()


def test_the_first_event_of_a_created_trace_is_for_the_router_s_owner_to_say(pipeline):
    path = key()
    router = pipeline.router(
        without_trace="create",
        new_trace=lambda arrived: EventDraft(domain="video", domain_id="v/1", component="intake", operation="found"),
    )
    event = pipeline.client.get_trace(router.route(pipeline.told(path)).trace_id).events[0]
    assert (event.domain, event.component, event.operation) == ("video", "intake", "found")


def test_more_traces_of_a_path_than_can_be_seen_are_not_taken_for_none(pipeline):
    path = key()
    for _ in range(100):
        pipeline.finish(pipeline.trace(path))
    assert pipeline.router(without_trace="ignore").route(pipeline.told(path)).outcome == "dead-letter"
    assert "the oldest are not seen" in pipeline.letters[0]
    assert pipeline.router().route(pipeline.told(path, sequencer="0B")).outcome == "dead-letter"
    newest = pipeline.trace(path)
    assert pipeline.router().route(pipeline.told(path, sequencer="0C")).trace_id == newest


def test_a_trace_whose_id_is_no_name_of_an_execution_is_a_dead_letter(pipeline):
    path = key()
    pipeline.trace(path, trace_id=f"a/{uuid.uuid4()}")
    assert pipeline.router().route(pipeline.told(path)).outcome == "dead-letter"


def test_a_path_that_the_service_refuses_is_a_dead_letter(pipeline):
    assert pipeline.router().route(pipeline.told("raw/\0")).outcome == "dead-letter"
    with pytest.raises(InvalidArgument):
        pipeline.router(dead_letters=None).route(pipeline.told("raw/\0"))


def test_what_cannot_be_routed_can_be_listed_and_routed_later(pipeline):
    path = key()
    router = pipeline.router()
    missing, nonsense = pipeline.told(path), "no JSON"
    answer = router.handle(from_sqs(in_sns_envelope(missing), nonsense, missing))
    assert answer == {"batchItemFailures": []}
    letters = {letter.reason: letter for letter in pipeline.dead_letters.all()}
    assert len(letters) == 2  # the same message has one letter
    letter = letters[f"No trace that has not ended was created with the path {path!r}."]
    trace_id = pipeline.trace(path)
    assert router.attempt(letter.message).trace_id == trace_id
    pipeline.dead_letters.remove(letter.letter_id)
    assert [letter.message for letter in pipeline.dead_letters.all()] == [nonsense]
    assert pipeline.dead_letters.get(letter.letter_id) is None


def test_a_dead_letter_is_not_taken_for_an_upload(pipeline):
    assert pipeline.router().route(pipeline.told("dead-letters/0.json")).reason == "is a dead letter"
    assert pipeline.letters == []


def test_while_the_service_is_away_messages_stay_where_they_are(pipeline):
    path, other = key(), key()
    with StatusClient("127.0.0.1:9", timeout=0.2) as nobody:
        away = pipeline.router(client=nobody)
        test_event = {"Service": "Amazon S3", "Event": "s3:TestEvent"}
        answer = away.handle(from_sqs(pipeline.told(path), test_event, pipeline.told(other)))
        assert answer == {"batchItemFailures": [{"itemIdentifier": "0"}, {"itemIdentifier": "2"}]}
        for event in (pipeline.told(path), object_created(path), from_sns(pipeline.told(path))):
            with pytest.raises(Exception, match=r"failed to connect|Connection refused|connect"):
                away.handle(event)
    assert pipeline.letters == []


def test_a_state_machine_that_is_not_there_is_no_reason_to_lose_the_message(pipeline):
    path = key()
    trace_id = pipeline.trace(path)
    missing = f"arn:aws:states:{REGION}:123456789012:stateMachine:missing"
    with pytest.raises(Exception, match="StateMachineDoesNotExist"):
        pipeline.router(state_machine=missing).handle(pipeline.told(path))
    # Once it is there, the claim that was made before holds.
    assert str(pipeline.router().route(pipeline.told(path))) == f"started {trace_id}"


def test_dead_letters_that_cannot_be_kept_are_delivered_again(pipeline):
    nowhere = DeadLetters(pipeline.s3, f"missing-{uuid.uuid4()}")
    with pytest.raises(Exception, match="NoSuchBucket"):
        pipeline.router(dead_letters=nowhere).handle(from_sqs("no JSON"))


def test_the_state_machine_may_depend_on_the_object(pipeline):
    path = key()
    trace_id = pipeline.trace(path)
    machine = pipeline.stepfunctions.state_machine
    router = pipeline.router(state_machine=lambda arrived: machine if arrived.key.endswith(".csv") else None)
    assert router.route(pipeline.told(f"{path}.md5")).outcome == "ignored"
    assert router.route(pipeline.told(path)).trace_id == trace_id
