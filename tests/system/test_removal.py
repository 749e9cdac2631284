"""Removing a component, or replacing its key, cuts what runs at once and touches nobody else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from lab.network import wait_until
from tests.system.daemons import WIREGUARDS
from tests.system.traffic import UNDER_WAY, Flow, Ping, serve

if TYPE_CHECKING:
    from lab.consortium import Consortium

pytestmark = pytest.mark.system


@pytest.mark.parametrize("command", [pytest.param("remove", marks=pytest.mark.kernel), "removeconf"])
@pytest.mark.parametrize("wireguard", WIREGUARDS)
def test_a_running_flow_and_ping_end_at_once_and_a_bystander_goes_on(consortium: Consortium, command: str) -> None:
    serve(consortium.joined("management", "mqtt"))
    node, bystander = consortium.joined("node", "node1"), consortium.joined("node", "node2")
    cut, pings, spared = Flow(node), Ping(node), Flow(bystander)

    done = consortium.hub.configure(command, "node", "node1")
    moment = time.time() + UNDER_WAY

    assert "proven to be out" in done.stdout
    wait_until(lambda: time.time() > moment, 5, "what was under way has arrived")
    spared.goes_on()
    assert cut.count_after(moment) == 0
    assert pings.count_after(moment) == 0


@pytest.mark.kernel
@pytest.mark.parametrize("wireguard", WIREGUARDS)
def test_another_key_replaces_the_former_at_once(consortium: Consortium) -> None:
    serve(consortium.joined("management", "mqtt"))
    former, bystander = consortium.joined("node", "node1"), consortium.joined("node", "node2")
    pings, spared = Ping(former), Flow(bystander)
    successor = consortium.component("successor")
    successor.receive_config(consortium.hub, "node", "node1")

    consortium.hub.configure("add", "node", "node1", successor.public_key())
    moment = time.time() + UNDER_WAY
    successor.start()

    successor.wait_joined()
    wait_until(lambda: time.time() > moment, 5, "what was under way has arrived")
    spared.goes_on()
    assert pings.count_after(moment) == 0
    assert not former.ping()


@pytest.mark.kernel
def test_a_removed_component_is_let_in_again_by_add(consortium: Consortium) -> None:
    node = consortium.joined("node", "node1")
    consortium.hub.configure("remove", "node", "node1")
    assert not node.ping()
    consortium.hub.configure("add", "node", "node1", node.public_key())
    node.wait_joined(60)


def test_a_removed_component_stays_out_when_the_hub_is_started_again(consortium: Consortium) -> None:
    node, bystander = consortium.joined("node", "node1"), consortium.joined("node", "node2")
    consortium.hub.configure("remove", "node", "node1")
    assert consortium.hub.stop() == 0
    consortium.hub.start()
    bystander.wait_joined()
    assert not node.ping(deadline=3)


def test_a_remove_that_cannot_be_proven_says_so_and_is_true_once_the_hub_has_replaced_its_daemon(
    consortium: Consortium,
) -> None:
    from signal import SIGCONT, SIGSTOP

    from lab.consortium import kill

    hub = consortium.hub
    node, bystander = consortium.joined("node", "node1"), consortium.joined("node", "node2")
    key = node.public_key()
    assert hub.process is not None
    # The hub too, so that it cannot replace its daemon while the command runs.
    kill(hub.process.pid, SIGSTOP)
    kill(hub.daemon_pid(), SIGSTOP)
    done = hub.configure("remove", "node", "node1", check=False)
    assert done.returncode == 1
    assert "wg0 cannot prove it" in done.stderr
    kill(hub.process.pid, SIGCONT)
    bystander.wait_joined(30)
    wait_until(
        lambda: key not in hub.host.run(["wg", "show", "wg0", "peers"], check=False).stdout, 30, "the key is out"
    )
    assert not node.ping()
