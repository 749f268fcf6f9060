"""Steps under the old decorator, run by an interpreter that has okdata-aws: each line read is how many, each answered
line how many seconds they took. Its argument is where they report; they have no token to fetch."""

import sys
import time

from okdata.aws.status import status_add, status_wrapper
from okdata.sdk.config import Config

config = Config()
config.config |= {"statusApiUrl": sys.argv[1], "client_id": None, "client_secret": None}
config.config |= {"username": None, "password": None, "cacheCredentials": False}


@status_wrapper(config)
def handler(event: dict, context: None) -> None:  # noqa: ARG001 - what a Lambda handler takes
    status_add(domain="dataset", domain_id="bench/1", status_body={"rows": 7, "files": ["a", "b"]})


event = {"execution_name": "t", "requestContext": {"authorizer": {"principalId": "user"}}}
for line in sys.stdin:
    began = time.perf_counter()
    for _ in range(int(line)):
        handler(event, None)
    print(time.perf_counter() - began, flush=True)
