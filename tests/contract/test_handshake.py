"""Two real devices shake hands, and what each shows of it: time, endpoint, traffic."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from lab.consortium import environment
from lab.network import Network, wait_until
from tests.contract.benches import PATIENCE, REAL, RealDaemonBench, RealKernelBench
from tests.contract.samples import bring, networks, preshared_key, private_key, public_key
from vpn.lib.wireguard.daemons import DAEMONS
from vpn.lib.wireguard.types import Endpoint, WantedDevice, WantedPeer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.network import Host
    from vpn.lib.wireguard.types import ObservedPeer

PORT = 51820


class Side:
    """One end of the tunnel."""

    def __init__(self, network: Network, name: str, wireguard: str, number: int) -> None:
        self.host: Host = network.host(name, environment())
        self.outside = f"198.18.{number}.2"
        self.inside = f"10.77.0.{number}"
        self.number = number
        self.bench = (
            RealKernelBench(self.host) if wireguard == "kernel" else RealDaemonBench(DAEMONS[wireguard], self.host)
        )
        self.host.run(["ip", "address", "add", f"{self.inside}/24", "dev", "wg0"])
        self.host.run(["ip", "link", "set", "wg0", "mtu", "1420", "up"])

    def expect(self, other: Side, endpoint: str | None) -> None:
        """Take the other side as the only peer."""
        peer = WantedPeer(
            public_key(other.number),
            preshared_key(1),
            networks(f"{other.inside}/32"),
            None if endpoint is None else Endpoint.parse(endpoint),
        )
        bring(self.bench.device, WantedDevice(private_key(self.number), PORT, {peer.public_key: peer}))

    def reaches(self, other: Side) -> bool:
        """Whether a ping through the tunnel is answered."""
        return self.host.run(["ping", "-nqc1", "-W1", other.inside], check=False).returncode == 0

    def sees(self, other: Side) -> ObservedPeer:
        """What the device shows of the other side."""
        return self.bench.device.read().peers[public_key(other.number)]


@pytest.fixture(params=REAL)
def sides(request: pytest.FixtureRequest) -> Iterator[tuple[Side, Side]]:
    """A side that is called, and one that calls it."""
    with Network(environment()) as network:
        yield Side(network, "called", request.param, 1), Side(network, "calling", request.param, 2)


def test_a_handshake_shows_its_time_the_endpoint_and_the_traffic_on_both_sides(sides: tuple[Side, Side]) -> None:
    called, calling = sides
    called.expect(calling, None)
    calling.expect(called, f"{called.outside}:{PORT}")
    assert called.sees(calling).latest_handshake is None
    assert calling.sees(called).latest_handshake is None
    before = time.time()
    wait_until(lambda: calling.reaches(called), 20, "a ping through the tunnel")
    for side, other in ((called, calling), (calling, called)):
        seen = side.sees(other)
        assert seen.latest_handshake is not None
        assert before - 2 < seen.latest_handshake < time.time() + 2
        assert seen.endpoint == Endpoint.parse(f"{other.outside}:{PORT}")
        assert seen.received > 0
        assert seen.sent > 0


def test_the_time_of_a_handshake_stands_still_while_time_goes_on(sides: tuple[Side, Side]) -> None:
    called, calling = sides
    called.expect(calling, None)
    calling.expect(called, f"{called.outside}:{PORT}")
    wait_until(lambda: calling.reaches(called), 20, "a ping through the tunnel")
    first, asked = called.sees(calling).latest_handshake, time.time()
    assert first is not None
    wait_until(lambda: time.time() > asked + 2.5, PATIENCE, "two seconds and a half")
    later = called.sees(calling).latest_handshake
    # A daemon that gives an age, read as a time or the other way round, would be off by far more.
    assert later is not None
    assert abs(later - first) < 1


def test_an_endpoint_that_was_learnt_outlives_a_change_of_the_peer(sides: tuple[Side, Side]) -> None:
    called, calling = sides
    called.expect(calling, None)
    calling.expect(called, f"{called.outside}:{PORT}")
    wait_until(lambda: calling.reaches(called), 20, "a ping through the tunnel")
    learnt = called.sees(calling).endpoint
    assert learnt is not None
    peer = WantedPeer(public_key(2), preshared_key(1), networks(f"{calling.inside}/32"), Endpoint.parse("192.0.2.9:9"))
    changed = peer._replace(persistent_keepalive=17)
    observed = bring(called.bench.device, WantedDevice(private_key(1), PORT, {peer.public_key: changed}))
    assert observed.peers[public_key(2)].persistent_keepalive == 17
    assert observed.peers[public_key(2)].endpoint == learnt
