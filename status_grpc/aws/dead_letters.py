"""Dead letters: messages that could not be routed, kept in a bucket until a person looks at them.

In a bucket because a router has one anyway, a put is durable and can be repeated, and what is there can be listed
without being taken away, which a queue cannot do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from status_grpc.aws.arrivals import ArrivedObject

_ID_LENGTH = 32
_GONE = ("NoSuchKey", "404")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be routed: why, and when that was found out last."""

    letter_id: str
    time: str
    reason: str
    message: Any


class DeadLetters:
    """The dead letters under a prefix of a bucket, a JSON object for each. Every method raises botocore's errors.

    The same message has one letter, however often it is put.
    """

    def __init__(self, s3: Any, bucket: str, prefix: str = "dead-letters/") -> None:
        self._s3 = s3
        self._bucket = bucket
        self._prefix = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"

    def put(self, message: Any, reason: str) -> DeadLetter:
        """Keep a message; it is durable when this returns."""
        canonical = json.dumps(message, sort_keys=True, default=str)
        letter_id = hashlib.sha256(canonical.encode(errors="replace")).hexdigest()[:_ID_LENGTH]
        letter = DeadLetter(letter_id, datetime.now(UTC).isoformat(timespec="seconds"), reason, message)
        body = {"time": letter.time, "reason": reason, "message": message}
        self._s3.put_object(
            Bucket=self._bucket,
            Key=self._key(letter_id),
            Body=json.dumps(body, default=str, indent=1).encode(),
            ContentType="application/json",
        )
        return letter

    def all(self) -> Iterator[DeadLetter]:
        """Return the letters, in the order of their ids."""
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix):
            for item in page.get("Contents", ()):
                name = item["Key"].removeprefix(self._prefix)
                if "/" not in name and name.endswith(".json"):
                    letter = self.get(name.removesuffix(".json"))
                    if letter is not None:
                        yield letter

    def get(self, letter_id: str) -> DeadLetter | None:
        """Return the letter with this id; None if there is none."""
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=self._key(letter_id))
        except ClientError as error:
            if error.response["Error"]["Code"] in _GONE:
                return None
            raise
        said = json.loads(answer["Body"].read())
        return DeadLetter(letter_id, str(said["time"]), str(said["reason"]), said["message"])

    def remove(self, letter_id: str) -> None:
        """Forget the letter."""
        self._s3.delete_object(Bucket=self._bucket, Key=self._key(letter_id))

    def holds(self, arrived: ArrivedObject) -> bool:
        """Return whether this object is a letter: one must not bring about the next."""
        return arrived.bucket == self._bucket and arrived.key.startswith(self._prefix)

    def _key(self, letter_id: str) -> str:
        return f"{self._prefix}{letter_id}.json"
