"""``vpn_client doctor``: each finding, caused."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest

from lab.consortium import kill, script
from lab.network import wait_until
from tests.fakes.raw_uapi import ask
from tests.registry.snapshot import snapshot
from tests.system.daemons import WIREGUARDS
from tests.system.doctoring import Answering, doctor, failures, uapi, wait_for
from tests.system.traffic import serve
from vpn.lib.wireguard.keys import PublicKey

if TYPE_CHECKING:
    from pathlib import Path

    from lab.consortium import Component, Consortium, Hub
    from lab.network import Host

pytestmark = pytest.mark.system


def frozen(component: Component) -> None:
    """Stop the component's daemon, which would repair what a test breaks; its WireGuard goes on."""
    assert component.process is not None
    kill(component.process.pid, signal.SIGSTOP)


def thawed(component: Component) -> None:
    assert component.process is not None
    kill(component.process.pid, signal.SIGCONT)


def rewrite(component: Component, before: str, after: str) -> None:
    """Change the component's config.env."""
    path = component.folder / "config.env"
    text = path.read_text()
    assert re.search(before, text)
    path.write_text(re.sub(before, after, text))


def names(host: Host, folder: Path, **addresses: str) -> Path:
    """Let the host know these names, and ask nobody else for names."""
    hosts = folder.with_name(f"{host.name}.hosts")
    hosts.write_text("".join(f"{address} {name}.example\n" for name, address in addresses.items()))
    (folder.with_name("nsswitch.conf")).write_text("hosts: files\n")
    for path in (hosts, folder.with_name("nsswitch.conf")):
        target = "/etc/hosts" if path == hosts else "/etc/nsswitch.conf"
        host.run(["mount", "--bind", str(path), target])
    return hosts


def waiting(consortium: Consortium) -> Component:
    """A component that runs and whose key the hub does not know."""
    node = consortium.component("node1")
    node.receive_config(consortium.hub, "node", "node1")
    node.start()
    wait_until(uapi(node.host).exists, 20, "wg0 is up")
    return node


def at_work(consortium: Consortium) -> Component:
    """A component whose application runs, and that notices within seconds when its hub is silent."""
    node = consortium.component("node1")
    node.host.run(["sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647"])
    node.enrol(consortium.hub, "node", "node1")
    node.start("sleep", "1000")
    wait_for(node, "application", "ok", "sleep runs")
    return node


@pytest.mark.parametrize("wireguard", WIREGUARDS)
def test_all_is_well_and_nothing_is_changed(consortium: Consortium) -> None:
    serve(consortium.joined("management", "mqtt"))
    serve(consortium.joined("management", "restful"), 8000)
    node = at_work(consortium)
    before = snapshot(node.folder)
    found = doctor(node)
    assert snapshot(node.folder) == before
    assert failures(found) == {}
    assert {check for check, said in found.items() if said.state == "skipped"} == set()
    assert "packets of 1420 bytes pass to 10.220.0.1" in found["mtu"].message
    assert "answers this component" in found["udp"].message
    text = node.host.run([*script("vpn_client"), "doctor"]).stdout
    assert text.count("\n") == len(found)
    assert re.search(r"^ok    broker +the broker at 10\.220\.0\.2:1883 takes connections$", text, re.M)


@pytest.mark.parametrize("wireguard", WIREGUARDS)
def test_a_key_that_is_not_added_is_told_with_the_command_that_adds_it(consortium: Consortium) -> None:
    node = waiting(consortium)
    said = wait_for(node, "handshake", "failed", ", nothing received: ").message
    assert "most likely this component's key is not added on the hub" in said
    assert "VPN_SERVER_PUBLIC_KEY in config.env is not the hub's" in said
    command = re.search(r"there run: configure_peer\.py (add node node1 \S{44});", said)
    assert command is not None, said
    found = doctor(node)
    assert found["udp"].state == "ok"
    assert found["broker"] == ("skipped", "not looked at, since `handshake` failed")
    consortium.hub.configure(*command[1].split())
    wait_for(node, "handshake", "ok")


