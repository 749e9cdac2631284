"""``vpn_server doctor``: what keeps this hub from working, looked at in the order in which it is needed."""

from __future__ import annotations

import os
import shutil
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from vpn.lib import control
from vpn.lib.errors import DeviceMissing, DeviceTimeout, FirewallError, InvalidInput, StateError
from vpn.lib.findings import Examination, failed, ok, skipped, warning
from vpn.lib.firewall.nftables import hub_table
from vpn.lib.hub import forwarding, judging, policy_file, settings as hub_settings, state, status
from vpn.lib.hub.listing import View
from vpn.lib.hub.read_only import ReadOnly
from vpn.lib.hub.wanted import all_wanted
from vpn.lib.nft.loader import Nft
from vpn.lib.nft.reading import differences
from vpn.lib.probes import judging as common, machine, network
from vpn.lib.registry.audit import find_break
from vpn.lib.registry.database import SCHEMA_VERSION
from vpn.lib.wireguard.daemons import BORINGTUN, DAEMONS
from vpn.lib.wireguard.plan import plan
from vpn.lib.wireguard.types import WantedDevice

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vpn.lib.findings import Finding, Verdict
    from vpn.lib.hub.settings import Settings
    from vpn.lib.registry.audit import Record
    from vpn.lib.registry.peer import Peer
    from vpn.lib.wireguard.types import ObservedDevice

SECOND_LOOK = 1.0
"""Seconds until drift is looked at again: a command, or the daemon's repair, may be under way."""


MANY = 8.0
"""Seconds that may be taken by what grows with the peers, of which there may be 65,000."""


def examine(folder: Path, environ: Mapping[str, str]) -> list[Finding]:
    """Look at the hub whose state directory is ``folder``. Nothing is changed."""
    return _Doctor(folder, environ).run()


