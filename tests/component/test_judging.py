"""What a component's doctor says, where no machine is needed to find out."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from vpn.lib.component import judging
from vpn.lib.findings import State
from vpn.lib.wireguard.types import Endpoint

GATEWAY = Endpoint(ip_address("172.22.0.1"), 51820)


@pytest.mark.parametrize(
    ("host", "up", "state"),
    [
        ("192.0.2.2", True, State.OK),
        ("192.0.2.2", False, State.FAILED),
        ("hub.example", True, State.WARNING),
        ("hub.example", False, State.FAILED),
    ],
)
def test_a_hub_behind_a_nat_is_no_hub_that_has_moved(host: str, up: bool, state: State) -> None:
    assert judging.endpoint(GATEWAY, ["192.0.2.2"], judging.Way(host, "192.0.2.2", 51820), up=up).state is state