def test_an_invitation_that_was_taken_back(consortium: Consortium) -> None:
    hub, node = consortium.hub, consortium.component("node1")
    hub.configure("genconf", "node", "node1", "--invite")
    text = (hub.folder / "config_peers/node/node1/config.env").read_text()
    (node.folder / "config.env").write_text(text)
    hub.configure("genconf", "node", "node1", "--invite")
    node.start()
    said = wait_for(node, "handshake", "failed", "none by this invitation").message
    assert "on the hub run: configure_peer.py genconf node node1 --invite and copy the new config.env" in said


def test_a_service_is_told_by_the_first_line_of_config_env(consortium: Consortium) -> None:
    broker = consortium.component("mqtt")
    broker.receive_config(consortium.hub, "management", "mqtt")
    broker.start()
    said = wait_for(broker, "handshake", "failed", "none, nothing received").message
    assert f"configure_peer.py add management mqtt {broker.public_key()}" in said


def test_a_hub_that_is_down_refuses_the_port(consortium: Consortium) -> None:
    node = consortium.joined("node", "node1")
    consortium.hub.stop()
    said = wait_for(node, "udp", "failed").message
    assert re.search(
        r"UDP port 51820 of 198\.18\.\d+\.2 is refused \(ICMP port unreachable\): nobody listens there", said
    )
    assert doctor(node)["handshake"].state == "skipped"


def test_a_hub_that_is_down_refuses_the_port_over_ipv6_too(consortium: Consortium) -> None:
    node = consortium.component("node1")
    node.enrol(consortium.hub, "node", "node1")
    shown = consortium.hub.host.run(["ip", "-6", "-brief", "address", "show", "eth0", "scope", "global"]).stdout
    address = shown.split()[2].partition("/")[0]
    rewrite(node, r"ENDPOINT=\S+", f"ENDPOINT=[{address}]:51820")
    assert "does not refuse packets" in doctor(node)["udp"].message
    consortium.hub.stop()
    assert f"UDP port 51820 of {address} is refused" in doctor(node)["udp"].message
    node.host.run(["ip", "-6", "route", "del", "default"])
    assert f"this machine has no IPv6 route to {address}" in doctor(node)["route"].message


def test_a_firewall_that_drops_is_suspected_where_the_hub_has_answered_before(consortium: Consortium) -> None:
    node = at_work(consortium)
    rules = "table inet lab { chain drops { type filter hook forward priority 0; udp dport 51820 drop; }; }"
    consortium.network.router.run(["nft", "-f", "-"], input=rules)
    said = wait_for(node, "handshake", "failed").message
    assert re.search("nothing .*: most likely UDP port 51820 of .* is closed by a firewall on the way", said)
    found = doctor(node)
    assert "does not refuse packets" in found["udp"].message
    assert found["mtu"].state == "skipped"


def test_a_firewall_that_rejects_is_named(consortium: Consortium) -> None:
    node = waiting(consortium)
    rules = (
        "table inet lab { chain rejects { type filter hook forward priority 0;"
        " udp dport 51820 reject with icmp admin-prohibited; }; }"
    )
    consortium.network.router.run(["nft", "-f", "-"], input=rules)
    said = wait_for(node, "udp", "failed").message
    assert re.search(r"is unreachable, says 198\.18\.\d+\.1: a router has no way to it or a firewall rejects it", said)


def test_a_hub_s_machine_that_is_off_is_unreachable(consortium: Consortium) -> None:
    node = waiting(consortium)
    consortium.network.detach(consortium.hub.host)
    consortium.network.router.run(["ip", "route", "add", "unreachable", consortium.hub.address])
    assert "is unreachable, says 198.18." in wait_for(node, "udp", "failed").message


