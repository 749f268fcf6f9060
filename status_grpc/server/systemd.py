"""Notifications to systemd, by the protocol of sd_notify(3)."""

from __future__ import annotations

import os
import socket


class SystemdNotifier:
    """Sends states to the socket in NOTIFY_SOCKET, if there is one."""

    def __init__(self) -> None:
        # Not for child processes: what they say would be taken for ours.
        address = os.environ.pop("NOTIFY_SOCKET", "")
        pid = os.environ.pop("WATCHDOG_PID", "")
        self._wants_pulse = bool(os.environ.pop("WATCHDOG_USEC", "")) and pid in ("", str(os.getpid()))
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if address else None
        if self._socket is not None:
            self._socket.setblocking(False)

    def ready(self) -> None:
        """Send that calls are answered."""
        self._send(b"READY=1")

    def pulse(self) -> None:
        """Send a sign of life, if the unit has a WatchdogSec."""
        if self._wants_pulse:
            self._send(b"WATCHDOG=1")

    def stopping(self) -> None:
        """Send that the service drains."""
        self._send(b"STOPPING=1")

    def _send(self, state: bytes) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(state, self._address)
        except OSError:
            pass  # systemd is away or busy; the next pulse comes in a second
