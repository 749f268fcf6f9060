"""The parts of a server process whose state metrics show."""

from __future__ import annotations

from dataclasses import dataclass

from status_grpc.rpc.health import Health
from status_grpc.server.loop_lag import LoopPulse
from status_grpc.service.feeds import Feeds
from status_grpc.service.following import Following
from status_grpc.storage.dialects import Database
from status_grpc.storage.group_commit import GroupCommit


@dataclass(frozen=True, kw_only=True)
class ServerParts:
    """What metrics read, whenever they are asked for."""

    writer: GroupCommit
    following: Following
    feeds: Feeds
    database: Database
    health: Health
    pulse: LoopPulse
