"""``fedbiomed_vpn doctor`` on a host that lacks what containers need."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.deploy.host import Host

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.system


def test_a_host_without_the_device_or_room(tmp_path: Path) -> None:
    host = Host(tmp_path)
    disk = tmp_path / "disk"
    disk.mkdir()
    host.set(root=str(disk))
    # In mounts of its own; the PATH stays the host's, with its fake engine.
    script = (
        f"/bin/mount -t tmpfs vpnlab /dev/net && /bin/mount -t tmpfs -o size=64k vpnlab {disk};"
        f' /bin/dd if=/dev/zero of={disk}/filler 2> /dev/null; exec "$@"'
    )
    through = ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", script, "sh"]
    outcome = host.run("doctor", "--json", through=through)
    assert outcome.status == 1
    found = {item["check"]: (item["state"], item["message"]) for item in json.loads(outcome.out)}
    assert found["tun"][0] == found["disk"][0] == "failed"
    assert "/dev/net/tun is missing; " in found["tun"][1]
    assert f"the disk of {disk} is full; free some space" in found["disk"][1]
    assert "`docker system df` shows what Docker holds" in found["disk"][1]
