"""A WireGuard daemon that dies or hangs is replaced, and everybody is back untouched."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.consortium import kill
from lab.network import wait_until
from tests.system.daemons import DAEMONS, WIREGUARDS
from tests.system.traffic import BROKER, Flow, serve
from vpn.lib.files import Lock

if TYPE_CHECKING:
    from lab.consortium import Consortium

pytestmark = pytest.mark.system

PATIENCE = 40


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
@pytest.mark.parametrize("wireguard", DAEMONS)
def test_the_hubs_daemon_is_replaced_and_every_component_and_its_flow_is_back(
    consortium: Consortium, number: signal.Signals
) -> None:
    broker = consortium.joined("management", "mqtt")
    serve(broker)
    hidden, node = consortium.joined("node", "node1", nat=True), consortium.joined("node", "node2")
    flow = Flow(node)
    wait_until(lambda: consortium.hub.remembers(3), PATIENCE, "the hub has saved where its peers are")
    before = consortium.hub.daemon_pid()

    kill(before, number)

    for component in (broker, hidden, node):
        component.wait_joined(PATIENCE)
    assert consortium.hub.daemon_pid() != before
    assert hidden.ping(BROKER, deadline=5)
    flow.goes_on()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
@pytest.mark.parametrize("wireguard", DAEMONS)
def test_a_components_daemon_is_replaced_and_it_is_back(consortium: Consortium, number: signal.Signals) -> None:
    node = consortium.joined("node", "node1", nat=True)
    before = node.daemon_pid()
    kill(before, number)
    wait_until(lambda: node.daemon_pid() not in (0, before), PATIENCE, "the component replaces its daemon")
    node.wait_joined(PATIENCE)


@pytest.mark.parametrize("times", [5])
def test_a_daemon_that_dies_again_and_again_is_replaced_each_time(consortium: Consortium, times: int) -> None:
    node = consortium.joined("node", "node1")
    for _ in range(times):
        wait_until(lambda: consortium.hub.remembers(1), PATIENCE, "the hub has saved where its peer is")
        kill(consortium.hub.daemon_pid())
        node.wait_joined(PATIENCE)
    assert consortium.hub.log.read_text().count("wg0 is back") == times


@pytest.mark.kernel
@pytest.mark.parametrize("side", ["hub", "component"])
def test_a_wg0_that_was_deleted_by_hand_is_made_again(consortium: Consortium, side: str) -> None:
    node = consortium.joined("node", "node1")
    host, log = (consortium.hub.host, consortium.hub.log) if side == "hub" else (node.host, node.log)
    host.run(["ip", "link", "del", "wg0"])
    wait_until(lambda: "replacing it" in log.read_text(), PATIENCE, "it is noticed")
    node.wait_joined(PATIENCE)


@pytest.mark.kernel
@pytest.mark.parametrize("side", ["hub", "component"])
def test_an_address_that_was_flushed_by_hand_is_put_back(consortium: Consortium, side: str) -> None:
    node = consortium.joined("node", "node1")
    host, address = (consortium.hub.host, "10.220.0.1/14") if side == "hub" else (node.host, "10.221.0.2/14")
    host.run(["ip", "address", "flush", "dev", "wg0"])
    wait_until(
        lambda: address in host.run(["ip", "address", "show", "wg0"], check=False).stdout, PATIENCE, "it has an address"
    )
    node.wait_joined(PATIENCE)


@pytest.mark.kernel
def test_a_wg0_that_was_set_down_by_hand_is_up_again(consortium: Consortium) -> None:
    node = consortium.joined("node", "node1")
    consortium.hub.host.run(["ip", "link", "set", "wg0", "down"])
    node.wait_joined(PATIENCE)


@pytest.mark.kernel
@pytest.mark.parametrize("wireguard", WIREGUARDS)
def test_a_stranger_put_into_wg0_by_hand_is_removed_and_a_peer_taken_out_by_hand_is_put_back(
    consortium: Consortium,
) -> None:
    hub, node = consortium.hub, consortium.joined("node", "node1")
    stranger = consortium.component("stranger").public_key()
    hub.host.run(["wg", "set", "wg0", "peer", stranger, "allowed-ips", "10.221.0.99/32"])
    wait_until(
        lambda: hub.host.run(["wg", "show", "wg0", "peers"]).stdout == f"{node.public_key()}\n",
        PATIENCE,
        "the stranger is out",
    )
    hub.host.run(["wg", "set", "wg0", "peer", node.public_key(), "remove"])
    node.wait_joined(PATIENCE)


def test_a_command_that_never_ends_keeps_neither_wg0_down_nor_the_hub_from_stopping(consortium: Consortium) -> None:
    """As one that was put aside with its lock held; the lock's own time limit for commands is 30 s."""
    hub, node = consortium.hub, consortium.joined("node", "node1")
    wait_until(lambda: hub.remembers(1), PATIENCE, "the hub has saved where its peer is")
    holder = Lock(hub.folder / "ip_assign" / "commands.lock")
    assert holder.acquire()
    try:
        before = hub.daemon_pid()
        kill(before)
        node.wait_joined(20)
        assert hub.daemon_pid() != before
        # Drift, for which the hub wants the lock.
        hub.host.run(["wg", "set", "wg0", "peer", node.public_key(), "remove"])
        assert hub.stop() == 0
    finally:
        holder.release()


def test_a_hub_whose_daemon_hangs_stops_all_the_same(consortium: Consortium) -> None:
    hub = consortium.hub
    daemon = hub.daemon_pid()
    kill(daemon, signal.SIGSTOP)
    assert hub.stop() == 0
    assert not Path(f"/proc/{daemon}").exists()
