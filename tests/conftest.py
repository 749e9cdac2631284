"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# The same examples on every machine, so that a failure is one for everybody; and no time limit for a
# single example, since the machine may be busy.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")
