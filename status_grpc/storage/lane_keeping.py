"""Keeps the lanes in order: says that the own one is alive, ends those of dead processes, forgets what is old."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
import structlog

from status_grpc.domain.errors import StatusError
from status_grpc.storage.dialects import Database
from status_grpc.storage.lanes import Lane
from status_grpc.storage.tables import feed_commits, feed_lanes

log = structlog.get_logger(__name__)

#: How often a process says that its lane goes on, and after how long without a word it is taken for dead. To be wrong
#: costs nothing: a process whose lane was ended finds its next number taken, and goes on in another lane.
_EVERY_SECONDS = 60.0
_DEAD_AFTER = timedelta(minutes=5)
#: How many commits one transaction forgets: it holds the only writer of SQLite.
_FORGOTTEN_AT_ONCE = 1000

_lanes, _commits = feed_lanes.c, feed_commits.c


class LaneKeeper:
    """Looks after the lane of this process, and after those of the dead."""

    def __init__(self, database: Database, lane: Lane, *, retention_seconds: float) -> None:
        self._database = database
        self._lane = lane
        self._retention = timedelta(seconds=retention_seconds)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look after them."""
        self._task = asyncio.create_task(self._run(), name="lanes")

    async def close(self) -> None:
        """Stop, and end the own lane: nothing will be written to it any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._lane.number:
            try:
                await self._end(self._lane.lane_id)
            except (StatusError, sa.exc.SQLAlchemyError):
                pass  # the database is away: another process will take this one for dead

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(min(_EVERY_SECONDS, self._retention.total_seconds()) * random.uniform(0.8, 1.0))  # noqa: S311
            try:
                await self.tidy()
            except StatusError:
                pass  # the database is away
            except Exception:
                log.exception("keeping the lanes failed")

    async def tidy(self) -> None:
        """Do all of it once."""
        now = datetime.now(UTC)
        own = self._lane.lane_id
        if self._lane.number:
            await self._say_alive(now)
            await self._forget(own, now - self._retention)
        for lane_id, last_number, is_dead in await self._database.read(
            lambda connection: self._others(connection, now)
        ):
            if is_dead:
                await self._end_if_nobody_does(lane_id)
            elif last_number is not None:
                await self._forget(lane_id, now - self._retention)

    def _others(self, connection: sa.Connection, now: datetime) -> list[tuple[str, int | None, bool]]:
        """Return the lanes that are nobody's: id, last number if they have ended, whether they have to be ended."""
        dead = _lanes.last_number.is_(None) & (_lanes.seen_time < self._instant(now - _DEAD_AFTER))
        rows = connection.execute(
            sa.select(_lanes.lane_id, _lanes.last_number, dead)
            .where(_lanes.lane_id != self._lane.lane_id)
            .where(dead | _lanes.last_number.is_not(None))
        )
        return [(lane_id, last_number, bool(is_dead)) for lane_id, last_number, is_dead in rows]

    async def _say_alive(self, now: datetime) -> None:
        lane_id, number = self._lane.lane_id, self._lane.number

        def work(connection: sa.Connection) -> bool:
            goes_on = (_lanes.lane_id == lane_id) & _lanes.last_number.is_(None)
            pruned_through = connection.scalar(sa.select(_lanes.pruned_through).where(goes_on))
            if pruned_through is None:
                return False
            connection.execute(sa.update(feed_lanes).where(goes_on).values(seen_time=self._instant(now)))
            last = (_commits.lane_id == lane_id) & (_commits.number == number)
            return pruned_through >= number or connection.scalar(sa.select(_commits.number).where(last)) is not None

        if not await self._database.write(work):
            # It was ended by others, or the database was restored to before it.
            self._lane.abandon(lane_id)

    async def _end_if_nobody_does(self, lane_id: str) -> None:
        try:
            await self._end(lane_id)
        except sa.exc.IntegrityError:
            pass  # another process has, or it was not dead: it has just taken the number

    async def _end(self, lane_id: str) -> None:
        """Write the lane's last row. It takes the number that its process would: whoever comes second fails."""

        def work(connection: sa.Connection) -> None:
            goes_on = sa.select(_lanes.pruned_through).where((_lanes.lane_id == lane_id) & _lanes.last_number.is_(None))
            pruned_through = connection.scalar(goes_on)
            if pruned_through is None:
                return
            newest = connection.scalar(sa.select(sa.func.max(_commits.number)).where(_commits.lane_id == lane_id))
            number = (newest or pruned_through) + 1
            connection.execute(
                sa.insert(feed_commits).values(
                    lane_id=lane_id, number=number, commit_time=self._instant(datetime.now(UTC)), changes="{}"
                )
            )
            connection.execute(sa.update(feed_lanes).where(_lanes.lane_id == lane_id).values(last_number=number))

        await self._database.write(work)

    async def _forget(self, lane_id: str, before: datetime) -> None:
        while await self._database.write(lambda connection: self._forget_some(connection, lane_id, before)):
            pass

    def _forget_some(self, connection: sa.Connection, lane_id: str, before: datetime) -> bool:
        """Forget the oldest commits of a lane, and the lane with its last one; return whether there may be more."""
        statement = sa.select(_lanes.pruned_through, _lanes.last_number).where(_lanes.lane_id == lane_id)
        lane = connection.execute(statement).one_or_none()
        if lane is None:
            return False
        oldest = (
            sa.select(_commits.number, _commits.commit_time)
            .where((_commits.lane_id == lane_id) & (_commits.number > lane.pruned_through))
            .order_by(_commits.number)
            .limit(_FORGOTTEN_AT_ONCE)
        )
        through = lane.pruned_through
        time_out = self._database.codec.time_out
        for number, commit_time in connection.execute(oldest):
            # Never beyond what is missing, nor the newest of a lane that goes on: a gap stays one.
            if number != through + 1 or time_out(commit_time) >= before:
                break
            through = number
        if through == lane.pruned_through:
            return False
        of_lane = _commits.lane_id == lane_id
        connection.execute(sa.delete(feed_commits).where(of_lane & (_commits.number <= through)))
        if through == lane.last_number:
            connection.execute(sa.delete(feed_lanes).where(_lanes.lane_id == lane_id))
        else:
            this = (_lanes.lane_id == lane_id) & (_lanes.pruned_through < through)
            connection.execute(sa.update(feed_lanes).where(this).values(pruned_through=through))
        return bool(through - lane.pruned_through == _FORGOTTEN_AT_ONCE)

    def _instant(self, time: datetime) -> sa.BindParameter[object]:
        return sa.literal(self._database.codec.time_in(time), feed_lanes.c.seen_time.type)
