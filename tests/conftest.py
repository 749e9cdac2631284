"""Settings of all tests."""

from __future__ import annotations

import signal

from hypothesis import settings

# The same examples on every machine, so that a failure is one for everybody; and no time limit for a
# single example, since the machine may be busy.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")

# A shell starts what it runs in the background with SIGINT ignored, and so would be what the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
