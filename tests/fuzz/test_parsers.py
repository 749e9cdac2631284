"""Whatever a parser is given, it understands it or raises the library's error: one printable line without secrets."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import TYPE_CHECKING

from hypothesis import given, strategies as st

from tests.fuzz.mutations import fuzzed, mutated, mutated_bytes
from tests.registry.snapshot import OLDER_INSTALLATION
from vpn.lib import config_env
from vpn.lib.component import settings as component_settings
from vpn.lib.errors import VpnError
from vpn.lib.firewall import override
from vpn.lib.hub import peer_table, settings as hub_settings, when
from vpn.lib.nft.generation import NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWGEN, NFTA_GEN_ID, parse as parse_generation
from vpn.lib.registry.peer import PeerType, parse_name
from vpn.lib.wireguard import conf, uapi
from vpn.lib.wireguard.kernel import assemble
from vpn.lib.wireguard.keys import PresharedKey, PrivateKey, PublicKey
from vpn.lib.wireguard.types import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

CONFIGS = [path.read_text() for path in sorted(OLDER_INSTALLATION.rglob("config.env"))]
HUB_CONFIG = """export VPN_SERVER_PUBLIC_ADDR=vpn.example.org
export VPN_SERVER_PORT=51820
export VPN_IP=10.220.0.1
export VPN_SUBNET_PREFIX=14
export VPN_MANAGEMENT_IP_ASSIGN=10.220.0.0/16
export VPN_NODE_IP_ASSIGN=10.221.0.0/16
export VPN_RESEARCHER_IP_ASSIGN=10.222.0.0/16
export USE_WG_KERNEL_MOD=false
export VPN_WIREGUARD=boringtun
"""
WG_CONF = (OLDER_INSTALLATION / "wireguard" / "wg0.conf").read_text()
POLICY = """[[allow]]
from = "node"
to = "mqtt"
tcp = [1883, "8883-8884"]

[[allow]]
from = "researcher"
to = "restful"
udp = [53]
"""
PEER_ANSWER = (
    f"own_public_key={'5a' * 32}\nlisten_port=51820\nfwmark=0\npublic_key={'6b' * 32}\npreshared_key={'7c' * 32}\n"
    "endpoint=192.0.2.1:51820\npersistent_keepalive_interval=25\nallowed_ip=10.221.0.2/32\n"
    "last_handshake_time_sec=5\nlast_handshake_time_nsec=7\nrx_bytes=148\ntx_bytes=92\nprotocol_version=1\nerrno=0\n\n"
)
TABLES = [
    b"type,id,until,invite\r\nnode,node1,2027-12-31,48h\r\nresearcher,paris,never,yes\r\nnode,node2,,\r\n",
    b'\xef\xbb\xbf"id";"type"\n"node1";"node"\n',
    b"type,id,key\nnode,node1,iF394fLXg1+yyhq8Pun4rP0oo3i8Ero0I5DwIFHKqUQ=\n",
]
ANSWERS = [PEER_ANSWER, f"private_key={'5a' * 32}\nlisten_port=0\nerrno=0\n\n", "errno=22\n\n"]


def one_line(line: str) -> None:
    """What every error's message is: a line that a terminal prints as it is."""
    assert line
    assert line.isprintable(), repr(line)
    assert len(line) < 3000


def understood_or_refused(parse: Callable[[], object], secret: str = "") -> object:
    """What it makes of the input; None where it refuses it, without repeating a secret."""
    try:
        return parse()
    except VpnError as error:
        line = str(error)
    one_line(line)
    assert len(secret) < 20 or secret not in line
    return None


@fuzzed
@given(mutated(CONFIGS))
def test_config_env(text: str) -> None:
    found = understood_or_refused(lambda: config_env.parse(text, "config.env"))
    if isinstance(found, dict):
        assert all(name.isascii() and name.isidentifier() and value.isprintable() for name, value in found.items())


@fuzzed
@given(mutated(CONFIGS), st.booleans())
def test_a_component_s_settings(tmp_path_factory: pytest.TempPathFactory, text: str, kernel: bool) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "config.env").write_bytes(text.encode("utf-8", "surrogatepass"))
    environ = {"VPN_WIREGUARD": "kernel"} if kernel else {}
    found = understood_or_refused(lambda: component_settings.load(folder, environ))
    if isinstance(found, component_settings.Settings):
        assert "VPN_SERVER_PSK" not in dict(found.application)
        assert all(network.prefixlen >= 8 for network in found.allowed_ips)


@fuzzed
@given(mutated([HUB_CONFIG]))
def test_the_hub_s_settings(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "config.env").write_bytes(text.encode("utf-8", "surrogatepass"))
    found = understood_or_refused(lambda: hub_settings.load({"VPN_CONFIG_DIR": str(folder)}))
    if isinstance(found, hub_settings.Settings):
        assert 1 <= found.port <= 65535
        assert all(network.subnet_of(found.plan.hub.network) for network in found.plan.ranges.values())


@fuzzed
@given(mutated([WG_CONF]))
def test_wg_conf(text: str) -> None:
    def parse() -> object:
        device = conf.parse(text, "wg0.conf")
        for peer in device.peers:
            understood_or_refused(peer.public_key)
            understood_or_refused(peer.preshared_key)
            with suppress(ValueError):
                peer.allowed_ips()
        return device

    understood_or_refused(parse)


@fuzzed
@given(mutated([POLICY]))
def test_the_policy_file(text: str) -> None:
    found = understood_or_refused(lambda: override.parse(text, "policy.toml"))
    if found is not None:
        assert override.parse(override.render(found), "policy.toml") == found  # type: ignore[arg-type]


