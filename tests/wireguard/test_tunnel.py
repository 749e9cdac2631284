"""A tunnel before its start."""

from __future__ import annotations

import pytest

from vpn.lib.wireguard.daemons import Implementation
from vpn.lib.wireguard.tunnel import Tunnel


@pytest.mark.parametrize("implementation", [Implementation.AUTO, Implementation.KERNEL])
def test_an_interface_that_is_there_is_what_the_kernel_kept_of_an_earlier_run(implementation: Implementation) -> None:
    assert Tunnel("lo", implementation, {}).outlived
    assert not Tunnel("nothere0", implementation, {}).outlived


@pytest.mark.parametrize("implementation", [Implementation.BORINGTUN, Implementation.GOTATUN])
def test_a_daemon_s_interface_goes_with_its_daemon(implementation: Implementation) -> None:
    assert not Tunnel("lo", implementation, {}).outlived
