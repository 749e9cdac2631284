"""What the tests run over is what was asked for: a test that is not there cannot fail."""

from __future__ import annotations

import pytest

from tests.contract.benches import REAL
from tests.system.daemons import DEFAULT, WIREGUARDS


@pytest.mark.system
@pytest.mark.kernel
def test_the_wireguard_that_was_asked_for_is_among_those_that_this_machine_runs() -> None:
    assert DEFAULT in WIREGUARDS
    assert DEFAULT in [parameter.values[0] for parameter in REAL]