class _Doctor:
    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = environ
        self._given: Settings | None = None
        self._pid: int | None = None
        self._opened: ReadOnly | None = None
        self._peers: list[Peer] = []
        self._records: list[Record] = []
        self._latest = 0.0
        self._observed: ObservedDevice | None = None

    @property
    def _settings(self) -> Settings:
        assert self._given is not None  # every check that asks for them needs `config`
        return self._given

    @property
    def _registry(self) -> ReadOnly:
        assert self._opened is not None  # every check that asks for it needs `registry`
        return self._opened

    def run(self) -> list[Finding]:
        examination = Examination(14.0)
        check = examination.check
        check("config", self._config)
        late = "no name server answers; look at /etc/resolv.conf and the network"
        check("address", self._address, needs=("config",), limit=3.0, late=late)
        late = "it takes too long to read; look at the disk (`dmesg`, `iostat`)"
        check("registry", self._read_registry, needs=("config",), limit=MANY, late=late)
        check("audit", self._audit, needs=("registry",), limit=MANY, late=late)
        check("backup", self._backup, needs=("audit",))
        check("addresses", self._addresses, needs=("registry",))
        check("clock", self._clock, needs=("config",))
        check("daemon", self._daemon, needs=("config",))
        check("state", self._state, needs=("config",))
        check("tun", self._tun, needs=("config",))
        check("capability", self._capability)
        check("program", self._program, needs=("config",))
        check("policy", self._policy, needs=("config",))
        check("port", self._port, needs=("config",))
        check(
            "wg0", self._wg0, needs=("daemon", "registry"), limit=MANY, late="wg0 does not answer; the hub replaces it"
        )
        check("drift", self._drift, needs=("wg0",), limit=MANY)
        check("forwarding", self._forwarding, needs=("wg0",))
        check("firewall", self._firewall, needs=("daemon",), limit=6.0)
        check("control", self._control, needs=("wg0",))
        check("reachable", self._reachable, needs=("wg0",))
        check("peers", self._joined, needs=("wg0",))
        if self._opened is not None and not examination.unfinished:
            self._opened.close()
        return examination.findings

    def _config(self) -> Verdict:
        if not self._folder.is_dir():
            return failed(f"{self._folder} is not a folder; create it, or name another with VPN_CONFIG_DIR")
        self._given = hub_settings.load({**self._environ, "VPN_CONFIG_DIR": str(self._folder)})
        return ok(f"{self._given.plan.hub}, UDP port {self._given.port}, {self._given.wireguard}")

    def _address(self) -> Verdict:
        host = self._settings.public_address
        if not host:
            _ = self._settings.endpoint  # raises what to do
        try:
            return judging.public_address(host, network.look_up(host))
        except (socket.gaierror, UnicodeError):
            return failed(
                f"the name {host} is not known here, and components look the hub up by it; correct"
                " VPN_SERVER_PUBLIC_ADDR, or its DNS entry"
            )

    def _state(self) -> Verdict:
        there = self._folder.stat()
        user = machine.user(self._pid) if self._pid else None
        if user not in (None, 0, there.st_uid) and not there.st_mode & 0o002:
            return failed(
                f"{self._folder} belongs to user {there.st_uid}, and the hub runs as user {user}, who cannot"
                f" write there; `chown -R {user} {self._folder}`"
            )
        free = os.statvfs(self._folder)
        problem = common.free_space(str(self._folder), free.f_bavail * free.f_frsize)
        if problem is not None:
            return problem
        probe = self._folder / f".doctor-{os.getpid()}"
        try:
            descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, bytes(4096))
            finally:
                os.close(descriptor)
        finally:
            with suppress(OSError):
                probe.unlink()
        wide = [
            path.name
            for path in (state.registry_path(self._settings), self._folder / state.WIREGUARD_FOLDER / state.WG_CONF)
            if path.exists() and path.stat().st_mode & 0o077
        ]
        if wide:
            return warning(f"{', '.join(wide)}: open to other users, with secrets; the next command narrows it")
        return ok(f"{self._folder} can be written, {free.f_bavail * free.f_frsize >> 20} MiB left")

    def _read_registry(self) -> Verdict:
        path = state.registry_path(self._settings)
        if not path.exists():
            if state.exists(self._settings):
                return skipped("there is an older installation; the hub takes it over at its start")
            return skipped("there is none yet; the hub, or the first `genconf`, makes it")
        self._opened = registry = ReadOnly(path)
        if not registry.current:
            if registry.version_of_schema < SCHEMA_VERSION:
                return skipped(
                    f"{path} is of an older release; the hub's start, or the next command, brings it up to date"
                )
            return failed(f"{path} was written by a newer release; install that release, or a later one")
        registry.check()
        self._peers, self._latest = list(registry.peers()), registry.now(0.0)
        return ok(f"{path} is whole, {len(self._peers)} components")

    def _audit(self) -> Verdict:
        self._records = list(self._registry.records())
        found = find_break(self._registry.chain(), self._records)
        if found is not None:
            return failed(
                f"broken at entry {found.number}: {found.reason}; somebody wrote to the registry with something else:"
                " compare `list` with a backup, and find out who can write there"
            )
        return ok(f"{len(self._records)} entries, the chain is whole")

    def _backup(self) -> Verdict:
        return judging.backup(self._records, time.time())

    def _addresses(self) -> Verdict:
        return judging.addresses(judging.left(self._settings.plan, self._peers))

    def _clock(self) -> Verdict:
        paths = (self._folder / hub_settings.FILE, state.registry_path(self._settings))
        written = {str(path): path.stat().st_mtime for path in paths if path.exists()}
        return common.clock(time.time(), written, registry=self._latest)

    def _daemon(self) -> Verdict:
        self._pid = machine.holder(self._folder / state.WIREGUARD_FOLDER / "daemon.lock")
        if self._pid is None:
            return failed(
                "the hub's daemon does not run; start it with `vpn_server.py`, or look at its log why it has ended"
            )
        said = status.load(self._settings)
        if said is None:
            return warning("the hub's daemon is starting; look at its log if that lasts")
        if said.problem:
            return failed(said.problem)
        return ok(f"the hub's daemon runs and calls itself well{f' (process {self._pid})' if self._pid else ''}")

    def _implementation(self) -> str:
        said = status.load(self._settings)
        return self._settings.wireguard if said is None else said.implementation

    def _tun(self) -> Verdict:
        if self._implementation() == "kernel":
            return skipped("the kernel's WireGuard does not need /dev/net/tun")
        return common.tun(machine.tun_problem())

    def _capability(self) -> Verdict:
        has = machine.may_administer_network(self._pid or None)
        return common.capability(has=has, daemon_runs=bool(self._pid), root=os.geteuid() == 0)

    def _program(self) -> Verdict:
        path = self._environ.get("PATH", os.defpath)
        name = self._implementation()
        missing = [] if shutil.which("nft", path=path) else ["nft"]
        if name != "kernel":
            programs = DAEMONS.get(name, BORINGTUN).programs
            missing += [] if any(shutil.which(program, path=path) for program in programs) else [programs[0]]
            missing += [] if shutil.which("setpriv", path=path) else ["setpriv"]
        return common.program(name, missing, daemon_runs=self._pid is not None)

    def _policy(self) -> Verdict:
        try:
            wanted = policy_file.read(self._settings)
        except (InvalidInput, StateError) as error:
            if isinstance(error.__cause__, PermissionError):
                raise
            return failed(f"{error}; until then the last good policy stays in force")
        if self._pid is not None and policy_file.in_force(self._settings) not in (wanted, None):
            return warning("policy.toml is not in force yet; `kill -HUP` the hub, or wait 10 minutes")
        whose = "policy.toml" if policy_file.path(self._settings).exists() else "the default"
        return ok(f"{whose}, {len(wanted.rules)} rules")

    def _port(self) -> Verdict:
        programs = {name[:15] for daemon in DAEMONS.values() for name in daemon.programs}
        children = machine.children(self._pid) if self._pid else {}
        ours = {
            pid: user for pid, name in children.items() if name in programs and (user := machine.user(pid)) is not None
        }
        return judging.port(
            self._settings.port,
            machine.udp_holders(self._settings.port),
            ours,
            runs=self._pid is not None,
            kernel=self._implementation() == "kernel",
        )

    def _wg0(self) -> Verdict:
        name = self._settings.interface
        try:
            self._observed = status.open_device(self._settings).read()
        except DeviceMissing:
            return failed(
                f"{name} is not up, though the hub runs; look at its log, and at `tun` and `capability` above"
            )
        except DeviceTimeout:
            return failed(
                f"the WireGuard daemon of {name} hangs; the hub replaces it within seconds, else restart the hub"
            )
        if self._observed.public_key != self._registry.public_key():
            return failed(f"{name} has another key than the hub; restart the hub")
        address = str(self._settings.plan.hub.ip)
        problem = common.link(name, machine.interface(name), address)
        return problem or ok(f"{name} is up with {address}")

    def _drift(self) -> Verdict:
        difference = plan(self._wanted(), status.open_device(self._settings).read())
        if not difference.empty:
            time.sleep(SECOND_LOOK)
            difference = plan(self._wanted(), status.open_device(self._settings).read())
        return judging.drift(difference)

    def _wanted(self) -> WantedDevice:
        by_key = {peer.public_key: peer for peer in all_wanted(self._registry)}
        return WantedDevice(self._registry.private_key(), self._settings.port, by_key)

    def _forwarding(self) -> Verdict:
        name = self._settings.interface
        if (forwarding.SYSCTLS / name / "forwarding").read_text().strip() == "1":
            return ok(f"{name} forwards from component to component")
        return failed(
            f"{name} forwards nothing, so components do not reach each other; the hub turns it on once its rules are"
            " loaded (`firewall`), or run it with the sysctl net.ipv4.ip_forward=1"
        )

    def _firewall(self) -> Verdict:
        try:
            listing = Nft(self._environ).listing()
        except FirewallError as error:
            if os.geteuid() != 0 and "may not change" in str(error):
                return skipped("this user may not look at the packet filter; run this as root")
            return failed(f"{error}; the hub forwards nothing without its rules")
        if not listing:
            return failed("the hub's table is not loaded; it puts it back within seconds, else look at its log")
        policy = policy_file.in_force(self._settings)
        text = (
            ""
            if policy is None
            else hub_table(policy, self._settings.plan, self._settings.interface, self._settings.management_ports)
        )
        wrong = differences(text, listing) if text else []
        if wrong:
            return failed(
                f"the hub's table was edited ({common.listed(wrong)}); the hub puts it back in seconds, else restart"
                " it; what is to be allowed stands in policy.toml"
            )
        return ok("the hub's table is loaded as it was written")

    def _control(self) -> Verdict:
        address = str(self._settings.plan.hub.ip)
        return judging.control(f"{address}:{control.PORT}", network.tcp(address, control.PORT))

    def _views(self) -> list[View]:
        assert self._observed is not None
        seen, now = self._observed.peers, time.time()
        return [View(peer, None if peer.public_key is None else seen.get(peer.public_key), now) for peer in self._peers]

    def _reachable(self) -> Verdict:
        return judging.reachable(self._views(), self._settings.port, self._settings.public_address)

    def _joined(self) -> Verdict:
        if judging.misfits(self._views()):
            # A handshake that is under way looks the same for a moment.
            time.sleep(SECOND_LOOK)
            self._observed = status.open_device(self._settings).read()
        return judging.peers(self._views())
