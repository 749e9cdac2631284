"""Waiting for signals, for the death of processes, and for time, in one place."""

from __future__ import annotations

import os
import select
import signal
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable


class SignalWaiter:
    """Turns signals into events of a poll loop. Main thread only; use as a context manager.

    A handled signal does nothing but end the running ``wait``, which returns it.
    """

    def __init__(self, signals: Iterable[signal.Signals]) -> None:
        self._signals = tuple(signals)

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._before = {number: signal.signal(number, lambda *_: None) for number in self._signals}
        self._wakeup_before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
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
            return [signal.Signals(number) for number in os.read(self._read, 4096)]
        except BlockingIOError:
            return []