def test_a_gateway_that_is_off(consortium: Consortium) -> None:
    node = waiting(consortium)
    number = outside(node).split(".")[2]
    consortium.network.router.run(["ip", "link", "set", f"port{number}", "down"])
    node.host.run(["ip", "link", "set", "eth0", "up"])
    said = wait_for(node, "udp", "failed").message
    assert "is unreachable: the next machine on the way does not answer; is the gateway on?" in said


def test_no_route(consortium: Consortium) -> None:
    node = waiting(consortium)
    node.host.run(["ip", "route", "del", "default"])
    found = doctor(node)
    assert found["route"].state == "failed"
    assert "this machine has no route to 198.18." in found["route"].message
    assert found["udp"] == ("skipped", "not looked at, since `route` failed")


def test_a_firewall_of_this_machine_that_forbids_it(consortium: Consortium) -> None:
    node = waiting(consortium)
    rules = "table inet lab { chain out { type filter hook output priority 0; udp dport 51820 drop; }; }"
    node.host.run(["nft", "-f", "-"], input=rules)
    assert "this machine's own firewall forbids it" in wait_for(node, "udp", "failed").message


def test_a_hub_inside_of_the_vpn_s_own_network(consortium: Consortium) -> None:
    node = consortium.component("node1")
    node.receive_config(consortium.hub, "node", "node1")
    rewrite(node, r"ENDPOINT=\S+", "ENDPOINT=10.223.0.9:51820")
    node.start()
    said = wait_for(node, "route", "failed").message
    assert "the hub's public address 10.223.0.9 lies inside the VPN" in said


@pytest.mark.parametrize("wireguard", WIREGUARDS)
def test_another_preshared_key(consortium: Consortium) -> None:
    node = consortium.component("node1")
    node.enrol(consortium.hub, "node", "node1")
    rewrite(node, r"PSK=\S+", "PSK=ptpONlXkNixtdAo/qKwzIF6LnDIsrXOOc/4Dmzvggq0=")
    node.start()
    said = wait_for(node, "handshake", "failed", "answers").message
    assert "config.env does not fit what the hub has registered (VPN_SERVER_PSK, VPN_IP)" in said


def test_another_key_of_the_hub_is_silence_and_suspected_last(consortium: Consortium) -> None:
    node = consortium.component("node1")
    node.enrol(consortium.hub, "node", "node1")
    rewrite(node, r"PUBLIC_KEY=\S+", f"PUBLIC_KEY={node.public_key()}")
    node.start()
    said = wait_for(node, "handshake", "failed", "none, nothing received").message
    assert said.endswith(
        "else VPN_SERVER_PUBLIC_KEY in config.env is not the hub's (compare `configure_peer.py public-key` there)"
    )


def test_a_component_that_was_removed_is_suspected_after_the_way(consortium: Consortium) -> None:
    node = at_work(consortium)
    consortium.hub.configure("remove", "node", "node1")
    said = wait_for(node, "handshake", "failed", "the hub had answered before").message
    assert re.search(
        "is closed by a firewall on the way.*; else this component was removed: configure_peer.py add", said
    )


def test_a_name_server_that_does_not_answer(consortium: Consortium) -> None:
    node = consortium.component("node1")
    node.enrol(consortium.hub, "node", "node1")
    rewrite(node, r"ENDPOINT=\S+", "ENDPOINT=hub.example:51820")
    for name, text in (("nsswitch.conf", "hosts: dns\n"), ("resolv.conf", "nameserver 198.18.99.99\n")):
        path = node.folder.with_name(name)
        path.write_text(text)
        node.host.run(["mount", "--bind", str(path), f"/etc/{name}"])
    assert "no name server " in doctor(node)["name"].message
    # Refused at once or dropped: the look-up ends in time.
    consortium.network.router.run(["ip", "route", "add", "blackhole", "198.18.99.99"])
    rules = "table inet lab { chain drops { type filter hook prerouting priority 0; udp dport 53 drop; }; }"
    consortium.network.router.run(["nft", "-f", "-"], input=rules)
    found = doctor(node)
    assert found["name"] == ("failed", "no name server answers; look at /etc/resolv.conf and the network")
    assert found["route"].state == "skipped"


