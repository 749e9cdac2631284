"""One WireGuard interface with all that carries it: the daemon or the kernel's device, and the link."""

from __future__ import annotations

import socket
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from vpn.lib.errors import DeviceError
from vpn.lib.wireguard.daemons import BORINGTUN, Daemon, Implementation
from vpn.lib.wireguard.kernel import KernelDevice
from vpn.lib.wireguard.link import Link
from vpn.lib.wireguard.process import DaemonProcess
from vpn.lib.wireguard.types import MTU

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Interface

    from vpn.lib.wireguard.device import Device
    from vpn.lib.wireguard.types import IPNetwork


class Tunnel:
    """An interface that this process brings up, watches and takes down.

    ``environ`` is where PATH is looked up for the daemon's program. All methods raise DeviceError.
    """

    def __init__(
        self, interface: str, implementation: Implementation, environ: Mapping[str, str], link: Link | None = None
    ) -> None:
        self.interface = interface
        self.implementation = implementation
        self._environ = environ
        self._link = link or Link()
        self._process: DaemonProcess | None = None
        self._device: Device | None = None

    @property
    def device(self) -> Device:
        """The running device."""
        if self._device is None:
            raise DeviceError(f"{self.interface} is not started")
        return self._device

    @property
    def daemon(self) -> Daemon | None:
        """The daemon that carries the interface, None for the kernel."""
        return self.implementation.daemon

    @property
    def pid(self) -> int | None:
        """The daemon's process id, None for the kernel."""
        return None if self._process is None else self._process.pid

    @property
    def pidfd(self) -> int | None:
        """Readable when the daemon has died; None for the kernel."""
        return None if self._process is None else self._process.pidfd

    @property
    def alive(self) -> bool:
        """Whether the daemon's process exists; for the kernel, whether the interface does."""
        if self._process is not None:
            return self._process.alive
        return self._device is not None and self._link.exists(self.interface)

    @property
    def outlived(self) -> bool:
        """Whether the start will find the kernel's interface of an earlier run, whose port is taken by itself."""
        if self.implementation not in (Implementation.AUTO, Implementation.KERNEL):
            return False
        try:
            socket.if_nametoindex(self.interface)
        except OSError:
            return False
        return True

    def start(self) -> None:
        """Bring the device up, without key, peers or address.

        A kernel interface that is there already is used as it is, sessions included.
        """
        if self.implementation in (Implementation.AUTO, Implementation.KERNEL):
            try:
                if not self._link.exists(self.interface):
                    self._link.create_wireguard(self.interface)
                self._device = KernelDevice(self.interface)
                self._device.read()
                self.implementation = Implementation.KERNEL
                return
            except DeviceError:
                self._device = None
                if self.implementation is Implementation.KERNEL:
                    raise
                self.implementation = Implementation.BORINGTUN
        self._process = DaemonProcess(self.daemon or BORINGTUN, self.interface, self._environ)
        self._process.start()
        self._device = self._process.device

    def configure(self, address: IPv4Interface, networks: frozenset[IPNetwork] = frozenset()) -> None:
        """Address, MTU, up, and routes to ``networks`` that lie outside of the address's own network."""
        self._link.configure(self.interface, address, MTU)
        outside = frozenset(
            network
            for network in networks
            if not isinstance(network, IPv4Network) or not network.subnet_of(address.network)
        )
        if outside:
            self._link.route(self.interface, outside)

    def configured(self, address: IPv4Interface) -> bool:
        """Whether the interface is up with its address and MTU."""
        return self._link.is_configured(self.interface, address, MTU)

    def kill(self) -> None:
        """Kill the daemon, without waiting: what waits for its answer ends at once. Safe in a signal handler."""
        if self._process is not None:
            self._process.kill()

    def stop(self, patience: float = 1.0) -> None:
        """Take the interface down; ``patience`` is how many seconds the daemon has to end by itself."""
        self._device = None
        if self._process is not None:
            self._process.stop(patience)
            self._process = None
        elif self.implementation is Implementation.KERNEL:
            self._link.delete(self.interface)
