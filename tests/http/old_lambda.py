"""A Lambda function as it was written for okdata-aws; runs where that is installed, and prints what became of it."""

import json
import sys
from types import SimpleNamespace

from okdata.aws.status import TraceEventStatus, TraceStatus, status_add, status_wrapper
from okdata.aws.status.sdk import Status
from okdata.sdk.config import Config
from okdata.sdk.status import Status as StatusSDK

url, what, trace_id = sys.argv[1:]
config = Config(config={"statusApiUrl": url, "cacheCredentials": False, "env": "test"})
event = {
    "execution_name": trace_id,
    "requestContext": {"authorizer": {"principalId": "ooo123456"}, "stage": "dev", "apiId": "api"},
}
context = SimpleNamespace(function_name="my-function", function_version="$LATEST")


@status_wrapper(config)
def validate(event, context):
    status_add(
        domain="dataset",
        domain_id="my-dataset/1",
        status_body={"rows": 3},
        errors=[{"message": {"nb": "Rad 3 mangler pris", "en": "Row 3 has no price"}}],
    )
    return {"valid": False}


@status_wrapper(config)
def convert(event, context):
    return 1 / 0


if what == "success":
    print(json.dumps(validate(event, context)))
elif what == "failure":
    try:
        convert(event, context)
    except ZeroDivisionError as error:
        print(json.dumps(str(error)))
elif what == "end":
    status = Status(trace_id, config)
    status.add(
        domain="dataset",
        component="state-machine",
        trace_status=TraceStatus.FINISHED,
        trace_event_status=TraceEventStatus.FAILED,
        operation="execution-ended",
    )
    print(json.dumps(status.done()))
elif what == "sdk":
    sdk = StatusSDK(config)
    update = {
        "domain": "dataset",
        "component": "sdk",
        "start_time": "2020-01-01T00:00:00",
        "end_time": "2020-01-01T00:00:01",
        "trace_status": "CONTINUE",
        "trace_event_status": "OK",
    }
    print(json.dumps([sdk.update_status(trace_id, update, retries=3), sdk.get_status(trace_id, retries=3)]))
