"""A laptop with nothing but WireGuard's own programs joins with what ``export`` wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.network import wait_until
from tests.system.traffic import BROKER
from vpn.lib.wireguard.conf import PLACEHOLDER
from vpn.lib.wireguard.keys import PrivateKey

if TYPE_CHECKING:
    from pathlib import Path

    from lab.consortium import Consortium

pytestmark = pytest.mark.system


@pytest.mark.parametrize("key_made", ["here", "there"])
def test_a_laptop_with_wireguard_s_own_client_joins(consortium: Consortium, tmp_path: Path, key_made: str) -> None:
    hub = consortium.hub
    consortium.joined("management", "mqtt")
    # Of its name wg-quick makes the interface's.
    path = tmp_path / "laptop.conf"
    if key_made == "here":
        hub.configure("export", "node", "laptop", "--make-key", "--output", str(path))
    else:
        private_key = PrivateKey.generate()
        text = hub.configure("export", "node", "laptop", "--public-key", str(private_key.public_key())).stdout
        path.touch(mode=0o600)
        path.write_text(text.replace(PLACEHOLDER, private_key.reveal()))
    laptop = consortium.network.host(
        "laptop", {**hub.host.environ, "WG_QUICK_USERSPACE_IMPLEMENTATION": "wireguard-go"}
    )
    laptop.run(["wg-quick", "up", str(path)])

    def reaches(address: str) -> bool:
        return laptop.run(["ping", "-n", "-q", "-c", "1", "-W", "1", address], check=False).returncode == 0

    wait_until(lambda: reaches("10.220.0.1"), 20, "the laptop reaches the hub")
    wait_until(lambda: reaches(BROKER), 5, "the laptop reaches the broker")
    assert hub.peers()["laptop"]["state"] == "active"
    assert "10.221.0.2/32" in laptop.run(["ip", "-4", "address", "show", "laptop"]).stdout
    assert "mtu 1420" in laptop.run(["ip", "link", "show", "laptop"]).stdout
    assert laptop.run(["wg", "show", "laptop", "persistent-keepalive"]).stdout.split()[1] == "25"
    hub.configure("remove", "node", "laptop")
    wait_until(lambda: not reaches(BROKER), 5, "the laptop is out")
    laptop.run(["wg-quick", "down", str(path)])
