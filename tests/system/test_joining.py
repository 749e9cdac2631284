"""Components join with nothing but their config.env, and reach each other through the hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.network import wait_until
from tests.contract.benches import KERNELS
from tests.system.daemons import DAEMONS, WIREGUARDS
from tests.system.traffic import BROKER, Flow, serve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.consortium import Consortium

pytestmark = pytest.mark.system


@pytest.mark.kernel
@pytest.mark.parametrize("wireguard", WIREGUARDS)
def test_components_behind_a_nat_and_in_the_open_reach_each_other_through_the_hub(consortium: Consortium) -> None:
    broker = consortium.joined("management", "mqtt")
    hidden = consortium.joined("node", "node1", nat=True)
    serve(broker)
    Flow(hidden).goes_on()
    assert broker.ping("10.221.0.2", deadline=5)
    peers = consortium.hub.peers()
    assert {peer["state"] for peer in peers.values()} == {"active"}
    # The hub sees the NAT's address, not the private one.
    assert peers["node1"]["endpoint"].startswith("198.18.")


@pytest.mark.kernel
@pytest.mark.parametrize("wireguard", WIREGUARDS)
def test_packets_of_the_whole_mtu_pass_from_component_to_component_and_larger_ones_are_refused(
    consortium: Consortium,
) -> None:
    consortium.joined("management", "mqtt")
    node = consortium.joined("node", "node1")
    # 1392 bytes, 8 of ICMP and 20 of IPv4 are the tunnel's MTU of 1420.
    whole = node.host.run(["ping", "-n", "-c", "3", "-i", "0.1", "-W", "5", "-s", "1392", "-M", "do", BROKER])
    assert " 0% packet loss" in whole.stdout
    larger = node.host.run(["ping", "-n", "-c", "1", "-W", "5", "-s", "1393", "-M", "do", BROKER], check=False)
    assert "mtu=1420" in larger.stdout + larger.stderr


MIXED = [
    ("boringtun", DAEMONS),
    *(pytest.param(kernel, DAEMONS[:2], marks=pytest.mark.kernel) for kernel in KERNELS),
    *(pytest.param("boringtun", (kernel,), marks=pytest.mark.kernel) for kernel in KERNELS),
]


@pytest.mark.parametrize(("wireguard", "others"), MIXED)
def test_components_of_different_make_join_one_hub(consortium: Consortium, others: Sequence[str]) -> None:
    for number, other in enumerate(others):
        component = consortium.component(f"node{number}", wireguard=other)
        component.enrol(consortium.hub, "node", f"node{number}")
        component.start()
        component.wait_joined()
    assert {peer["state"] for peer in consortium.hub.peers().values()} == {"active"}


def test_a_component_that_was_started_before_it_is_added_joins_once_it_is(consortium: Consortium) -> None:
    node = consortium.component("node1")
    node.receive_config(consortium.hub, "node", "node1")
    node.start()
    key = node.public_key()
    wait_until(lambda: key in node.log.read_text(), 20, "the component says its key")
    assert not node.ping()
    consortium.hub.configure("add", "node", "node1", key)
    node.wait_joined()


def test_a_component_waits_for_its_config_says_so_and_joins_when_it_comes(consortium: Consortium) -> None:
    node = consortium.component("node1")
    (node.folder / "config.env").write_text("")
    node.start()
    wait_until(lambda: "waiting for a good config.env" in node.log.read_text(), 20, "it says that the file is empty")
    (node.folder / "config.env").unlink()
    where = f"waiting for {node.folder / 'config.env'}"
    wait_until(lambda: where in node.log.read_text(), 20, "it says that the file is gone")
    node.enrol(consortium.hub, "node", "node1")
    node.wait_joined()


def test_a_component_follows_a_config_that_changes_while_it_runs(consortium: Consortium) -> None:
    broker = consortium.joined("management", "mqtt")
    node = consortium.joined("node", "node1")
    for command in (["removeconf", "node", "node1"], ["genconf", "node", "node2"]):
        consortium.hub.configure(*command)
    node.enrol(consortium.hub, "node", "node1")
    address = consortium.hub.peers()["node1"]["address"]
    assert address != "10.221.0.2"
    wait_until(lambda: broker.ping(address), 30, "the component answers at its new address")
    assert "config.env has changed" in node.log.read_text()


def test_a_bad_config_changes_nothing_while_the_component_runs(consortium: Consortium) -> None:
    node = consortium.joined("node", "node1")
    good = (node.folder / "config.env").read_text()
    (node.folder / "config.env").write_text(good.replace("VPN_SERVER_PSK", "SOMETHING_ELSE"))
    wait_until(lambda: "lacks VPN_SERVER_PSK" in node.log.read_text(), 20, "it says what is wrong")
    assert node.ping(deadline=5)


def test_two_ids_cannot_have_the_same_key(consortium: Consortium) -> None:
    node = consortium.joined("node", "node1")
    consortium.hub.configure("genconf", "node", "node2")
    refused = consortium.hub.configure("add", "node", "node2", node.public_key(), check=False)
    assert refused.returncode == 1
    assert "belongs to node node1" in refused.stderr
    assert node.ping(deadline=5)


@pytest.mark.kernel
def test_a_peer_cannot_send_from_the_address_of_another(consortium: Consortium) -> None:
    broker = consortium.joined("management", "mqtt")
    consortium.joined("node", "node1")
    node = consortium.joined("node", "node2")
    node.host.run(["ip", "address", "add", "10.221.0.2/32", "dev", "lo"])
    forged = node.host.run(["ping", "-n", "-c", "3", "-i", "0.1", "-W", "1", "-I", "10.221.0.2", BROKER], check=False)
    assert forged.returncode != 0
    assert node.ping(BROKER, deadline=5)
    assert broker.ping("10.221.0.2", deadline=5)
