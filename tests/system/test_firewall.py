"""Who reaches whom through the hub: real packets, real rules."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import pytest

from lab.consortium import kill, script
from lab.network import wait_until
from tests.system.daemons import WIREGUARDS
from tests.system.traffic import BROKER, UNDER_WAY, Flow, reaches, serve, serve_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.consortium import Consortium, Hub

pytestmark = pytest.mark.system

HUB = "10.220.0.1"
TABLE = "inet fedbiomed_vpn"
PATIENCE = 20


def denied(hub: Hub) -> dict[tuple[str, str], int]:
    """How many packets were denied, by pair; pairs without any left out."""
    found = json.loads(hub.configure("policy", "--json").stdout)["denied"]
    return {(item["from"], item["to"]): item["packets"] for item in found if item["packets"]}


def health(hub: Hub) -> str:
    return hub.host.run([*script("vpn_server"), "health"], check=False).stdout.strip()


def hangup(hub: Hub) -> None:
    from signal import SIGHUP

    assert hub.process is not None
    kill(hub.process.pid, SIGHUP)


def listing(hub: Hub, table: str = TABLE) -> str:
    return hub.host.run(["nft", "--stateless", "list", "table", *table.split()], check=False).stdout


class Programs:
    """An ``nft`` of the test's own before the real one on the hub's PATH."""

    def __init__(self, hub: Hub) -> None:
        self.real = hub.host.run(["which", "nft"]).stdout.strip()
        folder = hub.folder.with_name("programs")
        folder.mkdir()
        self.record = folder / "record"
        self._program = folder / "nft"
        hub.host.environ["PATH"] = f"{folder}:{hub.host.environ['PATH']}"

    def be(self, *lines: str) -> None:
        """The program is this shell script from now on."""
        fresh = self._program.with_name("fresh")
        fresh.write_text("\n".join(["#!/bin/sh", *lines, ""]))
        fresh.chmod(0o755)
        fresh.rename(self._program)

    def be_real(self) -> None:
        """The program is the real one from now on."""
        self.be(f'exec {self.real} "$@"')


@pytest.mark.kernel
@pytest.mark.parametrize("wireguard", WIREGUARDS)
def test_a_node_reaches_the_broker_and_nothing_else(consortium: Consortium) -> None:
    hub = consortium.hub
    broker, node = consortium.joined("management", "mqtt"), consortium.joined("node", "node1")
    other = consortium.joined("node", "node2")
    serve(broker, 1883, 22)
    serve(other, 1883, 22)
    serve(node, 40001)
    assert denied(hub) == {}

    assert reaches(node.host, BROKER, 1883)
    assert node.ping(BROKER)
    assert not reaches(node.host, BROKER, 22)
    assert not reaches(node.host, "10.221.0.3", 1883)
    assert not reaches(node.host, "10.221.0.3", 22)
    assert not node.ping("10.221.0.3")
    assert not reaches(broker.host, "10.221.0.2", 40001)
    assert reaches(node.host, "10.221.0.2", 40001), "it listens"

    counted = denied(hub)
    assert set(counted) == {("node", "mqtt"), ("node", "node"), ("mqtt", "node")}
    assert "DENIED FROM" in hub.configure("policy").stdout


@pytest.mark.kernel
def test_researchers_reach_the_services_and_nodes_the_researcher(consortium: Consortium) -> None:
    hub = consortium.hub
    names = [("management", "restful"), ("management", "other"), ("node", "node1")]
    names += [("researcher", "one"), ("researcher", "two")]
    restful, other, node, one, two = (consortium.joined(*name) for name in names)
    serve(restful, 8000, 1883)
    serve(other, 8000)
    serve(node, 50051)
    serve(one, 50051, 8888)
    serve(two, 50051)

    assert reaches(one.host, "10.220.0.3", 8000)
    assert reaches(node.host, "10.220.0.3", 8000)
    assert reaches(node.host, "10.222.0.2", 50051)
    assert one.ping("10.221.0.2")
    assert not reaches(one.host, "10.220.0.3", 1883)
    assert not reaches(one.host, "10.220.0.4", 8000)
    assert not reaches(one.host, "10.221.0.2", 50051)
    assert not reaches(node.host, "10.222.0.2", 8888)
    assert not reaches(one.host, "10.222.0.3", 50051)
    assert not one.ping("10.222.0.3")
    assert set(denied(hub)) == {
        ("researcher", "restful"),
        ("researcher", "management"),
        ("researcher", "node"),
        ("node", "researcher"),
        ("researcher", "researcher"),
    }


@pytest.mark.kernel
def test_nobody_reaches_the_hub_itself_but_with_echo(consortium: Consortium) -> None:
    hub, node = consortium.hub, consortium.joined("node", "node1")
    serve_on(hub.host, 8080, hub.folder.with_name("hub.serve"))
    serve(node, 8081)
    assert node.ping(HUB)
    assert not reaches(node.host, HUB, 8080)
    # By the address that it has in the internet the hub is as reachable as before, and on its own machine.
    assert reaches(node.host, hub.address, 8080)
    assert reaches(hub.host, HUB, 8080)
    assert reaches(hub.host, "10.221.0.2", 8081), "what the hub begins is answered"
    assert set(denied(hub)) == {("node", "hub")}


def test_the_word_that_makes_the_tunnel_work_is_answered(consortium: Consortium) -> None:
    node = consortium.joined("node", "node1")
    code = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(10);"
        f" s.connect(('{HUB}', 9)); s.send(b'x'); s.recv(1)"
    )
    assert "ConnectionRefusedError" in node.host.run([sys.executable, "-c", code], check=False).stderr
    assert denied(consortium.hub) == {}


def test_a_source_of_the_vpn_that_does_not_come_out_of_wg0_is_dropped(consortium: Consortium) -> None:
    hub, broker = consortium.hub, consortium.joined("management", "mqtt")
    serve(broker)
    stranger = consortium.network.host("stranger")
    stranger.run(["ip", "address", "add", "10.221.0.2/32", "dev", "lo"])
    # Everything on the way is on the stranger's side.
    consortium.network.router.run(["ip", "route", "add", "10.220.0.0/14", "via", hub.address])
    stranger.run(["ping", "-c", "1", "-W", "0.5", "-I", "10.221.0.2", BROKER], check=False)
    stranger.run(["ping", "-c", "1", "-W", "0.5", "-I", "10.221.0.2", hub.address], check=False)
    assert denied(hub) == {("spoofed", "any"): 2}
    assert not reaches(stranger, BROKER, 1883)
    assert not reaches(stranger, HUB, 22)
    assert set(denied(hub)) == {("spoofed", "any"), ("outside", "any")}


def test_a_source_of_no_role_is_dropped_though_it_comes_out_of_wg0(consortium: Consortium) -> None:
    """As if somebody had got a peer into wg0 by hand: the hub is held, else it takes it out again.

    The address is one of those that invitations get: nobody of the VPN may have it for more than enrolling.
    """
    from signal import SIGSTOP

    hub, broker = consortium.hub, consortium.joined("management", "mqtt")
    serve(broker)
    stranger = consortium.component("stranger")
    stranger.receive_config(hub, "node", "stranger")
    config = stranger.folder / "config.env"
    text = config.read_text()
    secret = next(line for line in text.splitlines() if "VPN_SERVER_PSK=" in line).partition("PSK=")[2].strip("'")
    config.write_text(text.replace("VPN_IP=10.221.0.2", "VPN_IP=10.223.0.9"))
    assert hub.process is not None
    kill(hub.process.pid, SIGSTOP)
    peer = ["peer", stranger.public_key(), "preshared-key", "/dev/stdin", "allowed-ips", "10.223.0.9/32"]
    hub.host.run(["wg", "set", "wg0", *peer], input=secret)
    stranger.start()
    wait_until(
        lambda: stranger.host.run([*script("vpn_client"), "health"], check=False).returncode == 0, 40, "it joins"
    )
    assert not stranger.ping(HUB)
    assert not reaches(stranger.host, BROKER, 1883)
    assert denied(hub)["invited", "any"] >= 2


def test_another_policy_is_in_force_after_sighup_and_cuts_what_runs(consortium: Consortium) -> None:
    hub, broker = consortium.hub, consortium.joined("management", "mqtt")
    node = consortium.joined("node", "node1")
    serve(broker, 1883, 8883)
    flow = Flow(node)
    policy = hub.folder / "policy.toml"
    policy.write_text('[[allow]]\nfrom = "node"\nto = "mqtt"\ntcp = [8883]\n')
    assert "is not in force yet" in hub.configure("policy").stderr
    hangup(hub)
    wait_until(lambda: not hub.configure("policy").stderr, PATIENCE, "the policy is in force")
    moment = time.time() + UNDER_WAY

    assert reaches(node.host, BROKER, 8883)
    assert not reaches(node.host, BROKER, 1883)
    assert hub.configure("policy", "check", "node/node1", "management/mqtt", "1883", check=False).returncode == 1
    assert flow.count_after(moment) == 0
    assert health(hub) == "healthy"

    policy.unlink()
    hangup(hub)
    flow.goes_on()


def test_an_invalid_policy_keeps_the_rules_and_makes_the_hub_unhealthy_until_it_is_valid(
    consortium: Consortium,
) -> None:
    hub, broker = consortium.hub, consortium.joined("management", "mqtt")
    node = consortium.joined("node", "node1")
    serve(broker)
    before = listing(hub)
    (hub.folder / "policy.toml").write_text('[[allow]]\nfrom = "node"\nto = "nowhere"\ntcp = [1]\n')
    hangup(hub)
    wait_until(lambda: "policy.toml, line 3: to = `nowhere`" in health(hub), PATIENCE, "the hub is unhealthy")
    assert listing(hub) == before
    assert reaches(node.host, BROKER, 1883)
    # A hub that is started on it goes by the rules that it had, too.
    hub.stop()
    hub.start()
    assert listing(hub) == before
    assert "policy.toml, line 3" in health(hub)
    (hub.folder / "policy.toml").unlink()
    hangup(hub)
    wait_until(lambda: health(hub) == "healthy", PATIENCE, "the hub has healed")


@pytest.mark.kernel
def test_rules_are_in_force_before_wg0_is_there_and_go_after_it(idle: Consortium) -> None:
    hub, programs = idle.hub, Programs(idle.hub)
    programs.be(f"ip -brief link show wg0 >> {programs.record} 2>&1", f'exec {programs.real} "$@"')
    hub.start()
    assert listing(hub)
    assert "does not exist" in programs.record.read_text().splitlines()[0]
    programs.record.unlink()
    assert hub.stop() == 0
    assert "does not exist" in programs.record.read_text().splitlines()[-1]
    assert listing(hub) == ""


@pytest.mark.parametrize(
    "lines",
    [
        ("exit 1",),
        ("echo Error: Could not process rule: Operation not supported >&2", "exit 1"),
    ],
)
def test_a_hub_whose_rules_cannot_be_loaded_forwards_nothing_and_heals(idle: Consortium, lines: Sequence[str]) -> None:
    hub, programs = idle.hub, Programs(idle.hub)
    programs.be(*lines)
    hub.start()
    broker, node = idle.joined("management", "mqtt"), idle.joined("node", "node1")
    serve(broker)
    assert not node.ping(BROKER)
    assert not reaches(node.host, BROKER, 1883)
    assert hub.host.run(["cat", "/proc/sys/net/ipv4/conf/wg0/forwarding"]).stdout == "0\n"
    assert health(hub).startswith("unhealthy: ")
    assert "nf" in health(hub)

    programs.be_real()
    wait_until(lambda: health(hub) == "healthy", PATIENCE, "the hub has healed")
    assert reaches(node.host, BROKER, 1883)


def test_a_hub_that_can_neither_load_rules_nor_stop_forwarding_keeps_wg0_down(idle: Consortium) -> None:
    """As in a container that has net.ipv4.ip_forward=1 and a read-only /proc/sys."""
    hub, programs = idle.hub, Programs(idle.hub)
    hub.host.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
    hub.host.run(["mount", "--bind", "/proc/sys", "/proc/sys"])
    hub.host.run(["mount", "-o", "remount,ro,bind", "/proc/sys"])
    programs.be("exit 1")
    hub.process = hub.host.start(script("vpn_server"), log=hub.log)
    wait_until(lambda: "wg0 stays down" in health(hub), PATIENCE, "the hub says why")
    assert "UP" not in hub.host.run(["ip", "-brief", "link", "show", "wg0"], check=False).stdout

    programs.be_real()
    wait_until(lambda: health(hub) == "healthy", PATIENCE, "the hub has healed")
    broker, node = idle.joined("management", "mqtt"), idle.joined("node", "node1")
    serve(broker)
    assert reaches(node.host, BROKER, 1883)

    programs.be("exit 1")
    hub.host.run([programs.real, "delete", "table", *TABLE.split()])
    wait_until(lambda: "wg0 stays down" in health(hub), PATIENCE, "the hub is closed again")
    assert not reaches(node.host, BROKER, 1883)


def test_a_hub_whose_nft_hangs_stops_all_the_same(idle: Consortium) -> None:
    hub, programs = idle.hub, Programs(idle.hub)
    programs.be_real()
    hub.start()
    programs.be("exec sleep 60")
    assert hub.stop() == 0
    assert "the firewall's table stays" in hub.log.read_text()


@pytest.mark.parametrize(
    "change",
    ["delete table inet fedbiomed_vpn", "flush table inet fedbiomed_vpn"],
)
def test_a_table_that_was_changed_by_hand_is_put_back_and_others_are_left_alone(
    consortium: Consortium, change: str
) -> None:
    hub = consortium.hub
    other = "table inet other {\n\tchain forward {\n\t\ttype filter hook forward priority 5; policy accept;\n\t}\n}\n"
    hub.host.run(["nft", "-f", "-"], input=other)
    before, strangers = listing(hub), listing(hub, "inet other")
    assert before
    hub.host.run(["nft", change])
    wait_until(lambda: listing(hub) == before, PATIENCE, "the table is back")
    assert "putting it back" in hub.log.read_text()
    assert hub.stop() == 0
    assert listing(hub) == ""
    assert listing(hub, "inet other") == strangers != ""


@pytest.mark.kernel
def test_a_hub_that_is_killed_leaves_its_rules_and_the_next_one_takes_over(consortium: Consortium) -> None:
    hub = consortium.hub
    before = listing(hub)
    assert hub.process is not None
    kill(hub.process.pid)
    hub.process.wait(10)
    assert listing(hub) == before
    hub.start()
    assert listing(hub) == before
    assert health(hub) == "healthy"
