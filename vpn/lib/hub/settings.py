"""The hub's settings: its own ``config.env``, overridden by the environment."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, ip_address
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from vpn.lib import config_env
from vpn.lib.errors import InvalidInput
from vpn.lib.files import Owner, owner_of_state, state_folder
from vpn.lib.registry.addressing import AddressPlan, check, free_range, parse_range
from vpn.lib.registry.peer import PeerType
from vpn.lib.wireguard.types import Endpoint, parse_port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_Value = TypeVar("_Value")

INTERFACE = "wg0"
FILE = "config.env"

DEFAULTS = {
    "VPN_SERVER_PUBLIC_ADDR": "",
    "VPN_SERVER_PORT": "51820",
    "VPN_IP": "10.220.0.1",
    "VPN_SUBNET_PREFIX": "14",
    "VPN_MANAGEMENT_IP_ASSIGN": "10.220.0.0/16",
    "VPN_NODE_IP_ASSIGN": "10.221.0.0/16",
    "VPN_RESEARCHER_IP_ASSIGN": "10.222.0.0/16",
    # Empty: what is left of the VPN's network.
    "VPN_INVITATION_IP_ASSIGN": "",
    "USE_WG_KERNEL_MOD": "false",
    "VPN_WIREGUARD": "",
    "VPN_ADDRESS_QUARANTINE": "0",
    "VPN_METRICS": "",
    "VPN_METRICS_PER_PEER": "false",
    "VPN_PAGE": "",
}
RANGE_NAMES = {
    PeerType.MANAGEMENT: "VPN_MANAGEMENT_IP_ASSIGN",
    PeerType.NODE: "VPN_NODE_IP_ASSIGN",
    PeerType.RESEARCHER: "VPN_RESEARCHER_IP_ASSIGN",
}


class Settings(NamedTuple):
    """All of the hub's settings, validated.

    ``public_address`` is a host name or an address, empty where it is not set: only what is handed to
    components needs it. ``wireguard`` is a name of ``Implementation``; ``components_use_kernel`` is
    USE_WG_KERNEL_MOD, which is handed to them. ``quarantine`` is for how many seconds the address of a forgotten peer
    goes to nobody else. ``metrics`` and ``page`` are where they are served, None where they are off.
    """

    folder: Path
    public_address: str
    port: int
    plan: AddressPlan
    wireguard: str
    owner: Owner | None
    components_use_kernel: bool = False
    interface: str = INTERFACE
    quarantine: float = 0.0
    metrics: Endpoint | None = None
    metrics_per_peer: bool = False
    page: Endpoint | None = None

    @property
    def management_ports(self) -> tuple[int, ...]:
        """TCP ports that are served on the hub's VPN address, for type management."""
        places = (self.page, self.metrics)
        return tuple(place.port for place in places if place is not None and place.address == self.plan.hub.ip)

    @property
    def endpoint(self) -> str:
        """Where components reach the hub: ``host:port``, an IPv6 address in brackets.

        Raises InvalidInput where the public address is not set.
        """
        if not self.public_address:
            raise InvalidInput(
                f"VPN_SERVER_PUBLIC_ADDR is not set; write the hub's public name or address into {self.folder / FILE}"
            )
        host = f"[{self.public_address}]" if ":" in self.public_address else self.public_address
        return f"{host}:{self.port}"


def load(environ: Mapping[str, str]) -> Settings:
    """The settings in force. Raises one InvalidInput that names every problem."""
    folder = state_folder(environ)
    try:
        values = config_env.load(folder / FILE)
    except FileNotFoundError:
        values = {}
    return of(folder, values, environ)


def of(folder: Path, given: Mapping[str, str], environ: Mapping[str, str]) -> Settings:
    """``load`` with these variables in the place of the file's."""
    values = {name: environ.get(name) or given.get(name) or default for name, default in DEFAULTS.items()}
    problems: list[str] = []
    address = _parsed(problems, "VPN_SERVER_PUBLIC_ADDR", values, _host)
    port = _parsed(problems, "VPN_SERVER_PORT", values, parse_port)
    kernel = _parsed(problems, "USE_WG_KERNEL_MOD", values, parse_boolean)
    wireguard = _parsed(problems, "VPN_WIREGUARD", values, lambda text: _implementation(text, kernel is True))
    quarantine = _parsed(problems, "VPN_ADDRESS_QUARANTINE", values, _days)
    metrics = _parsed(problems, "VPN_METRICS", values, _listening)
    per_peer = _parsed(problems, "VPN_METRICS_PER_PEER", values, parse_boolean)
    page = _parsed(problems, "VPN_PAGE", values, _listening)
    owner = None
    try:
        owner = owner_of_state(environ, folder)
    except InvalidInput as error:
        problems.append(str(error))
    plan = _address_plan(problems, values)
    if plan is not None and page is not None:
        problems += _page_problems(page, plan, metrics)
    if problems:
        raise InvalidInput(f"{folder / FILE}: {'; '.join(problems)}")
    assert address is not None
    assert port is not None
    assert plan is not None
    assert wireguard is not None
    assert quarantine is not None
    return Settings(
        folder,
        address,
        port,
        plan,
        wireguard,
        owner,
        kernel is True,
        quarantine=quarantine,
        metrics=metrics,
        metrics_per_peer=per_peer is True,
        page=page,
    )


