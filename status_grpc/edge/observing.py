"""What an edge tells of its calls, to whoever counts them."""

from __future__ import annotations

from typing import Protocol


class CallObserver(Protocol):
    """Is told of every call to the service when it begins and when it has ended."""

    def began(self, method: str) -> None:
        """Note that a call of this method, such as "Update", has begun."""

    def ended(self, method: str, code: str, seconds: float) -> None:
        """Note that it has ended with this gRPC code, such as "NOT_FOUND", after so many seconds."""