def named(hub: Hub, address: str) -> None:
    """Let the hub hand out this address, which it has not, and start it."""
    (hub.folder / "config.env").write_text(f"export VPN_SERVER_PUBLIC_ADDR={address}\n")
    hub.start()


def test_a_hub_that_is_found_where_it_was_before_it_moved(idle: Consortium) -> None:
    named(idle.hub, "198.18.99.2")
    node = idle.component("node1")
    node.enrol(idle.hub, "node", "node1")
    with (node.folder / "config.env").open("a") as file:
        file.write(f"export VPN_SERVER_ENDPOINT_BEFORE={idle.hub.address}:51820\n")
    node.start()
    said = wait_for(node, "endpoint", "warning").message
    assert said == f"wg0 looks for the hub at {idle.hub.address}:51820, where it was before it moved"


def test_a_name_that_is_not_known_and_one_that_has_moved(idle: Consortium) -> None:
    hub, node = idle.hub, idle.component("node1")
    named(hub, "hub.example")
    node.enrol(hub, "node", "node1")
    hosts = names(node.host, node.folder)
    node.start()
    found = wait_for(node, "name", "failed", "the name hub.example is not known")
    assert "does its DNS entry exist?" in found.message
    hosts.write_text(f"{hub.address} hub.example\n")
    wait_for(node, "handshake", "ok")
    found_now = doctor(node)
    assert found_now["name"].message == f"hub.example is {hub.address}"
    assert found_now["endpoint"].state == "ok"
    hosts.write_text("198.18.99.2 hub.example\n")
    said = wait_for(node, "endpoint", "warning").message
    assert f"wg0 sends to {hub.address}:51820, which answers, but hub.example is 198.18.99.2 port 51820 now" in said
    # One that has not followed yet: its daemon is held, and the hub is gone.
    frozen(node)
    hub.stop()
    node.host.run(["wg", "set", "wg0", "peer", hub_key(node), "remove"])
    key = PublicKey.parse(hub_key(node)).hex()
    place = f"endpoint={hub.address}:51820\nallowed_ip=10.220.0.0/14"
    assert ask(uapi(node.host), f"set=1\npublic_key={key}\n{place}") == "errno=0"
    assert "the daemon follows within 30 s" in doctor(node)["endpoint"].message
    assert ask(uapi(node.host), f"set=1\npublic_key={key}\nremove=true") == "errno=0"
    assert ask(uapi(node.host), f"set=1\npublic_key={key}\nallowed_ip=10.220.0.0/14") == "errno=0"
    assert "wg0 does not know where the hub is" in doctor(node)["endpoint"].message


def hub_key(node: Component) -> str:
    match = re.search(r"PUBLIC_KEY=(\S+)", (node.folder / "config.env").read_text())
    assert match is not None
    return match[1]


def test_a_way_that_does_not_carry_whole_packets(consortium: Consortium) -> None:
    node = consortium.joined("management", "restful")
    number = outside(node).split(".")[2]
    consortium.network.router.run(["ip", "link", "set", f"port{number}", "mtu", "1400"])
    said = wait_for(node, "mtu", "failed").message
    assert re.search(r"packets of more than 13[04]0 bytes do not pass the tunnel, which needs 1420", said)


def outside(node: Component) -> str:
    return node.host.run(["ip", "-4", "-brief", "address", "show", "eth0"]).stdout.split()[2]


def test_a_policy_that_denies_a_service(consortium: Consortium) -> None:
    (consortium.hub.folder / "policy.toml").write_text("allow = []\n")
    assert consortium.hub.process is not None
    kill(consortium.hub.process.pid, signal.SIGHUP)
    serve(consortium.joined("management", "mqtt"))
    node = consortium.joined("node", "node1")
    said = wait_for(node, "broker", "failed").message
    command = re.search(r"else the hub's policy denies it \(`configure_peer.py (policy check node mqtt 1883)`\)", said)
    assert command is not None, said
    assert consortium.hub.configure(*command[1].split(), check=False).stdout.startswith("no: ")


