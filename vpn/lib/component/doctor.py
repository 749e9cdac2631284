"""``vpn_client doctor``: what keeps this component from working, looked at in the order in which it is needed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vpn.lib import files
from vpn.lib.component import health, identity, judging, settings as component_settings, shield
from vpn.lib.component.judging import Session, Way
from vpn.lib.errors import DeviceMissing, DeviceTimeout, FirewallError, InvalidInput
from vpn.lib.findings import Examination, failed, ok, skipped, warning
from vpn.lib.nft.loader import Nft
from vpn.lib.probes import judging as common, machine, network
from vpn.lib.wireguard.conf import parse as parse_conf
from vpn.lib.wireguard.daemons import BORINGTUN, DAEMONS, Implementation
from vpn.lib.wireguard.keys import PrivateKey

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vpn.lib.component.settings import Settings
    from vpn.lib.findings import Finding, Verdict
    from vpn.lib.wireguard.keys import PublicKey
    from vpn.lib.wireguard.types import ObservedPeer

HEADER = re.compile(r"# (management|node|researcher) ([A-Za-z0-9._-]+): ")
"""The first line of a config.env tells whose it is."""


def examine(folder: Path, environ: Mapping[str, str]) -> list[Finding]:
    """Look at the component whose state directory is ``folder``. Nothing is changed."""
    return _Doctor(folder, environ).run()


class _Doctor:
    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = environ
        self._path = folder / component_settings.FILE
        self._given: Settings | None = None
        self._key: PublicKey | None = None
        self._pid: int | None = None
        self._peer: ObservedPeer | None = None
        self._found: list[str] = []
        self._session: Session | None = None

    @property
    def _settings(self) -> Settings:
        assert self._given is not None  # every check that asks for them needs `config`
        return self._given

    def run(self) -> list[Finding]:
        examination = Examination()
        check = examination.check
        check("config", self._config)
        check("config-mode", self._mode, needs=("config",))
        check("key", self._private_key)
        check("daemon", self._daemon)
        check("tun", self._tun)
        check("capability", self._capability)
        check("program", self._program, needs=("config",))
        check("wg0", self._wg0, needs=("config", "daemon"), late="wg0 does not answer; the daemon replaces it")
        check("clock", self._clock)
        late = "no name server answers; look at /etc/resolv.conf and the network"
        check("name", self._name, needs=("config",), limit=3.0, late=late)
        check("route", self._route, needs=("config",))
        check("udp", self._udp, needs=("config", "route"))
        check("handshake", self._handshake, needs=("wg0", "udp"))
        check("endpoint", self._endpoint, needs=("wg0", "name"))
        check("mtu", self._mtu, needs=("handshake",))
        check("broker", self._broker, needs=("handshake",))
        check("uploads", self._uploads, needs=("handshake",))
        check("firewall", self._firewall, needs=("daemon",), limit=6.0)
        check("application", self._application, needs=("daemon",))
        return examination.findings

    def _config(self) -> Verdict:
        try:
            self._given = component_settings.load(self._folder, self._environ)
        except FileNotFoundError:
            return failed(
                f"{self._path} is not there; copy the one there that `configure_peer.py genconf` wrote on the hub"
            )
        return ok(f"{self._path}: {self._given.address.ip}, hub {self._given.hub_host} UDP port {self._given.hub_port}")

    def _mode(self) -> Verdict:
        return common.wide_mode(str(self._path), self._path.stat().st_mode & 0o7777)

    def _private_key(self) -> Verdict:
        folder = self._folder / identity.WIREGUARD_FOLDER
        path = folder / identity.KEY_FILE
        try:
            self._key = PrivateKey.parse(files.read_text(path).removesuffix("\n")).public_key()
        except FileNotFoundError:
            older = folder / identity.OLDER_FILE
            if not older.exists():
                return ok("none yet; `vpn_client run` makes it at its start")
            self._key = parse_conf(files.read_text(older), str(older)).private_key.public_key()
        except InvalidInput:
            return failed(f"{path} is damaged; put back a copy, or delete it and `add` the new key on the hub")
        return ok(f"public key {self._key}")

    def _daemon(self) -> Verdict:
        self._pid = machine.holder(self._folder / identity.WIREGUARD_FOLDER / "daemon.lock")
        if self._pid is None:
            return failed("`vpn_client run` does not run here; start it, or look at its log why it has ended")
        return ok(f"`vpn_client run` runs{f' (process {self._pid})' if self._pid else ''}")

    def _kernel(self) -> bool:
        return self._given is not None and self._given.implementation is Implementation.KERNEL

    def _tun(self) -> Verdict:
        if self._kernel():
            return skipped("the kernel's WireGuard does not need /dev/net/tun")
        return common.tun(machine.tun_problem())

    def _capability(self) -> Verdict:
        has = machine.may_administer_network(self._pid or None)
        return common.capability(has=has, daemon_runs=bool(self._pid), root=os.geteuid() == 0)

    def _program(self) -> Verdict:
        implementation = self._settings.implementation
        runs = self._pid is not None
        if implementation is Implementation.KERNEL:
            return common.program("kernel", (), daemon_runs=runs)
        daemon = implementation.daemon or BORINGTUN
        path = self._environ.get("PATH", os.defpath)
        missing = [] if any(shutil.which(name, path=path) for name in daemon.programs) else [daemon.programs[0]]
        missing += [] if shutil.which("setpriv", path=path) else ["setpriv"]
        return common.program(daemon.name, missing, daemon_runs=runs)

    def _wg0(self) -> Verdict:
        name = component_settings.INTERFACE
        try:
            observed = health.device(self._settings).read()
        except DeviceMissing:
            return failed(
                f"{name} is not up, though the daemon runs; look at its log, and at `tun` and `capability` above"
            )
        except DeviceTimeout:
            return failed(
                f"the WireGuard daemon of {name} hangs; `vpn_client run` replaces it within seconds, else restart it"
            )
        self._peer = observed.peers.get(self._settings.hub_key)
        invitation = self._settings.invitation
        address = str((self._settings.address if invitation is None else invitation.address).ip)
        problem = common.link(name, machine.interface(name), address)
        if problem is not None:
            return problem
        if self._peer is None:
            return failed(
                f"{name} does not have the hub as its peer; the daemon puts it back within seconds, else restart it"
            )
        self._look_at_session(self._peer)
        return ok(f"{name} is up with {address}, listening on UDP port {observed.listen_port}")

    def _look_at_session(self, peer: ObservedPeer) -> None:
        handshake = peer.latest_handshake
        answers = None
        if peer.endpoint is not None:
            answers = network.has_answered(str(peer.endpoint.address), peer.endpoint.port)
        self._session = Session(
            age=None if handshake is None else max(0.0, time.time() - handshake),
            received=peer.received,
            sent=peer.sent,
            joined_before=bool(self._applications()),
            answers=answers,
        )

    def _clock(self) -> Verdict:
        key = self._folder / identity.WIREGUARD_FOLDER / identity.KEY_FILE
        written = {str(path): path.stat().st_mtime for path in (self._path, key) if path.exists()}
        return common.clock(time.time(), written, self._peer.latest_handshake if self._peer is not None else None)

    def _name(self) -> Verdict:
        host = self._settings.hub_host
        try:
            self._found = network.look_up(host)
        except (socket.gaierror, UnicodeError) as error:
            if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
                return failed(f"no name server tells where {host} is; look at /etc/resolv.conf and the network")
            return failed(
                f"the name {host} is not known; is it right in VPN_SERVER_ENDPOINT, and does its DNS entry exist?"
            )
        if not self._found:
            return failed(f"{host} has no address that packets can be sent to; correct its DNS entry")
        return ok(f"{host} is an address" if self._found == [host] else f"{host} is {', '.join(self._found)}")

    def _way(self) -> Way:
        """Where wg0 sends to; else where it would."""
        host, port = self._settings.hub_host, self._settings.hub_port
        if self._peer is not None and self._peer.endpoint is not None:
            return Way(host, str(self._peer.endpoint.address), self._peer.endpoint.port)
        return Way(host, self._found[0] if self._found else "", port)

    def _route(self) -> Verdict:
        way = self._way()
        if not way.address:
            return skipped("not looked at: it is not known where the hub is (`name`)")
        try:
            source, number = network.source_towards(way.address), 0
        except OSError as error:
            source, number = "", error.errno or 0
        return judging.route(way, source, number, str(self._settings.address.ip))

    def _udp(self) -> Verdict:
        way = self._way()
        source = network.source_towards(way.address)
        return judging.udp(way, network.udp(way.address, way.port), source, self._session)

    def _handshake(self) -> Verdict:
        assert self._session is not None
        if self._settings.invitation is not None:
            return judging.invited(self._way(), self._session, f"configure_peer.py genconf {self._who()} --invite")
        key = self._key or "PUBLICKEY"
        return judging.handshake(self._way(), self._session, f"configure_peer.py add {self._who()} {key}")

    def _who(self) -> str:
        """Type and id, as config.env tells them."""
        variables = dict(self._settings.application)
        for name, peer_type in (("FEDBIOMED_NODEID", "node"), ("FEDBIOMED_ID", "researcher")):
            if variables.get(name):
                return f"{peer_type} {variables[name]}"
        match = HEADER.match(files.read_text(self._path))
        return f"{match[1]} {match[2]}" if match else "TYPE ID"

    def _endpoint(self) -> Verdict:
        assert self._peer is not None
        assert self._session is not None
        before = self._settings.before
        if before is not None and self._peer.endpoint is not None and self._peer.endpoint.port == before[1]:
            with suppress(OSError):
                if str(self._peer.endpoint.address) in network.look_up(before[0]):
                    return warning(f"wg0 looks for the hub at {self._peer.endpoint}, where it was before it moved")
        way = Way(self._settings.hub_host, "", self._settings.hub_port)
        return judging.endpoint(self._peer.endpoint, self._found, way, up=self._session.up)

    def _mtu(self) -> Verdict:
        hub = self._settings.hub_address
        try:
            answered = network.echoes(hub)
        except PermissionError:
            return skipped("this process may send no echoes; run it as root, or widen net.ipv4.ping_group_range")
        return judging.mtu(answered, network.WIDTHS, hub)

    def _broker(self) -> Verdict:
        variables = dict(self._settings.application)
        host, port = variables.get("MQTT_BROKER", ""), variables.get("MQTT_BROKER_PORT") or "1883"
        return self._service("the broker", host, port, "mqtt")

    def _uploads(self) -> Verdict:
        url = dict(self._settings.application).get("UPLOADS_URL", "")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", str(parts.port or {"https": 443}.get(parts.scheme, 80))
        except ValueError:
            return failed("UPLOADS_URL in config.env is no address; copy the file again")
        return self._service("the upload service", host, port, "restful")

    def _service(self, name: str, host: str, port: str, component: str) -> Verdict:
        if not host:
            return skipped(f"config.env names no place of {name}")
        if not port.isdecimal() or not 0 < int(port) < 65536:
            return failed(f"config.env names no port of {name}; copy the file again")
        role = self._who().partition(" ")[0]
        missing = (
            f"most likely {component} is not in the VPN (on the hub: `configure_peer.py show management {component}`);"
            f" else the hub's policy denies it (`configure_peer.py policy check {role} {component} {port}`)"
        )
        return judging.service(name, f"{host}:{port}", network.tcp(host, int(port)), missing)

    def _firewall(self) -> Verdict:
        if not shield.wanted(self._environ):
            return skipped(f"the component's own is off ({shield.SETTING}, or no network namespace of its own)")
        try:
            listing = Nft(self._environ).listing()
        except FirewallError as error:
            if os.geteuid() != 0 and "may not change" in str(error):
                return skipped("this user may not look at the packet filter; run this as root")
            return failed(f"the component's own is not in force, and its application does not start: {error}")
        if not listing:
            return failed(
                "the component's own is not loaded, so others than the VPN reach its applications; the daemon puts it"
                " back within seconds, else look at its log"
            )
        return ok("the component's own is loaded")

    def _applications(self) -> dict[int, str]:
        """Children of the daemon that are not its WireGuard."""
        if not self._pid:
            return {}
        programs = {name[:15] for daemon in DAEMONS.values() for name in daemon.programs} | {"setpriv", "nft"}
        return {pid: name for pid, name in machine.children(self._pid).items() if name not in programs}

    def _application(self) -> Verdict:
        if not self._pid:
            return skipped("the daemon's process is not to be seen from here")
        command = machine.arguments(self._pid)
        given = command[command.index("run") + 1 :] if "run" in command else []
        given = given[given.index("--") + 1 :] if "--" in given else []
        up = self._session is not None and self._session.up
        return judging.application(given, self._applications(), joined=up)
