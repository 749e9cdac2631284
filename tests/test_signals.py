"""Waiting for signals, readable descriptors and time."""

from __future__ import annotations

import os
import signal
import time

from vpn.lib.signals import SignalWaiter

USED = (signal.SIGUSR1, signal.SIGUSR2)


def test_signals_that_came_are_returned_in_their_order_and_once() -> None:
    with SignalWaiter(USED) as waiter:
        for number in (signal.SIGUSR2, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        assert waiter.wait(10) == [signal.SIGUSR2, signal.SIGUSR1]
        assert waiter.wait(0) == []


def test_a_signal_ends_a_wait_that_is_under_way() -> None:
    with SignalWaiter([signal.SIGALRM]) as waiter:
        started = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert waiter.wait(60) == [signal.SIGALRM]
        assert time.monotonic() - started < 30


def test_a_wait_without_signals_takes_its_time() -> None:
    with SignalWaiter(USED) as waiter:
        started = time.monotonic()
        assert waiter.wait(0.05) == []
        assert time.monotonic() - started >= 0.05


def test_a_readable_descriptor_ends_the_wait_and_none_is_passed_over() -> None:
    read, write = os.pipe()
    try:
        os.write(write, b"x")
        with SignalWaiter(USED) as waiter:
            started = time.monotonic()
            assert waiter.wait(60, (None, read)) == []
            assert time.monotonic() - started < 30
    finally:
        os.close(read)
        os.close(write)


def test_the_death_of_a_process_ends_the_wait() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    descriptor = os.pidfd_open(child)
    try:
        with SignalWaiter(USED) as waiter:
            started = time.monotonic()
            assert waiter.wait(60, (descriptor,)) == []
            assert time.monotonic() - started < 30
    finally:
        os.close(descriptor)
        os.waitpid(child, 0)


def test_everything_is_as_before_afterwards() -> None:
    handlers = [signal.getsignal(number) for number in USED]
    descriptors = os.listdir("/proc/self/fd")
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    with SignalWaiter(USED):
        assert [signal.getsignal(number) for number in USED] != handlers
    assert [signal.getsignal(number) for number in USED] == handlers
    assert len(os.listdir("/proc/self/fd")) == len(descriptors)
    assert signal.set_wakeup_fd(wakeup) == wakeup
