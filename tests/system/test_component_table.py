"""A component's table in a real component: applications answer in the VPN, and nothing leaks past the tunnel."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from lab.network import wait_until
from tests.system.traffic import reaches, serve
from vpn.lib.nft.component_table import component_table

if TYPE_CHECKING:
    from lab.consortium import Component, Consortium
    from lab.network import Host

pytestmark = pytest.mark.system

VPN = ip_network("10.220.0.0/14")


def protect(component: Component, *published: int) -> None:
    """Load the table as the component's daemon would."""
    port = int(component.host.run(["wg", "show", "wg0", "listen-port"]).stdout)
    component.host.run(["nft", "-f", "-"], input=component_table("wg0", [VPN], port, published))


def leaked(router: Host) -> int:
    """How many packets for the VPN the internet has seen."""
    listed = router.run(["nft", "list", "counter", "inet", "leak", "seen"]).stdout
    return int(listed.split("packets ")[1].split()[0])


def test_an_application_answers_in_the_vpn_only_but_for_published_ports(consortium: Consortium) -> None:
    node, researcher = consortium.joined("node", "node1"), consortium.joined("researcher", "researcher1")
    serve(researcher, 50051, 8888)
    outside = consortium.network.host("outside")
    shown = researcher.host.run(["ip", "-4", "-brief", "address", "show", "eth0"]).stdout
    address = shown.split()[2].split("/")[0]
    assert reaches(outside, address, 50051), "without the table it answers everywhere"

    protect(researcher, 8888)
    assert reaches(node.host, "10.222.0.2", 50051)
    assert reaches(outside, address, 8888)
    assert not reaches(outside, address, 50051)
    # The address in the VPN, from beside it.
    consortium.network.router.run(["ip", "route", "add", "10.222.0.2/32", "via", address])
    assert not reaches(outside, "10.222.0.2", 8888)


def test_a_protected_component_is_back_when_its_hub_has_restarted(consortium: Consortium) -> None:
    hub, node = consortium.hub, consortium.joined("node", "node1")
    protect(node)
    wait_until(lambda: hub.remembers(1), 40, "the hub has saved where its peer is")
    assert hub.stop() == 0
    hub.start()
    node.wait_joined(40)


def test_nothing_for_the_vpn_leaves_by_another_way_while_the_tunnel_is_down(consortium: Consortium) -> None:
    node, router = consortium.joined("node", "node1"), consortium.network.router
    rules = (
        "table inet leak { counter seen { }; chain before { type filter hook prerouting priority 0;"
        f" ip daddr {VPN} counter name seen; }}; }}"
    )
    router.run(["nft", "-f", "-"], input=rules)
    protect(node)
    assert node.stop() == 0
    assert not node.ping()
    assert leaked(router) == 0
    assert "packets 1 " in node.host.run(["nft", "list", "counter", "inet", "fedbiomed_vpn", "denied_out"]).stdout

    # Without the table the same ping does leave.
    node.host.run(["nft", "delete", "table", "inet", "fedbiomed_vpn"])
    assert not node.ping()
    assert leaked(router) > 0
