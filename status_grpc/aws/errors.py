"""What can go wrong with a message for good: everything else may pass, and the message is to be delivered again."""

from __future__ import annotations


class Unroutable(Exception):
    """This message would fail again, however often it were delivered. The text says why, in one sentence."""
