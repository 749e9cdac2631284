"""The messages of the fake netlink, encoded and decoded by pyroute2 as the true ones are."""

from __future__ import annotations

from base64 import b64encode
from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING, Any

from pyroute2.netlink.generic.wireguard import AsyncWireGuard, wgmsg

if TYPE_CHECKING:
    from tests.fakes.netlink import Network, Peer
    from vpn.lib.wireguard.keys import PublicKey


def demand_fit(request: dict[str, Any]) -> None:
    """Encode the request as pyroute2 does, which raises struct.error where an attribute is longer than 65,535 bytes."""
    message = wgmsg()
    AsyncWireGuard._wg_set_peer(AsyncWireGuard.__new__(AsyncWireGuard), message, request)
    message.encode()


def as_received(kind: Any, header: dict[str, Any], attributes: list[tuple[str, Any]], flags: int = 0) -> Any:
    """A message of pyroute2 as it comes out of the socket: encoded, and decoded from the bytes."""
    message = kind()
    message["header"]["flags"] = flags
    message.update(header)
    message["attrs"] = attributes
    message.encode()
    received = kind(message.data)
    received.decode()
    return received


def peer_attributes(key: PublicKey, peer: Peer, networks: list[Network]) -> dict[str, Any]:
    seconds = int(peer.handshake)
    moment = {"tv_sec": seconds, "tv_nsec": int((peer.handshake - seconds) * 1e9)}
    attributes: list[tuple[str, Any]] = [
        ("WGPEER_A_PUBLIC_KEY", str(key)),
        ("WGPEER_A_PRESHARED_KEY", b64encode(peer.preshared_key).decode()),
        ("WGPEER_A_LAST_HANDSHAKE_TIME", moment),
        ("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL", peer.keepalive),
        ("WGPEER_A_TX_BYTES", peer.sent),
        ("WGPEER_A_RX_BYTES", peer.received),
        ("WGPEER_A_PROTOCOL_VERSION", 1),
    ]
    if peer.endpoint is not None:
        address, port = peer.endpoint
        attributes.append(("WGPEER_A_ENDPOINT", {"addr": address, "port": port}))
    return {"attrs": [*attributes, allowed_ips(networks)]}


def allowed_ips(networks: list[Network]) -> tuple[str, list[dict[str, Any]]]:
    return (
        "WGPEER_A_ALLOWEDIPS",
        [
            {
                "attrs": [
                    ("WGALLOWEDIP_A_FAMILY", AF_INET if network.version == 4 else AF_INET6),
                    ("WGALLOWEDIP_A_IPADDR", network.network_address.packed),
                    ("WGALLOWEDIP_A_CIDR_MASK", network.prefixlen),
                ]
            }
            for network in networks
        ],
    )
