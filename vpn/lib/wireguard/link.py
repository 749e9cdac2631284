"""The network interface itself: create, delete, address, MTU, up, down, routes. rtnetlink by pyroute2."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vpn.lib.errors import DeviceError, DeviceMissing, DeviceRefused

if TYPE_CHECKING:
    from ipaddress import IPv4Interface

    from vpn.lib.wireguard.types import IPNetwork

Connect = Callable[[], Any]
"""Opens a pyroute2 IPRoute, or a fake of it; the result is a context manager."""


def connect_rtnetlink() -> Any:
    """A new IPRoute. The import takes 200 ms, so it happens at the first use."""
    from pyroute2 import IPRoute

    return IPRoute()


class Link:
    """Interfaces of this network namespace. Raises DeviceMissing and DeviceError."""

    def __init__(self, connect: Connect = connect_rtnetlink) -> None:
        self._connect = connect

    def exists(self, interface: str) -> bool:
        """Whether an interface of this name is there."""
        with self._open(interface) as netlink:
            return bool(netlink.link_lookup(ifname=interface))

    def create_wireguard(self, interface: str) -> None:
        """Create a kernel WireGuard interface. Raises DeviceError where the kernel has no WireGuard."""
        with self._open(interface) as netlink:
            netlink.link("add", ifname=interface, kind="wireguard")

    def delete(self, interface: str) -> None:
        """Delete the interface; nothing happens when it is not there."""
        with self._open(interface) as netlink:
            for index in netlink.link_lookup(ifname=interface):
                netlink.link("del", index=index)

    def configure(self, interface: str, address: IPv4Interface, mtu: int) -> None:
        """Give the interface exactly this IPv4 address and this MTU (bytes), and bring it up.

        The route to the address's network comes with it. Doing it again changes nothing.
        """
        with self._open(interface) as netlink:
            index = _index(netlink, interface)
            netlink.link("set", index=index, mtu=mtu)
            due = (str(address.ip), address.network.prefixlen)
            # Read again after each: with the first address of a network the kernel deletes the others of it.
            while strangers := [held for held in _addresses(netlink, index) if held != due]:
                netlink.addr("del", index=index, address=strangers[0][0], prefixlen=strangers[0][1])
            if not _addresses(netlink, index):
                netlink.addr("add", index=index, address=due[0], prefixlen=due[1])
            netlink.link("set", index=index, state="up")

    def route(self, interface: str, networks: frozenset[IPNetwork]) -> None:
        """Send these networks through the interface, besides the network of its own address."""
        with self._open(interface) as netlink:
            index = _index(netlink, interface)
            for network in networks:
                netlink.route("replace", dst=str(network), oif=index, scope="link")

    def is_configured(self, interface: str, address: IPv4Interface, mtu: int) -> bool:
        """Whether the interface is there, up, and has this address and MTU."""
        with self._open(interface) as netlink:
            for index in netlink.link_lookup(ifname=interface):
                (message,) = netlink.get_links(index)
                up = bool(message["flags"] & 1)  # IFF_UP, netdevice(7)
                due = (str(address.ip), address.network.prefixlen)
                return up and message.get_attr("IFLA_MTU") == mtu and _addresses(netlink, index) == [due]
        return False

    @contextmanager
    def _open(self, interface: str) -> Iterator[Any]:
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            with self._connect() as netlink:
                yield netlink
        except NetlinkError as error:
            raise translate(error.code, interface) from error
        except PermissionError as error:
            raise translate(errno.EPERM, interface) from error


def translate(code: int, interface: str) -> DeviceError:
    """The library's error for a netlink error number."""
    if code == errno.ENODEV:
        return DeviceMissing(f"there is no interface {interface}; start the daemon that makes it")
    no_wireguard = "this kernel has no WireGuard; choose boringtun with VPN_WIREGUARD"
    reasons = {
        errno.EPERM: "the system does not permit it; run this as root, or with CAP_NET_ADMIN",
        errno.EEXIST: "it exists already; delete it with `ip link del`, or choose another name",
        errno.EOPNOTSUPP: no_wireguard,
        errno.ENOENT: no_wireguard,  # its generic netlink family is not registered
        errno.EADDRINUSE: "its UDP port is in use; `ss -lunp` shows by what",
    }
    reason = reasons.get(code, f"netlink error {code}; look at `dmesg`")
    return DeviceRefused(f"interface {interface}: {reason}", code)


def _index(netlink: Any, interface: str) -> int:
    found = netlink.link_lookup(ifname=interface)
    if not found:
        raise translate(errno.ENODEV, interface)
    return int(found[0])


def _addresses(netlink: Any, index: int) -> list[tuple[str, int]]:
    """The interface's IPv4 addresses with their prefix lengths."""
    messages = netlink.get_addr(family=socket.AF_INET, index=index)
    return [(message.get_attr("IFA_LOCAL"), message["prefixlen"]) for message in messages]
