"""A component's own firewall: applications answer in the VPN, and nothing leaks past the tunnel."""

from __future__ import annotations

import signal
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.consortium import kill, script
from lab.network import wait_until
from tests.system.traffic import reaches, serve

if TYPE_CHECKING:
    from lab.consortium import Component, Consortium
    from lab.network import Host

pytestmark = pytest.mark.system

VPN = ip_network("10.220.0.0/14")
TABLE = ["nft", "list", "table", "inet", "fedbiomed_vpn"]


def joined(consortium: Consortium, peer_type: str, peer_id: str, *application: str, **environ: str) -> Component:
    """A component that has joined, with these variables."""
    component = consortium.component(peer_id)
    component.host.environ.update(environ)
    if Path("/etc/protocols").exists():
        # Small images have none, and nft would look names up in it.
        component.host.run(["mount", "--bind", "/dev/null", "/etc/protocols"])
    component.enrol(consortium.hub, peer_type, peer_id)
    component.start(*application)
    component.wait_joined()
    return component


def outside_address(component: Component) -> str:
    shown = component.host.run(["ip", "-4", "-brief", "address", "show", "eth0"]).stdout
    return shown.split()[2].split("/")[0]


def leaked(router: Host) -> int:
    """How many packets for the VPN the internet has seen."""
    listed = router.run(["nft", "list", "counter", "inet", "leak", "seen"]).stdout
    return int(listed.split("packets ")[1].split()[0])


def test_an_application_answers_in_the_vpn_only_but_for_published_ports(consortium: Consortium) -> None:
    node = joined(consortium, "node", "node1")
    researcher = joined(consortium, "researcher", "researcher1", VPN_PUBLISHED_PORTS="8888")
    open_to_all = joined(consortium, "researcher", "researcher2", VPN_COMPONENT_FIREWALL="off")
    serve(researcher, 50051, 8888)
    serve(open_to_all, 50051)
    outside = consortium.network.host("outside")
    assert reaches(outside, outside_address(open_to_all), 50051), "without the firewall it answers everywhere"
    assert open_to_all.host.run(TABLE, check=False).returncode != 0

    address = outside_address(researcher)
    assert reaches(node.host, "10.222.0.2", 50051)
    assert reaches(outside, address, 8888)
    assert not reaches(outside, address, 50051)
    # The address in the VPN, from beside it.
    consortium.network.router.run(["ip", "route", "add", "10.222.0.2/32", "via", address])
    assert not reaches(outside, "10.222.0.2", 8888)


def test_a_component_is_back_when_its_hub_has_restarted(consortium: Consortium) -> None:
    hub, node = consortium.hub, joined(consortium, "node", "node1")
    wait_until(lambda: hub.remembers(1), 40, "the hub has saved where its peer is")
    assert hub.stop() == 0
    hub.start()
    node.wait_joined(40)


def test_nothing_for_the_vpn_leaves_by_another_way_while_the_tunnel_is_down(consortium: Consortium) -> None:
    node, router = joined(consortium, "node", "node1"), consortium.network.router
    rules = (
        "table inet leak { counter seen { }; chain before { type filter hook prerouting priority 0;"
        f" ip daddr {VPN} counter name seen; }}; }}"
    )
    router.run(["nft", "-f", "-"], input=rules)
    # Its daemon would have wg0 back in a moment.
    assert node.process is not None
    kill(node.process.pid, signal.SIGSTOP)
    node.host.run(["ip", "link", "del", "wg0"])
    assert not node.ping()
    assert leaked(router) == 0
    assert "packets 1 " in node.host.run(["nft", "list", "counter", "inet", "fedbiomed_vpn", "denied_out"]).stdout

    # Without the table the same ping does leave.
    node.host.run(["nft", "delete", "table", "inet", "fedbiomed_vpn"])
    assert not node.ping()
    assert leaked(router) > 0

    # And the daemon puts both back.
    kill(node.process.pid, signal.SIGCONT)
    node.wait_joined(40)
    wait_until(lambda: node.host.run(TABLE, check=False).returncode == 0, 20, "the table is back")


def test_a_table_that_somebody_removes_is_put_back_and_the_end_leaves_none(consortium: Consortium) -> None:
    node = joined(consortium, "node", "node1")
    node.host.run(["nft", "add", "table", "inet", "somebody_s"])
    node.host.run(["nft", "delete", "table", "inet", "fedbiomed_vpn"])
    health = [*script("vpn_client"), "health"]
    assert node.host.run(health, check=False).stdout == (
        "unhealthy: the component's firewall is not loaded; look at the log\n"
    )
    wait_until(lambda: node.host.run(TABLE, check=False).returncode == 0, 20, "the table is back")
    assert "was changed or removed by somebody" in node.log.read_text()
    assert node.host.run(health).stdout == "healthy\n"
    assert node.stop() == 0
    assert node.host.run(["nft", "list", "tables"]).stdout == "table inet somebody_s\n"


def test_no_application_starts_without_its_firewall(consortium: Consortium) -> None:
    node = consortium.component("node1")
    tools = node.folder.with_name("tools")
    tools.mkdir()
    (tools / "nft").write_text("#!/bin/sh\necho Error: out of order >&2\nexit 1\n")
    (tools / "nft").chmod(0o755)
    node.host.environ["PATH"] = f"{tools}:{node.host.environ['PATH']}"
    node.enrol(consortium.hub, "node", "node1")
    node.start("sh", "-c", "echo it runs; exec sleep 1000")
    node.wait_joined()
    wait_until(lambda: "joined: the hub answers" in node.log.read_text(), 20, "it has joined")
    wait_until(lambda: "does not start without the component's firewall" in node.log.read_text(), 20, "it says so")
    assert "it runs" not in node.log.read_text()
    (tools / "nft").unlink()
    wait_until(lambda: "it runs" in node.log.read_text(), 20, "it starts once the rules are loaded")
