"""Starting and stopping a userspace WireGuard daemon."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

from vpn.lib.errors import DeviceError, DeviceMissing, DeviceTimeout
from vpn.lib.wireguard.userspace import UserspaceDevice, socket_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vpn.lib.wireguard.daemons import Daemon

START_LIMIT = 10.0
"""Seconds until a started daemon must answer; each takes about 10 ms on an idle machine."""


class DaemonProcess:
    """One daemon, child of this process, in the foreground, for one interface.

    Its death is seen with ``alive`` or by waiting on ``pidfd``. It dies with this process, so there is
    never an interface that nobody watches.
    """

    def __init__(self, daemon: Daemon, interface: str, environ: Mapping[str, str]) -> None:
        self._daemon = daemon
        self._interface = interface
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None
        self.pidfd: int | None = None

    @property
    def device(self) -> UserspaceDevice:
        """The device that the daemon carries."""
        return UserspaceDevice(self._interface, self._daemon.dialect)

    @property
    def pid(self) -> int | None:
        """The daemon's process id while it runs."""
        return self._process.pid if self._process is not None else None

    @property
    def alive(self) -> bool:
        """Whether the process exists (it may still hang)."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the daemon and wait until it answers.

        Raises DeviceError when its program is missing, something already serves the interface, or it
        ends or stays silent.
        """
        self._clear_socket()
        program = self._find_program()
        path = self._environ.get("PATH", os.defpath)
        # setpriv sets the parent-death signal between fork and exec, where Python must not run code.
        command = ["setpriv", "--pdeathsig", "KILL", program, *self._daemon.arguments, self._interface]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={"PATH": path, **dict(self._daemon.environment)},
            start_new_session=True,
        )
        self.pidfd = os.pidfd_open(self._process.pid)
        self._wait_until_answering()

    def kill(self) -> None:
        """Send SIGKILL, without waiting."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    def stop(self, patience: float = 1.0) -> None:
        """End the daemon: SIGTERM, and SIGKILL after ``patience`` seconds (a hung one ignores the first)."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                # A stopped process takes no signal but SIGKILL before it goes on.
                self._process.send_signal(signal.SIGTERM if patience > 0 else signal.SIGKILL)
            try:
                self._process.wait(max(patience, 0.001))
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(socket_path(self._interface))

    def _find_program(self) -> str:
        for name in self._daemon.programs:
            found = shutil.which(name, path=self._environ.get("PATH", os.defpath))
            if found is not None:
                return found
        raise DeviceError(
            f"{self._daemon.name} is not installed ({' or '.join(self._daemon.programs)} not found on PATH); install"
            " it, or choose another with VPN_WIREGUARD"
        )

    def _clear_socket(self) -> None:
        """Remove a socket that nobody listens on; refuse one that somebody does."""
        path = socket_path(self._interface)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(path)
            except (FileNotFoundError, ConnectionRefusedError):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                return
            except OSError:
                pass
        raise DeviceError(
            f"another WireGuard daemon already serves {self._interface} ({path}); stop it, then start this one again"
        )

    def _wait_until_answering(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_LIMIT
        while True:
            try:
                self.device.read()
                return
            except DeviceMissing:
                pass
            except DeviceTimeout:
                self.stop(patience=0)
                raise
            if self._process.poll() is not None:
                status = self._process.returncode
                self.stop()
                raise DeviceError(
                    f"{self._daemon.name} ended at its start (status {status}); it needs /dev/net/tun and"
                    f" CAP_NET_ADMIN, and no other interface named {self._interface}"
                )
            if time.monotonic() > deadline:
                self.stop(patience=0)
                raise DeviceError(
                    f"{self._daemon.name} did not answer within {START_LIMIT:.0f} s of its start; try again"
                )
            time.sleep(0.002)


def check_udp_port_free(port: int) -> None:
    """Raise DeviceError when the UDP port is taken.

    boringtun sets SO_REUSEADDR on its socket and would share the port in silence, each of the two
    daemons getting some of the packets. It listens on IPv6 too and cannot start without it.
    """
    for family, name in ((socket.AF_INET, "IPv4"), (socket.AF_INET6, "IPv6")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(("", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise DeviceError(
                    f"UDP port {port} is in use ({name}); stop what uses it (`ss -lunp` shows it), or set another"
                    " VPN_SERVER_PORT"
                ) from error
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
