"""New keys for a component that stays joined, and a hub that moves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from lab.consortium import kill
from lab.network import wait_until
from tests.system.daemons import WIREGUARDS
from tests.system.traffic import Flow, serve

if TYPE_CHECKING:
    from lab.consortium import Component, Consortium

pytestmark = pytest.mark.system


def psk(component: Component) -> str:
    (line,) = (line for line in (component.folder / "config.env").read_text().splitlines() if "VPN_SERVER_PSK=" in line)
    return line


@pytest.mark.kernel
@pytest.mark.parametrize("wireguard", WIREGUARDS)
def test_a_running_flow_survives_new_keys(consortium: Consortium) -> None:
    hub = consortium.hub
    serve(consortium.joined("management", "mqtt"))
    node = consortium.joined("node", "node1")
    flow = Flow(node)
    before, secret = node.public_key(), psk(node)
    said = hub.configure("rotate", "node", "node1").stdout
    wait_until(lambda: node.public_key() != before, 20, "the component knows that the hub has its new key")
    after = node.public_key()
    assert f"has a new key {after} and a new preshared key" in said
    flow.goes_on()
    wait_until(lambda: psk(node) != secret, 10, "config.env has the new preshared key")
    assert hub.peers()["node1"]["public_key"] == after
    assert before not in hub.host.run(["wg", "show", "wg0", "allowed-ips"]).stdout
    # What it has now is what it restarts with.
    node.stop()
    node.start()
    node.wait_joined()


@pytest.mark.parametrize("when", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("side", ["component", "hub"])
def test_killed_at_any_point_the_component_is_in_with_the_old_or_the_new_keys(
    consortium: Consortium, side: str, when: float
) -> None:
    hub, node = consortium.hub, consortium.joined("node", "node1")
    before = node.public_key()
    hub.configure("rotate", "node", "node1", "--wait", "0")
    keys = node.folder / "wireguard" / "next-keys"
    wait_until(lambda: keys.exists() or node.public_key() != before, 30, "it begins")
    time.sleep(when)
    victim = hub.process if side == "hub" else node.process
    assert victim is not None
    kill(victim.pid)
    victim.wait()
    if side == "hub":
        hub.start()
    else:
        node.start()
    node.wait_joined(60)
    wait_until(lambda: node.public_key() != before, 60, "it goes on until it has new keys")
    wait_until(lambda: hub.peers()["node1"]["public_key"] == node.public_key(), 10, "the hub has the same")
    node.wait_joined(30)


def test_a_component_that_is_away_makes_new_keys_when_it_is_back(consortium: Consortium) -> None:
    hub, node = consortium.hub, consortium.joined("node", "node1")
    before = node.public_key()
    node.stop()
    done = hub.configure("rotate", "node", "node1", "--wait", "0.5", check=False)
    assert (done.returncode, "keeps its old ones until it does" in done.stdout) == (1, True)
    node.start()
    node.wait_joined()
    wait_until(lambda: hub.peers()["node1"]["public_key"] != before, 40, "it has new keys")
    node.wait_joined()


def test_components_follow_the_hub_to_its_new_address_also_those_that_were_away(consortium: Consortium) -> None:
    hub = consortium.hub
    here, away = consortium.joined("node", "here"), consortium.joined("node", "away")
    away.stop()
    # The hub's host has both addresses for a while, and the old one goes.
    prefix = hub.address.rpartition(".")[0]
    new = f"{prefix}.250"
    # Else Linux takes the later addresses of a network away with the first one, and the routes with them.
    hub.host.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/promote_secondaries"])
    hub.host.run(["ip", "address", "add", f"{new}/24", "dev", "eth0"])
    assert f"would be told that the hub is at {new}:51820" in hub.configure("move-hub", new, "--dry-run").stdout
    hub.configure("move-hub", new)
    assert f"VPN_SERVER_PUBLIC_ADDR={new}" in (hub.folder / "config.env").read_text()
    away.start()
    for component in (here, away):
        path = component.folder / "config.env"
        wait_until(lambda path=path: f"VPN_SERVER_ENDPOINT={new}:51820" in path.read_text(), 60, "it has been told")
    hub.host.run(["ip", "address", "del", f"{hub.address}/24", "dev", "eth0"])
    for component in (here, away):
        component.wait_joined(90)
    # One whose hub has not moved after all finds it where it was.
    here.stop()
    hub.host.run(["ip", "address", "add", f"{hub.address}/24", "dev", "eth0"])
    hub.host.run(["ip", "address", "del", f"{new}/24", "dev", "eth0"])
    here.start()
    here.wait_joined(30)