def _page_problems(page: Endpoint, plan: AddressPlan, metrics: Endpoint | None) -> list[str]:
    """What is wrong with the page's place: whoever reaches it may try tokens, so it is not for every network."""
    problems = []
    if not page.address.is_loopback and page.address != plan.hub.ip:
        problems.append(
            f"VPN_PAGE={page}: neither a loopback address nor the hub's own in the VPN; write 127.0.0.1:{page.port} or"
            f" {plan.hub.ip}:{page.port}"
        )
    if page == metrics:
        problems.append(f"VPN_PAGE={page}: VPN_METRICS is there already; choose another port")
    return problems


def _address_plan(problems: list[str], values: Mapping[str, str]) -> AddressPlan | None:
    hub = _parsed(problems, "VPN_IP", values, _address)
    prefix = _parsed(problems, "VPN_SUBNET_PREFIX", values, _prefix)
    ranges = {peer_type: _parsed(problems, name, values, parse_range) for peer_type, name in RANGE_NAMES.items()}
    known = {peer_type: network for peer_type, network in ranges.items() if network is not None}
    chosen = values["VPN_INVITATION_IP_ASSIGN"]
    invited = _parsed(problems, "VPN_INVITATION_IP_ASSIGN", values, parse_range) if chosen else None
    if hub is None or prefix is None or len(known) < len(ranges):
        return None
    interface = IPv4Interface((hub, prefix))
    plan = AddressPlan(interface, known, invited if chosen else free_range(interface, known.values()))
    problems += check(plan, RANGE_NAMES)
    return plan


def _parsed(problems: list[str], name: str, values: Mapping[str, str], parse: Callable[[str], _Value]) -> _Value | None:
    try:
        return parse(values[name])
    except InvalidInput as error:
        problems.append(f"{name}={values[name][:60]}: {error}")
        return None


def _host(text: str) -> str:
    """A host name (RFC 1123), or a numeric address without brackets. Empty is passed on."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        address: IPv4Address | IPv6Address = ip_address(bare)
    except ValueError as error:
        labels = text.removesuffix(".").split(".") if text else []
        well_formed = all(
            0 < len(label) <= 63
            and label.isascii()
            and label.replace("-", "a").replace("_", "a").isalnum()
            and not label.startswith("-")
            and not label.endswith("-")
            for label in labels
        )
        if not well_formed or len(text) > 253 or (labels and labels[-1].isdecimal()):
            raise InvalidInput("not a host name or an IP address") from error
        return text
    # A scope (`%eth0`) means something on this host only, and Python takes any text for one.
    if address.is_unspecified or address.is_multicast or "%" in bare:
        raise InvalidInput("not an address that components can reach")
    return str(address)


def _address(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError as error:
        hint = "IPv6 is not supported inside the VPN; write an IPv4 address" if ":" in text else "not an IPv4 address"
        raise InvalidInput(hint) from error


def _prefix(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 2 and 1 <= int(text) <= 30):
        raise InvalidInput("not a prefix length: a number from 1 to 30 is due")
    return int(text)


def _listening(text: str) -> Endpoint | None:
    """An address and a TCP port to serve something at; None for nothing, which is off."""
    if not text:
        return None
    try:
        place = Endpoint.parse(text)
    except InvalidInput as error:
        raise InvalidInput("not an address and a port; write such as 127.0.0.1:9586, or leave it out") from error
    if place.address.is_multicast or "%" in text:
        raise InvalidInput("not an address that this machine can have")
    return place


def _days(text: str) -> float:
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and int(text) <= 3650):
        raise InvalidInput("not a number of days from 0 to 3650")
    return int(text) * 86400.0


def _implementation(text: str, kernel: bool) -> str:
    """VPN_WIREGUARD, or what USE_WG_KERNEL_MOD asks for where that is not set; boringtun by default."""
    if not text:
        return "kernel" if kernel else "boringtun"
    from vpn.lib.wireguard.daemons import parse_implementation

    return parse_implementation(text).value


def parse_boolean(text: str) -> bool:
    """``true`` or ``false``, as USE_WG_KERNEL_MOD is written. Raises InvalidInput."""
    if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
        raise InvalidInput("is neither true nor false; write one of them")
    return text.lower() in ("true", "1", "yes")