def test_an_address_that_is_another_s(consortium: Consortium) -> None:
    node = consortium.component("node1")
    node.enrol(consortium.hub, "node", "node1")
    rewrite(node, r"VPN_IP=\S+", "VPN_IP=10.221.0.77")
    node.start()
    wait_for(node, "handshake", "ok")
    said = doctor(node)["mtu"]
    assert said.state == "failed"
    assert "10.220.0.1 answers no echo through the tunnel, though the handshake is there: VPN_IP is not" in said.message


def test_services_that_are_down_and_that_are_not_there(consortium: Consortium) -> None:
    consortium.joined("management", "mqtt")
    node = consortium.joined("node", "node1")
    found = doctor(node)
    assert found["broker"].state == found["uploads"].state == "failed"
    assert "the broker at 10.220.0.2:1883 refuses connections" in found["broker"].message
    assert (
        "the upload service at 10.220.0.3:8000 does not answer: most likely restful is not in"
        in found["uploads"].message
    )
    assert "configure_peer.py policy check node restful 8000" in found["uploads"].message


def test_the_component_s_own_firewall_is_gone_or_cannot_be(consortium: Consortium) -> None:
    node = consortium.joined("management", "restful")
    assert doctor(node)["firewall"].state == "ok"
    frozen(node)
    node.host.run(["nft", "delete", "table", "inet", "fedbiomed_vpn"])
    found = doctor(node)
    assert found["firewall"].state == "failed"
    assert "the component's own is not loaded" in found["firewall"].message
    tools = node.folder.with_name("tools")
    tools.mkdir()
    (tools / "nft").write_text("#!/bin/sh\necho Error: out of order >&2\nexit 1\n")
    (tools / "nft").chmod(0o755)
    node.host.environ["PATH"] = f"{tools}:{node.host.environ['PATH']}"
    assert "its application does not start: nft refused the rules" in doctor(node)["firewall"].message
    node.host.environ["VPN_COMPONENT_FIREWALL"] = "off"
    assert doctor(node)["firewall"].state == "skipped"


def test_an_application_that_does_not_start(consortium: Consortium) -> None:
    node = consortium.component("node1")
    tools = node.folder.with_name("tools")
    tools.mkdir()
    (tools / "nft").write_text("#!/bin/sh\nexit 1\n")
    (tools / "nft").chmod(0o755)
    node.host.environ["PATH"] = f"{tools}:{node.host.environ['PATH']}"
    node.enrol(consortium.hub, "node", "node1")
    node.start("sleep", "1000")
    assert "sleep does not run, though the hub answers" in wait_for(node, "application", "failed").message


def test_wg0_is_down_gone_or_without_its_address(consortium: Consortium) -> None:
    node = consortium.joined("node", "node1")
    frozen(node)
    node.host.run(["ip", "link", "set", "wg0", "down"])
    assert doctor(node)["wg0"].message.startswith("wg0 is down; ")
    node.host.run(["ip", "link", "set", "wg0", "up"])
    node.host.run(["ip", "address", "flush", "dev", "wg0"])
    assert "wg0 has the address of nobody, not 10.221.0.2" in doctor(node)["wg0"].message
    node.host.run(["wg", "set", "wg0", "peer", hub_key(node), "remove"])
    node.host.run(["ip", "address", "add", "10.221.0.2/14", "dev", "wg0"])
    assert "wg0 does not have the hub as its peer" in doctor(node)["wg0"].message
    kill(node.daemon_pid())
    assert "wg0 is not up, though the daemon runs" in wait_for(node, "wg0", "failed", "is not up").message
    thawed(node)
    node.wait_joined(40)


