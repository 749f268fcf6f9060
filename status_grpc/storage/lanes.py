"""Lanes: how the commits of all processes are numbered, so that a reader misses none and no writer waits for another.

Each process that writes numbers its commits 1, 2, 3... in a lane of its own, whose id nobody else has; the row of a
commit is part of its transaction. Within a lane commits are made one after another, so whoever sees one sees all that
came before it. Two writers never meet in a row, and no number is handed out by the database.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
import sqlalchemy as sa

from status_grpc.domain.decisions import Deciding
from status_grpc.storage.dialects import Database, Transaction
from status_grpc.storage.tables import feed_commits, feed_lanes


@dataclass(frozen=True, slots=True)
class TraceChange:
    """What one commit did to one trace: it recorded the events in (after, sequence], none if these are equal."""

    trace_id: str
    domain: str
    after: int
    sequence: int
    revision: int
    #: The path that the trace was created with by this commit.
    created_with: str = ""


Changes = Mapping[str, Mapping[str, object]]


def changes_of(deciding: Deciding, sequences_before: Mapping[str, int]) -> Changes:
    """Return what a transaction did, in the form in which a commit's row holds it."""
    changes = {}
    for trace_id in deciding.changed:
        trace = deciding.traces[trace_id]
        changes[trace_id] = {
            "domain": trace.domain,
            "after": sequences_before.get(trace_id, 0),
            "sequence": trace.last_sequence,
            "revision": trace.revision,
        }
    if deciding.created:
        for event, _, _ in deciding.recorded:
            if event.sequence == 1 and event.s3_path:
                changes[event.trace_id]["created_with"] = event.s3_path
    return changes


def read_changes(text: str) -> list[TraceChange]:
    """Return what the row of a commit tells."""
    return [TraceChange(trace_id, **change) for trace_id, change in orjson.loads(text).items()]


class Lane:
    """The lane of one store: it writes the row of each commit, and draws a new lane when it cannot go on in the old.

    That is so after a commit of which it is not known whether it was made: if it was, it has the next number, and if it
    still comes, it must find that number free. A lane is in the database from its first commit on.
    """

    def __init__(self, database: Database) -> None:
        dialect = database.dialect
        self._time_in = database.codec.time_in
        self._insert_lane = str(sa.insert(feed_lanes).compile(dialect=dialect))
        self._insert_commit = str(sa.insert(feed_commits).compile(dialect=dialect))
        self._taken = sa.select(feed_commits.c.number).where(
            (feed_commits.c.lane_id == sa.bindparam("of_lane")) & (feed_commits.c.number == sa.bindparam("with_number"))
        )
        self._committing = asyncio.Lock()
        self._given_up = ""
        self._open_another()

    def _open_another(self) -> None:
        self.lane_id = uuid.uuid4().hex
        #: The number of the last commit that was acknowledged, 0 if there is none.
        self.number = 0
        # Whether the next number may have been taken: by a commit of ours that was thought to have failed, or by a
        # process that took us for dead and ended the lane.
        self._in_doubt = False
        self._attempts = 0
        self._written = False

    @asynccontextmanager
    async def commit(self) -> AsyncIterator[None]:
        """Be around one transaction that calls `begin` and then, if it changes something, `write`."""
        async with self._committing:
            self._attempts = 0
            self._written = False
            if self._given_up == self.lane_id:
                self._open_another()
            try:
                yield
            except BaseException:
                if self._written:
                    self._open_another()
                else:
                    self._in_doubt = True
                raise
            if self._written:
                self.number += 1
                self._in_doubt = False

    def begin(self, transaction: Transaction) -> None:
        """Prepare to write: called at the start of every attempt at the transaction."""
        if self._in_doubt or self._attempts:
            taken = {"of_lane": self.lane_id, "with_number": self.number + 1}
            if transaction.fetch(self._taken, taken):
                self._open_another()
        self._attempts += 1
        self._written = False

    def write(self, transaction: Transaction, changes: Changes) -> None:
        """Write the row of the commit, as the last of its statements."""
        now = self._time_in(datetime.now(UTC))
        if self.number == 0:
            transaction.execute(self._insert_lane, (self.lane_id, now, 0, None))
        values = (self.lane_id, self.number + 1, now, orjson.dumps(changes).decode())
        transaction.execute(self._insert_commit, values)
        transaction.flush()
        self._written = True

    def abandon(self, lane_id: str) -> None:
        """Go on in another lane, if this is the one: it has been ended, or is not what it was."""
        self._given_up = lane_id