@fuzzed
@given(mutated(ANSWERS), st.booleans())
def test_answers_of_wireguard_daemons(text: str, age: bool) -> None:
    answer = text.encode("utf-8", "surrogatepass")
    understood_or_refused(lambda: uapi.parse_device(answer, handshake_is_age=age, now=1e9))


class Attributes:
    """A netlink message as pyroute2 gives it: attributes by name, whatever is in them."""

    def __init__(self, values: dict[str, object]) -> None:
        self._values = values

    def get_attr(self, name: str) -> object:
        """None for what is not there, as pyroute2 has it."""
        return self._values.get(name)


_KEY = st.one_of(
    st.binary(max_size=60), st.just(b"A" * 43 + b"="), st.just(b"iF394fLXg1+yyhq8Pun4rP0oo3i8Ero0I5DwIFHKqUQ=")
)
_NUMBER = st.one_of(st.integers(-(2**70), 2**70), st.none())
_PEER = st.builds(
    Attributes,
    st.fixed_dictionaries(
        {},
        optional={
            "WGPEER_A_PUBLIC_KEY": _KEY,
            "WGPEER_A_PRESHARED_KEY": _KEY,
            "WGPEER_A_ENDPOINT": st.fixed_dictionaries({}, optional={"addr": st.text(max_size=20), "port": _NUMBER}),
            "WGPEER_A_LAST_HANDSHAKE_TIME": st.fixed_dictionaries({}, optional={"tv_sec": _NUMBER, "tv_nsec": _NUMBER}),
            "WGPEER_A_ALLOWEDIPS": st.lists(
                st.fixed_dictionaries({}, optional={"addr": st.text(max_size=20)}), max_size=3
            ),
            "WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL": _NUMBER,
            "WGPEER_A_RX_BYTES": _NUMBER,
        },
    ),
)
_MESSAGE = st.builds(
    Attributes,
    st.fixed_dictionaries(
        {},
        optional={
            "WGDEVICE_A_PUBLIC_KEY": _KEY,
            "WGDEVICE_A_LISTEN_PORT": _NUMBER,
            "WGDEVICE_A_PEERS": st.lists(_PEER, max_size=3),
        },
    ),
)


@fuzzed
@given(st.lists(_MESSAGE, max_size=4))
def test_netlink_messages_of_the_kernel(messages: list[Attributes]) -> None:
    understood_or_refused(lambda: assemble(messages))


_GENERATION = struct.pack(
    "=IHHIIBBHHHI", 28, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN, 0, 1, 0, 0, 0, 0, 8, NFTA_GEN_ID, 7
)


@fuzzed
@given(mutated_bytes([_GENERATION, _GENERATION[:20], bytes(40)]))
def test_netlink_messages_of_nf_tables(answer: bytes) -> None:
    with suppress(OSError):
        assert parse_generation(answer) >= 0


@fuzzed
@given(mutated(["node1", "NODETAG", "a" * 63]))
def test_ids(text: str) -> None:
    name = understood_or_refused(lambda: parse_name(PeerType.NODE, text))
    if name is not None:
        assert text.isascii()
        assert "/" not in text
        assert text[0] not in ".-"


@fuzzed
@given(mutated_bytes(TABLES), st.sampled_from(list(peer_table.REQUIRED)))
def test_tables_of_peers(data: bytes, columns: tuple[str, ...]) -> None:
    found = understood_or_refused(lambda: peer_table.parse(data, "peers.csv", columns))
    if isinstance(found, peer_table.Table):
        for problem in found.problems:
            one_line(str(problem))
        names = [(entry.name.type, entry.name.id.lower()) for entry in found.entries]
        assert len(names) == len(set(names))
        lines = [*(entry.line for entry in found.entries), *(problem.line for problem in found.problems)]
        assert len(lines) == len(set(lines))


@fuzzed
@given(mutated(["2027-12-31", "2027-12-31T18:00", "48h", "never"]))
def test_dates_and_durations(text: str) -> None:
    understood_or_refused(lambda: when.parse_until(text))
    seconds = understood_or_refused(lambda: when.parse_duration(text, "--valid"))
    assert seconds is None or (isinstance(seconds, float) and 0 < seconds <= when.LONGEST)


@fuzzed
@given(mutated(["iF394fLXg1+yyhq8Pun4rP0oo3i8Ero0I5DwIFHKqUQ="]))
def test_keys(text: str) -> None:
    for kind in (PublicKey, PrivateKey, PresharedKey):
        key = understood_or_refused(lambda kind=kind: kind.parse(text), secret=text)  # type: ignore[misc]
        if key is not None:
            assert key == kind.parse(text)


@fuzzed
@given(mutated(["192.0.2.1:51820", "[2001:db8::1]:51820"]))
def test_endpoints(text: str) -> None:
    found = understood_or_refused(lambda: Endpoint.parse(text))
    if isinstance(found, Endpoint):
        assert Endpoint.parse(str(found)) == found


@fuzzed
@given(
    st.sampled_from(["wireguard/wg0.conf", "config_peers/node/node1/config.env", "ip_assign/last_ip_assign_node"]),
    st.data(),
)
def test_an_older_installation(tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject) -> None:
    import shutil

    from vpn.lib.registry import takeover

    folder: Path = tmp_path_factory.getbasetemp() / "older"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(OLDER_INSTALLATION, folder)
    path = folder / name
    text = data.draw(mutated([path.read_text()]))
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    plan = hub_settings.load({"VPN_CONFIG_DIR": str(folder)}).plan
    found = understood_or_refused(lambda: takeover.read(folder, plan, 1e9))
    if isinstance(found, takeover.Takeover):
        addresses = [peer.address for peer in found.peers]
        assert len(addresses) == len(set(addresses))
        assert all(line.isprintable() for line in found.damaged)