def test_a_wireguard_daemon_that_hangs(consortium: Consortium) -> None:
    node = consortium.joined("node", "node1")
    pid = node.daemon_pid()
    frozen(node)
    kill(pid, signal.SIGSTOP)
    said = doctor(node)["wg0"]
    assert said.state == "failed"
    assert "the WireGuard daemon of wg0 hangs" in said.message


def test_a_component_that_is_not_started(consortium: Consortium) -> None:
    node = consortium.component("node1")
    node.enrol(consortium.hub, "node", "node1")
    found = doctor(node)
    assert found["daemon"].state == "failed"
    assert "`vpn_client run` does not run here; start it" in found["daemon"].message
    assert found["wg0"] == ("skipped", "not looked at, since `daemon` failed")
    # What does not depend on it is looked at.
    assert found["udp"].state == found["capability"].state == found["program"].state == "ok"


def test_without_the_capability(consortium: Consortium) -> None:
    node = consortium.component("node1")
    node.enrol(consortium.hub, "node", "node1")
    said = doctor(node, ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--"])["capability"]
    assert said.state == "failed"
    assert "this process lacks CAP_NET_ADMIN" in said.message


def test_without_the_device_or_with_another_in_its_place(consortium: Consortium) -> None:
    node = consortium.component("node1")
    node.host.run(["mount", "--bind", "/dev/null", "/dev/net/tun"])
    assert "/dev/net/tun is another device or a file" in doctor(node)["tun"].message
    node.host.run(["umount", "/dev/net/tun"])
    assert doctor(node)["tun"].state == "ok"
    node.host.run(["mount", "-t", "tmpfs", "vpnlab", "/dev/net"])
    said = doctor(node)["tun"]
    assert said.state == "failed"
    assert "/dev/net/tun is missing; give it to the container" in said.message
    # A node without a driver: major 10 belongs to misc devices, and nobody has this minor.
    node.host.run(["mknod", "/dev/net/tun", "c", "10", "253"])
    assert "the kernel has no driver for /dev/net/tun" in doctor(node)["tun"].message


def test_without_the_wireguard_that_is_chosen(consortium: Consortium) -> None:
    node = consortium.component("node1")
    node.enrol(consortium.hub, "node", "node1")
    node.host.environ["PATH"] = "/usr/bin:/bin"
    said = doctor(node)["program"]
    assert said.state == "failed"
    assert "boringtun-cli: not on the PATH; install it, or choose another" in said.message


def test_a_handshake_that_is_long_ago_or_lies_in_the_future(consortium: Consortium) -> None:
    """The lab has one clock and no hours to wait, so a daemon that shows another time stands for both."""
    node = consortium.component("node1", wireguard="wireguard-go")
    node.enrol(consortium.hub, "node", "node1")
    node.start()
    node.wait_joined()
    frozen(node)
    pid = node.daemon_pid()
    device = uapi(node.host)
    text = ask(device, "get=1")
    kill(pid, signal.SIGSTOP)
    device.unlink()
    for shift, check in ((-9000, "handshake"), (9000, "clock")):
        shown = re.sub(r"(?<=last_handshake_time_sec=)\d+", lambda match: str(int(match[0]) + shift), text)  # noqa: B023
        with Answering(device, shown):
            said = doctor(node)[check]
        device.unlink()
        assert said.state == "failed"
        if check == "handshake":
            assert (
                "the last one was 2 h ago, and nothing is answered any more: most likely UDP port 51820" in said.message
            )
        else:
            assert "the last handshake is 2 h in the future, so the clock was set back" in said.message
            assert "TAI64N" in said.message


def test_an_ordinary_user_is_told_what_may_not_be_seen(consortium: Consortium) -> None:
    node = consortium.joined("node", "node1")
    node.folder.parent.chmod(0o711)
    found = doctor(node, ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "--"])
    assert failures(found) == {}
    assert found["config"].state == "skipped"
    assert "user 54321 may not see it" in found["config"].message
    assert "run this as root" in found["config"].message
