"""Joining by invitation: one file put in place, and nothing else, for one component, once."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from lab.consortium import kill
from lab.network import wait_until
from tests.system.daemons import WIREGUARDS

if TYPE_CHECKING:
    from lab.consortium import Component, Consortium, Hub

pytestmark = pytest.mark.system

USED = "does not answer to the invitation: it was used, has expired or was withdrawn (ask for a new config.env)"


def invite(hub: Hub, *options: str, peer_id: str = "node1") -> None:
    said = hub.configure("genconf", "node", peer_id, "--invite", *options).stdout
    assert "It joins by itself, once, until " in said


def hand_over(hub: Hub, component: Component, peer_id: str = "node1") -> None:
    shutil.copy(hub.folder / "config_peers" / "node" / peer_id / "config.env", component.folder / "config.env")


def invited(consortium: Consortium, name: str = "node1", *options: str) -> Component:
    invite(consortium.hub, *options, peer_id=name)
    component = consortium.component(name)
    hand_over(consortium.hub, component, name)
    return component


def config(component: Component) -> str:
    return (component.folder / "config.env").read_text()


@pytest.mark.kernel
@pytest.mark.parametrize("wireguard", WIREGUARDS)
def test_one_file_and_a_start_are_enough(consortium: Consortium) -> None:
    node = invited(consortium)
    offered = config(node)
    assert "VPN_INVITATION_KEY=" in offered
    node.start()
    node.wait_joined()
    peer = consortium.hub.peers()["node1"]
    assert peer["public_key"] == node.public_key()
    final = consortium.hub.folder / "config_peers" / "node" / "node1" / "config.env"
    wait_until(lambda: config(node) == final.read_text(), 5, "config.env has its final form")
    assert "INVITATION" not in config(node)
    secrets = {line for line in offered.splitlines() if "PSK" in line or "VPN_INVITATION_KEY" in line}
    assert not secrets & set(config(node).splitlines())
    assert [entry["what"].split()[0] for entry in json.loads(consortium.hub.configure("audit", "--json").stdout)] == [
        *("genconf", "invite", "enrol")
    ]
    # And it is a member like any other: it restarts with what it has.
    node.stop()
    node.start()
    node.wait_joined()


def test_an_invitation_reaches_the_control_endpoint_and_nothing_else(consortium: Consortium) -> None:
    mqtt = consortium.joined("management", "mqtt")
    mqtt.host.start(["python3", "-m", "http.server", "1883", "--bind", "10.220.0.2"])
    hub = consortium.hub
    invite(hub)
    guest = consortium.component("guest")
    variables = dict(
        line.removeprefix("export ").split("=", 1)
        for line in (hub.folder / "config_peers" / "node" / "node1" / "config.env").read_text().splitlines()
        if line.startswith("export ")
    )
    # The invitation's keys, used as if they were a component's own.
    text = "".join(
        f"export {name}={value}\n"
        for name, value in {**variables, "VPN_IP": variables["VPN_INVITATION_IP"]}.items()
        if "INVITATION" not in name
    )
    (guest.folder / "config.env").write_text(text)
    (guest.folder / "wireguard").mkdir(mode=0o700)
    (guest.folder / "wireguard" / "private.key").write_text(variables["VPN_INVITATION_KEY"] + "\n")
    guest.start()
    reach = ["python3", "-c", "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"]
    wait_until(
        lambda: guest.host.run([*reach, "10.220.0.1", "51821"], check=False).returncode == 0, 10, "control is reached"
    )
    assert guest.host.run([*reach, "10.220.0.2", "1883"], check=False).returncode != 0
    assert not guest.ping()
    assert not guest.ping("10.220.0.2")
    denied = json.loads(hub.configure("policy", "--json").stdout)["denied"]
    assert any(entry["from"] == "invited" and entry["packets"] > 0 for entry in denied)


def test_a_second_component_with_the_same_file_is_told_why_it_does_not_join(consortium: Consortium) -> None:
    first = invited(consortium)
    second = consortium.component("second")
    hand_over(consortium.hub, second)
    first.start()
    first.wait_joined()
    second.start()
    wait_until(lambda: USED in second.log.read_text(), 40, "it says why")
    assert consortium.hub.peers()["node1"]["public_key"] == first.public_key()
    assert first.ping()
    # The loser can be given a new one, as another component.
    invite(consortium.hub, peer_id="node2")
    hand_over(consortium.hub, second, "node2")
    second.wait_joined()
    assert first.ping()


def test_of_two_at_the_same_time_exactly_one_joins(consortium: Consortium) -> None:
    first = invited(consortium)
    second = consortium.component("second")
    hand_over(consortium.hub, second)
    for component in (first, second):
        component.start()
    wait_until(lambda: first.ping() or second.ping(), 30, "one of them joins")
    wait_until(
        lambda: (
            USED in first.log.read_text() + second.log.read_text()
            or "refuses the invitation" in first.log.read_text() + second.log.read_text()
        ),
        60,
        "the other one says why it does not",
    )
    assert first.ping() != second.ping()


def test_expired_and_withdrawn_ones_are_dead_at_once(consortium: Consortium) -> None:
    late = invited(consortium, "late", "--valid", "1s")
    hub = consortium.hub
    wait_until(lambda: "invitation expired" in hub.configure("audit").stdout, 10, "it has expired")
    withdrawn = invited(consortium, "withdrawn")
    assert "its invitation is withdrawn" in hub.configure("remove", "node", "withdrawn").stdout
    for component in (late, withdrawn):
        component.start()
    for component in (late, withdrawn):
        wait_until(lambda component=component: USED in component.log.read_text(), 40, "it says why")
    assert not [peer for peer in hub.peers().values() if peer["public_key"]]
    invite(hub, peer_id="late")
    hand_over(hub, late, "late")
    late.wait_joined()


@pytest.mark.parametrize("when", [0.0, 0.2, 0.6])
def test_killed_in_the_middle_of_it_the_component_is_in_after_its_next_start(
    consortium: Consortium, when: float
) -> None:
    node = invited(consortium)
    process = node.start()
    wait_until(lambda: "by invitation" in node.log.read_text(), 10, "it begins")
    time.sleep(when)
    kill(process.pid)
    process.wait()
    node.start()
    node.wait_joined(40)
    assert consortium.hub.peers()["node1"]["public_key"] == node.public_key()


@pytest.mark.parametrize("when", [0.0, 0.2])
def test_the_hub_killed_in_the_middle_of_it_lets_the_component_in_after_its_next_start(
    consortium: Consortium, when: float
) -> None:
    node = invited(consortium)
    node.start()
    wait_until(lambda: "by invitation" in node.log.read_text(), 10, "it begins")
    time.sleep(when)
    assert consortium.hub.process is not None
    kill(consortium.hub.process.pid)
    consortium.hub.process.wait()
    consortium.hub.start()
    node.wait_joined(60)
    assert consortium.hub.peers()["node1"]["public_key"] == node.public_key()


def test_fifty_at_the_same_time_all_join_and_none_twice(consortium: Consortium) -> None:
    hub = consortium.hub
    names = [f"n{number}" for number in range(50)]
    components = [invited(consortium, name) for name in names]
    for component in components:
        component.start()
    wait_until(
        lambda: all(peer["public_key"] for peer in hub.peers().values()),
        120,
        "all have handed over their keys",
        pause=0.5,
    )
    for component in components:
        component.wait_joined(60)
    peers = hub.peers()
    assert len({peer["public_key"] for peer in peers.values()}) == len(names) == len(peers)
    assert {name: peers[name]["public_key"] for name in names} == {
        name: component.public_key() for name, component in zip(names, components, strict=True)
    }
    enrolments = [entry for entry in json.loads(hub.configure("audit", "--json").stdout) if "enrol " in entry["what"]]
    assert len(enrolments) == len(names)
