"""Waiting for signals, for the death of processes, and for time, in one place."""

from __future__ import annotations

import os
import select
import signal
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


HURRY_AFTER = 0.7
"""Seconds; enough for everything that does not hang."""


class SignalWaiter:
    """Turns signals into events of a poll loop. Main thread only; use as a context manager.

    A handled signal does nothing but end the running ``wait``, which returns it. ``hurry`` is called once,
    0.7 s after SIGTERM or SIGINT: whatever the loop is waiting for then must be cut short.
    """

    def __init__(self, signals: Iterable[signal.Signals], hurry: Callable[[], None] | None = None) -> None:
        self._signals = tuple(signals)
        self._hurry = hurry

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._before = {number: signal.signal(number, self._handle) for number in self._signals}
        if self._hurry is not None:
            self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._handle)
        self._wakeup_before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def _handle(self, number: int, _: object) -> None:
        if self._hurry is None:
            return
        if number == signal.SIGALRM:
            self._hurry()
        elif number in (signal.SIGTERM, signal.SIGINT):
            signal.setitimer(signal.ITIMER_REAL, HURRY_AFTER)

    def __exit__(self, *_: object) -> None:
        if self._hurry is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float, descriptors: Iterable[int | None] = ()) -> list[signal.Signals]:
        """Wait up to ``seconds`` for a signal, or for one of the descriptors to become readable.

        Returns the signals that came, in their order.
        """
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        for descriptor in descriptors:
            if descriptor is not None:
                poll.register(descriptor, select.POLLIN)
        # poll(2) counts in milliseconds; rounding down would spin.
        poll.poll(max(0, int(seconds * 1000 + 0.999)))
        try:
            numbers = map(signal.Signals, os.read(self._read, 4096))
            return [number for number in numbers if number in self._signals]
        except BlockingIOError:
            return []
