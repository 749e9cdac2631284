"""The network interface: on the fake rtnetlink and on the real one, in namespaces of its own."""

from __future__ import annotations

import errno
from ipaddress import IPv4Interface
from typing import TYPE_CHECKING, Protocol

import pytest
from pyroute2 import IPRoute

from lab.consortium import environment
from lab.network import Host
from tests.contract.samples import networks
from tests.fakes.netlink import FakeKernel
from vpn.lib.errors import DeviceError, DeviceMissing, DeviceRefused
from vpn.lib.wireguard.link import Link, translate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HUB = IPv4Interface("10.220.0.1/16")
MTU = 1420


class World(Protocol):
    """Where links are made."""

    @property
    def link(self) -> Link:
        """The one under test."""
        ...

    def make(self, name: str) -> None:
        """Make an interface, by somebody else."""
        ...

    def address(self, name: str, *addresses: str) -> None:
        """Give an interface addresses, by somebody else."""
        ...

    def addresses(self, name: str) -> list[str]:
        """The IPv4 addresses of an interface."""
        ...

    def routes(self, name: str) -> set[str]:
        """The networks that are sent through an interface, besides its own."""
        ...


class FakeWorld:
    """The fake kernel."""

    def __init__(self) -> None:
        self.kernel = FakeKernel()
        self.link = Link(self.kernel.iproute)

    def make(self, name: str) -> None:
        self.kernel.add_interface(name)

    def address(self, name: str, *addresses: str) -> None:
        self.kernel.interfaces[name].addresses += map(IPv4Interface, addresses)

    def addresses(self, name: str) -> list[str]:
        return [str(address) for address in self.kernel.interfaces[name].addresses]

    def routes(self, name: str) -> set[str]:
        return {str(network) for network in self.kernel.interfaces[name].routes}


