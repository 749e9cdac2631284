"""Components and hubs whose addresses change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.network import wait_until
from tests.system.daemons import WIREGUARDS

if TYPE_CHECKING:
    from lab.consortium import Consortium

pytestmark = pytest.mark.system


@pytest.mark.kernel
@pytest.mark.parametrize("wireguard", WIREGUARDS)
def test_a_component_with_a_new_public_address_is_back_and_the_hub_knows_it(consortium: Consortium) -> None:
    node = consortium.joined("node", "node1")
    before = consortium.hub.peers()["node1"]["endpoint"]
    consortium.network.detach(node.host)
    address = consortium.network.attach(node.host)
    node.wait_joined(40)
    after = consortium.hub.peers()["node1"]["endpoint"]
    assert after != before
    assert after.startswith(f"{address}:")


def test_the_new_address_outlives_a_restart_of_the_hub(consortium: Consortium) -> None:
    node = consortium.joined("node", "node1")
    consortium.network.detach(node.host)
    address = consortium.network.attach(node.host)
    node.wait_joined(40)
    assert consortium.hub.stop() == 0
    consortium.hub.start()
    assert consortium.hub.peers()["node1"]["endpoint"].startswith(f"{address}:")
    node.wait_joined(40)


def test_a_component_finds_a_hub_that_moved_by_its_name(consortium: Consortium, tmp_path: object) -> None:
    hub = consortium.hub
    (hub.folder / "config.env").write_text("export VPN_SERVER_PUBLIC_ADDR=hub.example.org\n")
    node = consortium.component("node1")
    hosts = node.folder.with_name("hosts")
    hosts.write_text(f"{hub.address} hub.example.org\n")
    # The host has a mount namespace of its own: only there.
    node.host.run(["mount", "--bind", str(hosts), "/etc/hosts"])
    node.enrol(hub, "node", "node1")
    node.start()
    node.wait_joined()

    consortium.network.detach(hub.host)
    address = consortium.network.attach(hub.host)
    hosts.write_text(f"{address} hub.example.org\n")

    wait_until(lambda: f"hub.example.org is at {address}" in node.log.read_text(), 90, "the name is looked up again")
    node.wait_joined(40)


@pytest.mark.kernel
def test_a_hub_with_an_ipv6_address_only_is_joined(idle: Consortium) -> None:
    hub = idle.hub
    found = hub.host.run(["ip", "-6", "-brief", "address", "show", "dev", "eth0", "scope", "global"]).stdout.split()
    address = next(item for item in found if item.startswith("fd18:")).split("/")[0]
    hub.host.run(["ip", "-4", "address", "flush", "dev", "eth0"])
    (hub.folder / "config.env").write_text(f"export VPN_SERVER_PUBLIC_ADDR={address}\n")
    hub.start()
    node = idle.joined("node", "node1")
    assert f"[{address}]:51820" in (node.folder / "config.env").read_text()
    assert hub.peers()["node1"]["endpoint"].startswith("[fd18:")
