"""Spreads streams over connections.

A server serves a limited number of calls on a connection, and lets the others wait silently.
"""

from __future__ import annotations

from typing import Generic, TypeVar

#: Streams per connection. The server allows 50 (`max_connection_streams`). The rest is left for streams that have not
#: ended yet at its end.
STREAMS_PER_CONNECTION = 40

C = TypeVar("C")


class StreamPool(Generic[C]):
    """Open channels, with the number of streams on each. Not thread-safe."""

    def __init__(self) -> None:
        self._streams: dict[C, int] = {}

    def take(self) -> C | None:
        """Count a stream on a channel with room and return it, or None."""
        for channel, streams in self._streams.items():
            if streams < STREAMS_PER_CONNECTION:
                self._streams[channel] = streams + 1
                return channel
        return None

    def add(self, channel: C) -> None:
        """Add a new channel, with one stream on it."""
        self._streams[channel] = 1

    def give_back(self, channel: C) -> C | None:
        """Note that a stream has ended.

        Returns its channel if that is empty and another one is open. The caller closes it. One empty channel is kept.
        """
        if channel not in self._streams:  # discarded meanwhile
            return None
        self._streams[channel] -= 1
        if self._streams[channel] or len(self._streams) == 1:
            return None
        del self._streams[channel]
        return channel

    def discard(self, channel: C) -> None:
        """Use this channel for nothing new."""
        self._streams.pop(channel, None)

    def clear(self) -> list[C]:
        """Forget all channels and return them."""
        channels = list(self._streams)
        self._streams.clear()
        return channels
