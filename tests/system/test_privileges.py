"""The hub and the component need CAP_NET_ADMIN and nothing else, as root or not."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.consortium import ROOT, script
from tests.system.traffic import BROKER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.consortium import Component, Consortium, Hub

pytestmark = pytest.mark.system

UID = 54321
NET_ADMIN_ONLY = ("--bounding-set=-all,+net_admin", "--inh-caps=-all,+net_admin")
CAP_NET_ADMIN = 1 << 12


def capabilities(pid: int) -> tuple[int, int]:
    """Effective uid and effective capabilities of a process."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["Uid"].split()[1]), int(status["CapEff"], 16)


def joined_with(consortium: Consortium, peer_type: str, peer_id: str, prefix: Sequence[str]) -> Component:
    component = consortium.component(peer_id)
    component.enrol(consortium.hub, peer_type, peer_id)
    component.start(prefix=prefix)
    component.wait_joined()
    return component


def test_root_with_nothing_but_net_admin_runs_the_hub_and_the_components(idle: Consortium) -> None:
    limited = ["setpriv", *NET_ADMIN_ONLY, "--"]
    idle.hub.start(limited)
    broker = joined_with(idle, "management", "mqtt", limited)
    node = joined_with(idle, "node", "node1", limited)
    assert node.ping(BROKER, deadline=5)
    for owner in (idle.hub, broker, node):
        assert owner.process is not None
        assert capabilities(owner.process.pid) == (0, CAP_NET_ADMIN)
        assert capabilities(owner.daemon_pid()) == (0, CAP_NET_ADMIN)
    assert "warning" not in idle.hub.log.read_text()
    assert idle.hub.stop() == 0


def reachable_python(hub: Hub) -> list[str]:
    """vpn_server.py by paths that any user may enter, wherever this checkout and this Python are."""
    for source, name in ((sys.base_prefix, "python"), (str(ROOT), "project"), (str(hub.folder.parent), "state")):
        hub.host.run(["mkdir", "-p", f"/mnt/{name}"])
        hub.host.run(["mount", "--bind", source, f"/mnt/{name}"])
    executable = f"/mnt/python/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    return [executable, "/mnt/project/vpn/bin/vpn_server.py"]


def test_another_user_with_nothing_but_net_admin_runs_the_hub(idle: Consortium) -> None:
    hub = idle.hub
    # In a mount namespace of the host's own.
    hub.host.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "vpnlab", "/mnt"])
    # udev lets everybody open it; where there is no udev, root alone may.
    hub.host.run(["mknod", "-m", "0666", "/mnt/tun", "c", "10", "200"])
    hub.host.run(["mount", "--bind", "/mnt/tun", "/dev/net/tun"])
    command = reachable_python(hub)
    folder = Path("/mnt/state") / hub.folder.name
    hub.host.run(["chown", f"{UID}:{UID}", "/run/wireguard"])
    for path in (hub.folder, *hub.folder.rglob("*")):
        os.chown(path, UID, UID)
    hub.folder.parent.chmod(0o711)
    hub.host.environ.update(
        VPN_CONFIG_DIR=str(folder),
        PYTHONPATH=next(path for path in sys.path if path.endswith("site-packages")).replace(str(ROOT), "/mnt/project"),
        # Python's own library, where it is not the system's.
        LD_LIBRARY_PATH="/mnt/python/lib",
        PATH=f"/mnt/project/.tools/bin:{hub.host.environ['PATH']}",
    )
    user = [f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--ambient-caps=-all,+net_admin"]
    limited = ["setpriv", *user, *NET_ADMIN_ONLY, "--"]
    hub.start(limited, command=command)
    assert hub.process is not None
    assert capabilities(hub.process.pid) == (UID, CAP_NET_ADMIN)
    assert capabilities(hub.daemon_pid()) == (UID, CAP_NET_ADMIN)

    configure = [*limited, command[0], "/mnt/project/vpn/bin/configure_peer.py"]
    for peer_type, peer_id in (("management", "mqtt"), ("node", "node1")):
        component = idle.component(peer_id)
        hub.host.run([*configure, "genconf", peer_type, peer_id])
        handed_out = hub.folder / "config_peers" / peer_type / peer_id / "config.env"
        assert handed_out.stat().st_uid == UID
        (component.folder / "config.env").write_bytes(handed_out.read_bytes())
        hub.host.run([*configure, "add", peer_type, peer_id, component.public_key()])
        component.start()
        component.wait_joined()
    assert component.ping(BROKER, deadline=5)
    # The firewall too: rules loaded, forwarding turned on, denied packets counted, and all of it taken back.
    assert "table inet fedbiomed_vpn" in hub.host.run(["nft", "list", "tables"]).stdout
    assert not component.ping("10.221.0.9", deadline=0.5)
    counted = json.loads(hub.host.run([*configure, "policy", "--json"]).stdout)["denied"]
    assert hub.host.run([*script("vpn_server"), "health"]).stdout == "healthy\n"
    assert {(item["from"], item["to"]): item["packets"] for item in counted}["node", "node"] == 1
    assert hub.stop() == 0
    assert hub.host.run(["nft", "list", "tables"]).stdout == ""
