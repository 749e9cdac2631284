"""A running hub is restored: who was let in again is in, who came since is out, on wg0 and not only in the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.network import wait_until
from tests.system.daemons import DAEMONS
from tests.system.traffic import Flow, serve

if TYPE_CHECKING:
    from pathlib import Path

    from lab.consortium import Consortium, Hub

pytestmark = pytest.mark.system


def on_wg0(hub: Hub) -> set[str]:
    """The keys that wg0 holds."""
    return set(hub.host.run(["wg", "show", "wg0", "peers"]).stdout.split())


@pytest.mark.parametrize("wireguard", DAEMONS)
def test_a_running_hub_follows_what_is_restored(consortium: Consortium, tmp_path: Path) -> None:
    hub = consortium.hub
    mqtt = consortium.joined("management", "mqtt")
    serve(mqtt)
    stays, removed = consortium.joined("node", "node1"), consortium.joined("node", "node2")
    flow = Flow(stays)
    hub.configure("backup", str(tmp_path / "backup"), "--plain")
    hub.configure("remove", "node", "node2")
    came, leaked = consortium.joined("node", "node3"), consortium.joined("researcher", "researcher1")
    hub.configure("remove", "researcher", "researcher1", "--leaked")

    output = hub.configure("restore", str(tmp_path / "backup")).stdout
    assert "In by the keys of the backup, and not so before: node node2\n" in output
    wanted = {component.public_key() for component in (mqtt, stays, removed)}
    assert not {came.public_key(), leaked.public_key()} & wanted
    wait_until(lambda: on_wg0(hub) == wanted, 20, "wg0 holds who the backup lets in, and nobody else")
    removed.wait_joined(40)
    flow.goes_on()
    assert hub.configure("audit", "--verify").stdout.startswith("whole: ")