class RealWorld:
    """A host of the lab; its network is reached from here."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.link = Link(lambda: IPRoute(netns=f"/proc/{host.pid}/ns/net"))

    def make(self, name: str) -> None:
        self.host.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"])

    def address(self, name: str, *addresses: str) -> None:
        for address in addresses:
            self.host.run(["ip", "address", "add", address, "dev", name])

    def addresses(self, name: str) -> list[str]:
        lines = self.host.run(["ip", "-4", "-oneline", "address", "show", "dev", name]).stdout.splitlines()
        return [line.split()[3] for line in lines]

    def routes(self, name: str) -> set[str]:
        shown = self.host.run(["ip", "route", "show", "dev", name]).stdout
        shown += self.host.run(["ip", "-6", "route", "show", "dev", name]).stdout
        return {line.split()[0] for line in shown.splitlines() if "proto kernel" not in line}


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.system)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """The fake kernel, and the real one."""
    if request.param == "fake":
        fake = FakeWorld()
        yield fake
        assert fake.kernel.open_sockets == 0, "a netlink socket was left open"
        return
    host = Host("link", environment())
    try:
        yield RealWorld(host)
    finally:
        host.close()


def test_an_interface_exists_once_it_is_made_and_until_it_is_deleted(world: World) -> None:
    assert not world.link.exists("wg0")
    world.make("wg0")
    assert world.link.exists("wg0")
    assert not world.link.exists("wg1")
    world.link.delete("wg0")
    assert not world.link.exists("wg0")


def test_deleting_what_is_not_there_does_nothing(world: World) -> None:
    world.make("wg0")
    world.link.delete("wg1")
    assert world.link.exists("wg0")


def test_an_interface_is_configured_with_address_and_mtu_and_up(world: World) -> None:
    world.make("wg0")
    assert not world.link.is_configured("wg0", HUB, MTU)
    world.link.configure("wg0", HUB, MTU)
    assert world.link.is_configured("wg0", HUB, MTU)
    assert world.addresses("wg0") == [str(HUB)]


def test_configuring_twice_changes_nothing(world: World) -> None:
    world.make("wg0")
    world.link.configure("wg0", HUB, MTU)
    world.link.configure("wg0", HUB, MTU)
    assert world.link.is_configured("wg0", HUB, MTU)
    assert world.addresses("wg0") == [str(HUB)]


@pytest.mark.parametrize(
    "others",
    [
        ["10.220.0.9/16"],
        ["10.220.0.9/16", "10.220.0.1/16"],
        ["10.220.0.1/16", "10.220.0.9/16"],
        ["10.220.0.8/16", "10.220.0.9/16"],
        ["10.220.0.8/16", "10.220.0.9/16", "10.220.0.1/16", "192.0.2.1/24"],
        ["10.220.0.1/24"],
        ["10.220.0.1/32", "192.0.2.1/24", "192.0.2.2/24"],
    ],
)
def test_addresses_that_others_left_go_away(world: World, others: list[str]) -> None:
    world.make("wg0")
    world.address("wg0", *others)
    world.link.configure("wg0", HUB, MTU)
    assert world.addresses("wg0") == [str(HUB)]
    assert world.link.is_configured("wg0", HUB, MTU)


def test_another_address_mtu_or_state_is_not_configured(world: World) -> None:
    world.make("wg0")
    world.link.configure("wg0", HUB, MTU)
    assert not world.link.is_configured("wg0", HUB, 1421)
    assert not world.link.is_configured("wg0", IPv4Interface("10.220.0.1/24"), MTU)
    assert not world.link.is_configured("wg0", IPv4Interface("10.220.0.2/16"), MTU)
    assert not world.link.is_configured("wg1", HUB, MTU)
    world.address("wg0", "192.0.2.1/24")
    assert not world.link.is_configured("wg0", HUB, MTU)


def test_networks_are_sent_through_the_interface_as_often_as_asked(world: World) -> None:
    world.make("wg0")
    world.link.configure("wg0", HUB, MTU)
    for _ in range(2):
        world.link.route("wg0", networks("10.9.0.0/16", "198.51.100.0/24"))
    assert world.routes("wg0") == {"10.9.0.0/16", "198.51.100.0/24"}


def test_an_interface_that_is_not_there_is_missing(world: World) -> None:
    with pytest.raises(DeviceMissing, match="no interface wg0"):
        world.link.configure("wg0", HUB, MTU)
    with pytest.raises(DeviceMissing):
        world.link.route("wg0", networks("10.9.0.0/16"))


def test_a_route_through_an_interface_that_is_down_is_refused(world: World) -> None:
    world.make("wg0")
    with pytest.raises(DeviceRefused, match="wg0") as caught:
        world.link.route("wg0", networks("10.9.0.0/16"))
    assert caught.value.errno == errno.ENETDOWN


def test_an_mtu_that_the_kernel_refuses_is_an_error(world: World) -> None:
    world.make("wg0")
    with pytest.raises(DeviceError, match="wg0"):
        world.link.configure("wg0", HUB, 10)


def test_a_kernel_wireguard_interface_is_created_once() -> None:
    kernel = FakeKernel()
    link = Link(kernel.iproute)
    link.create_wireguard("wg0")
    assert kernel.interfaces["wg0"].kind == "wireguard"
    with pytest.raises(DeviceError, match="exists already"):
        link.create_wireguard("wg0")


def test_a_kernel_without_wireguard_says_what_to_choose() -> None:
    kernel = FakeKernel()
    kernel.has_wireguard = False
    with pytest.raises(DeviceError, match="no WireGuard; choose boringtun"):
        Link(kernel.iproute).create_wireguard("wg0")
    assert kernel.interfaces == {}


def test_a_process_that_may_not_is_told_what_it_needs() -> None:
    kernel = FakeKernel()
    kernel.add_interface("wg0")
    kernel.permitted = False
    link = Link(kernel.iproute)
    calls: list[Callable[[], None]] = [
        lambda: link.create_wireguard("wg1"),
        lambda: link.delete("wg0"),
        lambda: link.configure("wg0", HUB, MTU),
        lambda: link.route("wg0", networks("10.9.0.0/16")),
    ]
    for call in calls:
        with pytest.raises(DeviceError, match="CAP_NET_ADMIN"):
            call()
    assert kernel.interfaces["wg0"].addresses == []


def test_a_socket_that_is_forbidden_is_told_the_same_way() -> None:
    def forbidden() -> object:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with pytest.raises(DeviceError, match="CAP_NET_ADMIN"):
        Link(forbidden).exists("wg0")


@pytest.mark.parametrize(
    "code", [errno.ENODEV, errno.EPERM, errno.EEXIST, errno.EOPNOTSUPP, errno.ENOENT, errno.EADDRINUSE, errno.EINVAL]
)
def test_every_error_number_is_one_line_that_names_the_interface(code: int) -> None:
    error = translate(code, "wg7")
    assert "wg7" in str(error)
    assert len(str(error).splitlines()) == 1
    assert isinstance(error, DeviceMissing) == (code == errno.ENODEV)
    if isinstance(error, DeviceRefused):
        assert error.errno == code
