"""Spreads streams over connections: a server serves only so many calls on each, and lets the others wait silently."""

from __future__ import annotations

from typing import Generic, TypeVar

#: Streams per connection. Servers and proxies commonly allow 100, as `max_connection_streams` of ours does; the rest is
#: left for what has not ended yet at the other end.
STREAMS_PER_CONNECTION = 80

C = TypeVar("C")


class StreamPool(Generic[C]):
    """The open channels for streams, with the number of streams on each. Not safe for threads."""

    def __init__(self) -> None:
        self._streams: dict[C, int] = {}

    def take(self) -> C | None:
        """Return a channel with room for one more stream, which counts from now on, or None."""
        for channel, streams in self._streams.items():
            if streams < STREAMS_PER_CONNECTION:
                self._streams[channel] = streams + 1
                return channel
        return None

    def add(self, channel: C) -> None:
        """Add a new channel, with one stream on it."""
        self._streams[channel] = 1

    def give_back(self, channel: C) -> C | None:
        """Note that a stream has ended. Returns a channel that nobody needs any more, to be closed, or None.

        One empty channel is kept.
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
