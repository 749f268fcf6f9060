"""The change feed: reads which traces were changed by the commits of all lanes.

A cursor says for each lane up to which commit it was read. It is safe whatever else is going on: within a lane commits
become visible in the order of their numbers, and a lane that the cursor does not name is read from its first commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, TypeAlias

import sqlalchemy as sa

from status_grpc.storage.dialects import Database
from status_grpc.storage.lanes import Lane, TraceChange, read_changes
from status_grpc.storage.tables import feed_commits, feed_lanes

#: Lane -> the number of the last commit that was read; None for a lane that has ended and was read to its end.
FeedCursor: TypeAlias = Mapping[str, int | None]

#: How many rows one query returns: the commits, and the last one that was read of each lane.
_ROWS = 256
#: Beyond the number of any commit: nothing more is wanted of a lane that was read to its end.
_END = 2**62


@dataclass(slots=True)
class FeedPage:
    """What one query of the feed has found."""

    cursor: dict[str, int | None]
    #: What changed, in the order of the commits within each lane.
    changes: list[TraceChange] = field(default_factory=list)
    #: The lane to go on from, if there may be more to read at once.
    more_from: str | None = None
    #: Whether a commit is missing behind which others are visible: it is about to become visible as well.
    gap: bool = False
    #: Whether the cursor was one of this database: else commits after it are not kept any more, or commits before it
    #: are gone, as after a restore. What else has changed is not known then.
    intact: bool = True


class ChangeFeed:
    """The commits of all lanes but the one of this process, which knows what it has committed."""

    def __init__(self, database: Database, own: Lane) -> None:
        self._database = database
        self._own = own
        lanes, commits = feed_lanes.c, feed_commits.c
        last = sa.select(sa.func.max(commits.number)).where(commits.lane_id == lanes.lane_id).scalar_subquery()
        self._heads = sa.select(lanes.lane_id, sa.func.coalesce(last, lanes.pruned_through), lanes.last_number)
        known = database.keys(("lane_id", sa.Text()), ("number", sa.BigInteger()))
        # From the last commit that was read on, that one included: if it is gone, this is another history.
        wanted: sa.ColumnElement[bool] = (commits.lane_id == lanes.lane_id) & (
            commits.number >= sa.func.coalesce(known.c.number, 1)
        )
        if database.dialect.name == "postgresql":
            # It would read the commits of all lanes from their beginning, and leave out what is not wanted.
            of_lane = sa.select(feed_commits).where(wanted).order_by(commits.number).limit(_ROWS)
            found: sa.FromClause = of_lane.lateral("found")
            wanted = sa.true()
        else:
            found = feed_commits
        self._after = (
            sa.select(
                lanes.lane_id,
                lanes.pruned_through,
                lanes.last_number,
                found.c.number,
                sa.case((found.c.number > sa.func.coalesce(known.c.number, 0), found.c.changes)),
            )
            .select_from(feed_lanes)
            .outerjoin(known, known.c.lane_id == lanes.lane_id)
            .outerjoin(found, wanted)
            .where(lanes.lane_id >= sa.bindparam("from_lane"))
            .order_by(lanes.lane_id, found.c.number)
            .limit(_ROWS)
        )

    def lost_place(self) -> None:
        """Take note that a cursor was not one of this database: the own lane may not go on where it was, either."""
        self._own.abandon(self._own.lane_id)

    async def heads(self) -> FeedCursor:
        """Return the cursor after all commits that are visible now."""

        def work(connection: sa.Connection) -> FeedCursor:
            rows = self._database.fetch(connection, self._heads, {})
            return {lane_id: None if number == last else number for lane_id, number, last in rows}

        return await self._database.read(work)

    async def read(self, cursor: FeedCursor, *, from_lane: str = "") -> FeedPage:
        """Return what was committed after the cursor, as much as one query gives, and the cursor after that.

        The cursor passes no commit that was not returned. Raises Unavailable when the database cannot be read.
        """
        own_id, own_number = self._own.lane_id, self._own.number
        if own_number:
            cursor = {**cursor, own_id: own_number}
        positions = [[lane_id, _END if number is None else number] for lane_id, number in cursor.items()]
        parameters = self._database.key_parameters(positions or [["", 0]]) | {"from_lane": from_lane}
        rows = await self._database.read(lambda connection: self._database.fetch(connection, self._after, parameters))
        page = FeedPage(dict(cursor), more_from=rows[-1][0] if len(rows) == _ROWS else None)
        seen = set()
        for lane_id, of_lane in groupby(rows, key=lambda row: row[0]):
            seen.add(lane_id)
            if lane_id != own_id:
                page.cursor[lane_id] = _read_lane(cursor.get(lane_id, 0), list(of_lane), page)
            elif own_number:
                _, pruned_through, _, number, _ = next(of_lane)
                page.intact &= number == own_number or own_number <= pruned_through
        for lane_id in cursor:
            if lane_id not in seen and from_lane <= lane_id and (page.more_from is None or lane_id < page.more_from):
                # It is not kept any more: nobody needs it who has read it to its end.
                page.intact &= page.cursor.pop(lane_id) is None
        return page


def _read_lane(number: int | None, rows: Sequence[Sequence[Any]], page: FeedPage) -> int | None:
    """Take in the rows of one lane, which begin with the commit that was read last; return where it was read to."""
    if number is None:
        return None
    _, pruned_through, last_number, first, _ = rows[0]
    if number < pruned_through:
        page.intact = False
        number = pruned_through
    elif pruned_through < number != first:
        page.intact = False
        return number
    for *_, found, changes in rows:
        if found is None or found <= number:
            continue
        if found != number + 1:
            page.gap = True
            break
        page.changes += read_changes(changes)
        number = found
    return None if number == last_number else number
