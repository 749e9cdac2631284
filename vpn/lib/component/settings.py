"""A component's settings: the ``config.env`` that its hub made for it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib import config_env
from vpn.lib.control import ENDPOINT_BEFORE, INVITATION_EXPIRES, INVITATION_IP, INVITATION_KEY
from vpn.lib.errors import InvalidInput
from vpn.lib.wireguard.daemons import Implementation, parse_implementation
from vpn.lib.wireguard.keys import PresharedKey, PrivateKey, PublicKey
from vpn.lib.wireguard.types import IPNetwork, parse_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

INTERFACE = "wg0"
ENDPOINT = "VPN_SERVER_ENDPOINT"
FILE = "config.env"
REQUIRED = (
    "VPN_IP",
    "VPN_SUBNET_PREFIX",
    "VPN_SERVER_ENDPOINT",
    "VPN_SERVER_ALLOWED_IPS",
    "VPN_SERVER_PUBLIC_KEY",
    "VPN_SERVER_PSK",
)
WIDEST = {4: 8, 6: 16}
"""The shortest prefixes that a VPN may have, by IP version: wider ones hold the addresses of others."""

KEPT_BACK = frozenset({"VPN_SERVER_PSK", INVITATION_KEY, INVITATION_IP, INVITATION_EXPIRES, ENDPOINT_BEFORE})
"""Variables that the application does not get: secrets, and what is the daemon's alone."""


class Invitation(NamedTuple):
    """What an invitation lends: a key and an address, good for handing over keys of one's own."""

    private_key: PrivateKey
    address: IPv4Interface


class Settings(NamedTuple):
    """What joining needs, validated.

    ``hub_host`` is a name or an address without brackets. ``hub_address`` is the hub's inside the VPN: the
    first of its network, where ``config.env`` does not say. ``application`` is the environment for the
    application, without secrets. ``before`` is where the hub was before it moved, as host and port.
    """

    address: IPv4Interface
    hub_host: str
    hub_port: int
    hub_key: PublicKey
    hub_address: str
    preshared_key: PresharedKey
    allowed_ips: frozenset[IPNetwork]
    implementation: Implementation
    application: tuple[tuple[str, str], ...]
    invitation: Invitation | None = None
    before: tuple[str, int] | None = None

    @property
    def lasting(self) -> tuple[tuple[str, str], ...]:
        """The application's environment, but for where the hub is: no reason to start it anew."""
        return tuple(item for item in self.application if item[0] != ENDPOINT)


def load(folder: Path, environ: Mapping[str, str]) -> Settings:
    """The settings in ``folder/config.env``; VPN_WIREGUARD of ``environ`` chooses the implementation.

    Raises InvalidInput that names what is missing or wrong, and FileNotFoundError.
    """
    path = folder / FILE
    values = config_env.load(path)
    missing = [name for name in REQUIRED if not values.get(name)]
    if missing:
        raise InvalidInput(
            f"{path} lacks {', '.join(missing)}; fill it with what `configure_peer.py genconf` wrote on the hub"
        )
    host, port = _endpoint(values, ENDPOINT, path)
    before = _endpoint(values, ENDPOINT_BEFORE, path) if values.get(ENDPOINT_BEFORE) else None
    address = _address(values, "VPN_IP", path)
    try:
        allowed_ips = frozenset(ip_network(item.strip()) for item in values["VPN_SERVER_ALLOWED_IPS"].split(","))
    except ValueError as error:
        raise InvalidInput(f"{path}: VPN_SERVER_ALLOWED_IPS is no list of networks; copy the file again") from error
    wide = next((network for network in allowed_ips if network.prefixlen < WIDEST[network.version]), None)
    if wide is not None:
        raise InvalidInput(
            f"{path}: VPN_SERVER_ALLOWED_IPS={wide} would take this machine's own traffic; copy the file again"
        )
    try:
        hub_key = PublicKey.parse(values["VPN_SERVER_PUBLIC_KEY"])
        preshared_key = PresharedKey.parse(values["VPN_SERVER_PSK"])
        implementation = _implementation(values, environ)
        invitation = None
        if values.get(INVITATION_KEY):
            invitation = Invitation(PrivateKey.parse(values[INVITATION_KEY]), _address(values, INVITATION_IP, path))
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error
    application = tuple((name, value) for name, value in values.items() if name not in KEPT_BACK)
    hub_address = values.get("FEDBIOMED_NET_IP") or str(_first_host(address, allowed_ips))
    try:
        IPv4Address(hub_address)
    except ValueError as error:
        raise InvalidInput(
            f"{path}: FEDBIOMED_NET_IP={hub_address[:60]} is no IPv4 address; copy the file again"
        ) from error
    return Settings(
        address,
        host,
        port,
        hub_key,
        hub_address,
        preshared_key,
        allowed_ips,
        implementation,
        application,
        invitation,
        before,
    )


def parse_endpoint(text: str) -> tuple[str, int]:
    """Host, without brackets, and port of ``host:port``. Raises InvalidInput."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not colon or not host or any(character.isspace() for character in host):
        raise InvalidInput("not host:port; copy the file again")
    return host, parse_port(port)


def _endpoint(values: Mapping[str, str], name: str, path: Path) -> tuple[str, int]:
    try:
        return parse_endpoint(values[name])
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {name}={values[name][:80]}: {error}") from error


def _address(values: Mapping[str, str], name: str, path: Path) -> IPv4Interface:
    text = f"{values.get(name, '')}/{values['VPN_SUBNET_PREFIX']}"
    try:
        address = IPv4Interface(text)
        special = address.ip.is_unspecified or address.ip.is_multicast or address.ip.is_loopback
        if special or address.network.prefixlen < WIDEST[4]:
            raise ValueError(text)
    except ValueError as error:
        raise InvalidInput(
            f"{path}: {name}, VPN_SUBNET_PREFIX: {text[:60]} is no address; copy the file again"
        ) from error
    return address


def _first_host(address: IPv4Interface, allowed_ips: frozenset[IPNetwork]) -> object:
    """Where the hub is by default: the first host of the networks behind it that hold our own address."""
    around: list[IPv4Network | IPv6Network] = [network for network in allowed_ips if address.ip in network]
    return (around[0] if around else address.network).network_address + 1


def _implementation(values: Mapping[str, str], environ: Mapping[str, str]) -> Implementation:
    chosen = environ.get("VPN_WIREGUARD") or values.get("VPN_WIREGUARD")
    if chosen:
        return parse_implementation(chosen)
    kernel = values.get("USE_WG_KERNEL_MOD", "false").lower() in ("true", "1", "yes")
    return Implementation.KERNEL if kernel else Implementation.BORINGTUN
