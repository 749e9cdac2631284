"""A hub started on the state directory of an older installation carries its peers as before."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from lab.consortium import ROOT

if TYPE_CHECKING:
    from lab.consortium import Consortium

pytestmark = pytest.mark.system

OLDER = ROOT / "tests" / "fixtures" / "older-installation"


def test_a_hub_takes_an_older_installation_over_with_its_keys_addresses_and_preshared_keys(idle: Consortium) -> None:
    hub = idle.hub
    shutil.copytree(OLDER, hub.folder, dirs_exist_ok=True)
    conf = (OLDER / "wireguard" / "wg0.conf").read_text()
    private_key = re.findall(r"^PrivateKey = (\S+)$", conf, re.MULTILINE)[0]
    keys, addresses, secrets = (
        re.findall(rf"^{name} = (\S+)$", conf, re.MULTILINE) for name in ("PublicKey", "AllowedIPs", "PresharedKey")
    )
    hub.start()

    assert "took over an older installation" in hub.log.read_text()
    expected = hub.host.run(["wg", "pubkey"], input=private_key).stdout
    assert hub.configure("public-key").stdout == expected
    for what, values in (("allowed-ips", addresses), ("preshared-keys", secrets)):
        shown = dict(line.split("\t") for line in hub.host.run(["wg", "show", "wg0", what]).stdout.splitlines())
        assert shown == dict(zip(keys, values, strict=True))


def test_a_component_of_an_older_installation_joins_without_being_touched(idle: Consortium) -> None:
    hub = idle.hub
    shutil.copytree(OLDER, hub.folder, dirs_exist_ok=True)
    node = idle.component("node1")
    conf = hub.folder / "wireguard" / "wg0.conf"
    # As if the installation had been made with this component: the fixture has no private keys of components.
    peers = re.split(r"(?=^\[Peer\])", conf.read_text(), flags=re.MULTILINE)
    (own,) = (peer for peer in peers if "10.221.0.2/32" in peer)
    replaced = re.sub(r"(?<=^PublicKey = ).*$", node.public_key(), own, flags=re.MULTILINE)
    conf.write_text(conf.read_text().replace(own, replaced))
    handed_out = hub.folder / "config_peers" / "node" / "node1" / "config.env"
    text = handed_out.read_text()
    assert "VPN_IP=10.221.0.2\n" in text
    hub.start()
    text = re.sub(r"(?<=VPN_SERVER_ENDPOINT=).*", f"{hub.address}:51820", text)
    (node.folder / "config.env").write_text(text)
    node.start()
    node.wait_joined()


def test_a_peer_that_was_never_added_can_be_added_after_the_take_over(idle: Consortium) -> None:
    hub = idle.hub
    shutil.copytree(OLDER, hub.folder, dirs_exist_ok=True)
    hub.start()
    node = idle.joined("node", "never-added")
    assert node.ping(deadline=5)
    newcomer = idle.joined("node", "newcomer")
    taken = {peer["address"] for name, peer in hub.peers().items() if name != "newcomer"}
    assert hub.peers()["newcomer"]["address"] not in taken
    assert newcomer.ping(deadline=5)
