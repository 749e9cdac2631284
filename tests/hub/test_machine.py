"""A random walk over commands, restarts and crashes, against a model that is a dictionary."""

from __future__ import annotations

import logging
import shutil
import tempfile
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from unittest.mock import patch

import pytest
from hypothesis import settings as hypothesis_settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.hub.memory_device import Killed, MemoryDevice
from tests.hub.peers import key
from vpn.lib.errors import Refused
from vpn.lib.hub import backup, invitations, life, restore, settings as hub_settings, state
from vpn.lib.hub.keeper import Keeper
from vpn.lib.hub.outcomes import Terms
from vpn.lib.hub.service import Change, Hub
from vpn.lib.hub.wanted import all_wanted, wanted_peer
from vpn.lib.registry.addressing import MQTT, RESTFUL
from vpn.lib.registry.audit import find_break
from vpn.lib.registry.peer import PeerName, PeerType, Standing
from vpn.lib.registry.tree import Tree
from vpn.lib.wireguard.daemons import BORINGTUN
from vpn.lib.wireguard.keys import PresharedKey

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ipaddress import IPv4Address

    from vpn.lib.wireguard.keys import PublicKey
    from vpn.lib.wireguard.tunnel import Tunnel

NAMES = [
    MQTT,
    RESTFUL,
    PeerName(PeerType.MANAGEMENT, "other"),
    *(PeerName(PeerType.NODE, f"n{number}") for number in range(3)),
]
# Two addresses for three nodes, so that the range runs out and addresses are handed out again.
RANGES = {"VPN_MANAGEMENT_IP_ASSIGN": "10.220.0.0/29", "VPN_NODE_IP_ASSIGN": "10.221.0.0/30"}
names = st.sampled_from(NAMES)
keys = st.integers(1, 5).map(key)
CRASHES = ("wg0", "write", "delete", "commit")


class Known(NamedTuple):
    """What the model knows of a peer."""

    address: IPv4Address
    secret: PresharedKey
    key: PublicKey | None
    standing: Standing = Standing.ENABLED
    invited: PublicKey | None = None


class Saved(NamedTuple):
    """What the model knew when a backup was made."""

    model: dict[PeerName, Known]
    former: dict[PeerName, PublicKey]
    leaked: frozenset[PublicKey]


class Consortium(RuleBasedStateMachine):
    """``model`` is what was acknowledged, ``former`` the key that was taken away last from each name."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="vpn-machine-"))
        self.environ = {"VPN_CONFIG_DIR": str(self.folder), "VPN_SERVER_PUBLIC_ADDR": "hub.example.org", **RANGES}
        self.settings = hub_settings.load(self.environ)
        self.saved: Saved | None = None
        self.former: dict[PeerName, PublicKey] = {}
        self.leaked: frozenset[PublicKey] = frozenset()
        self.device = MemoryDevice()
        self.model: dict[PeerName, Known] = {}
        self.hub = Hub(self.settings, self.device)
        self.hub_key = self.hub.public_key()

    def teardown(self) -> None:
        self.hub.__exit__()
        shutil.rmtree(self.folder)

    @initialize(missing=st.booleans())
    def begin(self, missing: bool) -> None:
        self.device.missing = missing
        for number, name in enumerate(NAMES[:4], start=1):
            self.join(name, key(number))

    # What each command should do to the model.

    def _registered(self, name: PeerName) -> None:
        peer = self.hub.peer(name)
        known = self.model.get(name)
        if known is not None:
            assert (peer.address, peer.preshared_key) == (known.address, known.secret)
            return
        self.model[name] = Known(peer.address, peer.preshared_key, peer.public_key)

    @rule(name=names)
    def genconf(self, name: PeerName) -> None:
        full = len({other for other in self.model if other.type is name.type and other not in (MQTT, RESTFUL)}) >= 2
        if full and name not in self.model and name.type is not PeerType.MANAGEMENT:
            with pytest.raises(Refused, match="no address is left"):
                self.hub.genconf(name)
            return
        assert self.hub.genconf(name).new == (name not in self.model)
        self._registered(name)

    @rule(name=names, given=keys)
    def add(self, name: PeerName, given: PublicKey) -> None:
        if name not in self.model:
            with pytest.raises(Refused, match="is not registered"):
                self.hub.add(name, given)
            return
        if any(known.key == given for other, known in self.model.items() if other != name):
            with pytest.raises(Refused, match="belongs to"):
                self.hub.add(name, given)
            return
        if given in self.leaked:
            with pytest.raises(Refused, match="marked as leaked and is refused for ever"):
                self.hub.add(name, given)
            return
        former, invited = self.model[name].key, self.model[name].invited
        done = self.hub.add(name, given)
        self.model[name] = self.model[name]._replace(key=given, invited=None)
        assert done.changed == (former != given or invited is not None)
        assert done.replaced == (former if former != given else None)
        if done.applied and self.model[name].standing is Standing.ENABLED:
            peer = wanted_peer(self.hub.peer(name))
            assert peer is not None
            held = self.device.peers[given]
            assert (held.allowed_ips, held.preshared_key) == (peer.allowed_ips, peer.preshared_key)
            assert former in (None, given) or former not in self.device.peers

    @rule(name=names, given=keys)
    def join(self, name: PeerName, given: PublicKey) -> None:
        """Most of what is interesting begins with a peer that has a key."""
        self.genconf(name)
        self.add(name, given)

    @rule(name=names)
    def remove(self, name: PeerName) -> None:
        if name not in self.model:
            with pytest.raises(Refused, match="is not registered"):
                self.hub.remove(name)
            return
        former = self.model[name].key
        done = self.hub.remove(name)
        self._keyless(name)
        self.model[name] = self.model[name]._replace(invited=None)
        assert done.removed_key == former
        self._out(done.proven, former)

    @rule(name=names)
    def leak(self, name: PeerName) -> None:
        """Its key leaked, or the one that it had."""
        if name not in self.model:
            with pytest.raises(Refused, match="is not registered"):
                self.hub.remove(name, leaked=True)
            return
        held = self.model[name].key
        marked = held or self.former.get(name)
        if marked is None:
            with pytest.raises(Refused, match="never had a key that could have leaked"):
                self.hub.remove(name, leaked=True)
            return
        if any(known.key == marked for other, known in self.model.items() if other != name):
            with pytest.raises(Refused, match="that key is the one of"):
                self.hub.remove(name, leaked=True)
            return
        done = self.hub.remove(name, leaked=True)
        self._keyless(name)
        self.model[name] = self.model[name]._replace(invited=None)
        self.leaked |= {marked}
        assert (done.removed_key, done.leaked) == (held, marked)
        self._out(done.proven, held)

    def _keyless(self, name: PeerName) -> None:
        """It is without a key in the model."""
        known = self.model[name]
        if known.key is not None:
            self.former[name] = known.key
            self.model[name] = known._replace(key=None)

    @rule(name=names)
    def removeconf(self, name: PeerName) -> None:
        former = self.model.pop(name).key if name in self.model else None
        if former is not None:
            self.former[name] = former
        done = self.hub.removeconf(name)
        assert done.removed_key == former
        self._out(done.proven, former)
        assert not self.hub.config_path(name).exists()

    def _out(self, proven: bool | None, former: PublicKey | None) -> None:
        assert proven is (None if self.device.missing else True)
        if proven:
            assert former not in self.device.peers

    @rule()
    def save(self) -> None:
        backup.make(self.hub, self.backup, None)
        self.saved = Saved(dict(self.model), dict(self.former), self.leaked)

    @property
    def backup(self) -> Path:
        """Where the one backup is."""
        return self.folder / "saved"

    @precondition(lambda self: self.saved is not None)
    @rule()
    def restore(self) -> None:
        restore.restore(self.backup, self.environ, lambda: b"", restore.By())
        self._restored()

    @precondition(lambda self: self.saved is not None)
    @rule(late=st.booleans())
    def crash_of_restore(self, late: bool) -> None:
        """The process ends right before the registry is changed, or right after it."""
        with patch.object(restore, "write_pending" if late else "_keep", side_effect=Killed), suppress(Killed):
            restore.restore(self.backup, self.environ, lambda: b"", restore.By())
        self.reopen()
        if late:
            self._restored()

    def _restored(self) -> None:
        """The model is what it was, but for the keys that leaked since."""
        assert self.saved is not None
        self.model, self.former = dict(self.saved.model), dict(self.saved.former)
        self.leaked |= self.saved.leaked
        for name, known in self.saved.model.items():
            if known.key in self.leaked:
                self._keyless(name)
        for name in NAMES:
            assert self.hub.config_path(name).exists() == (name in self.model)

    @rule(name=names)
    def disable(self, name: PeerName) -> None:
        if name not in self.model:
            with pytest.raises(Refused, match="is not registered"):
                life.disable(self.hub, name)
            return
        known = self.model[name]
        done = life.disable(self.hub, name)
        self.model[name] = known._replace(standing=Standing.DISABLED, invited=None)
        assert done.withdrawn == (known.invited is not None)
        if known.key is not None:
            self._out(done.proven, known.key)

    @rule(name=names)
    def enable(self, name: PeerName) -> None:
        known = self.model.get(name)
        if known is None:
            return
        done = life.enable(self.hub, name)
        assert done.changed == (known.standing is not Standing.ENABLED)
        self.model[name] = known._replace(standing=Standing.ENABLED)

    @rule(name=names)
    def invite(self, name: PeerName) -> None:
        known = self.model.get(name)
        if known is None:
            return
        if known.standing is not Standing.ENABLED:
            with pytest.raises(Refused, match="is disabled; `enable` it"):
                self.hub.genconf(name, Terms(valid=60.0))
            return
        invitation = self.hub.genconf(name, Terms(valid=60.0)).invitation
        assert invitation is not None
        self.model[name] = known._replace(invited=invitation.public_key)

    @rule(name=names, given=keys, number=st.integers(0, 255))
    def enrol(self, name: PeerName, given: PublicKey, number: int) -> None:
        invitation = next((one for one in self.hub.invitations() if one.name == name), None)
        if invitation is None or invitation.expired:
            return
        secret = PresharedKey(bytes([number] * 32))
        taken = any(known.key == given for other, known in self.model.items() if other != name)
        if taken or given in self.leaked:
            with pytest.raises(Refused):
                invitations.enrol(self.hub, invitation.address, given, secret)
            return
        agreed = invitations.enrol(self.hub, invitation.address, given, secret)
        former = self.model[name].key
        if former is not None and former != given:
            self.former[name] = former
        self.model[name] = self.model[name]._replace(key=given, secret=secret, invited=None)
        with pytest.raises(Refused, match="there is no such invitation any more"):
            invitations.enrol(self.hub, invitation.address, given, secret)
        invitations.settle(self.hub, name, agreed.former)
        if not self.device.missing:
            assert invitation.public_key not in self.device.peers
            assert given in self.device.peers

    # What happens around the commands.

    @rule()
    def reopen(self) -> None:
        self.hub.__exit__()
        self.hub = Hub(self.settings, self.device)

    @rule()
    def the_daemon_starts(self) -> None:
        self.device.__init__()  # type: ignore[misc]
        with self._keeper() as keeper:
            keeper.fill()
        self._holds_exactly_what_is_registered()

    @rule()
    def the_daemon_dies(self) -> None:
        self.device.missing = True

    @precondition(lambda self: not self.device.missing)
    @rule()
    def the_daemon_looks(self) -> None:
        with self._keeper() as keeper:
            keeper.reconcile()
            self._holds_exactly_what_is_registered()
            self.device.plans.clear()
            keeper.reconcile()
            assert self.device.plans == []

    @rule(
        name=names,
        given=keys,
        command=st.sampled_from(["genconf", "add", "remove", "removeconf"]),
        at=st.sampled_from(CRASHES),
    )
    def crash(self, name: PeerName, given: PublicKey, command: str, at: str) -> None:
        """The process ends in the middle of a command: what it changed is there as a whole, or not at all."""
        before = self.model.get(name)
        with self._killed(at), suppress(Killed, Refused):
            getattr(self.hub, command)(*([name, given] if command == "add" else [name]))
        self.reopen()
        after = next((peer for peer in self.hub.peers() if peer.name == name), None)
        if after is None:
            assert before is None or command == "removeconf"
            if before is not None and before.key is not None:
                self.former[name] = before.key
            self.model.pop(name, None)
            return
        if before is None:
            assert command == "genconf"
            self.model[name] = Known(after.address, after.preshared_key, None)
        elif after.public_key != before.key:
            assert after.public_key == (given if command == "add" else None)
            assert command in ("add", "remove")
            if command == "remove":
                self._keyless(name)
            self.model[name] = before._replace(key=after.public_key)
        withdrawn = name not in {one.name for one in self.hub.invitations()}
        if before is not None and before.invited is not None and withdrawn:
            assert command in ("add", "remove")
            self.model[name] = self.model[name]._replace(invited=None)

    # What is true at all times.

    @invariant()
    def the_registry_is_the_model(self) -> None:
        invited = {one.name: one.public_key for one in self.hub.invitations()}
        peers = {
            peer.name: Known(peer.address, peer.preshared_key, peer.public_key, peer.standing, invited.get(peer.name))
            for peer in self.hub.peers()
        }
        assert peers == self.model
        assert self.hub.public_key() == self.hub_key

    @invariant()
    def the_log_is_whole(self) -> None:
        assert find_break(self.hub.chain(), self.hub.records()) is None

    @invariant()
    def no_leaked_key_is_registered(self) -> None:
        assert not self.leaked & {peer.public_key for peer in self.hub.peers()}

    @invariant()
    def addresses_are_unique_and_in_their_range(self) -> None:
        addresses = [known.address for known in self.model.values()]
        assert len(set(addresses)) == len(addresses)
        for name, known in self.model.items():
            reserved = self.settings.plan.reserved(name)
            assert known.address == reserved if reserved else self.settings.plan.usable(name.type, known.address)

    def _holds_exactly_what_is_registered(self) -> None:
        wanted = {peer.public_key: peer for peer in all_wanted(self.hub)}
        assert self.device.peers.keys() == wanted.keys()
        for public_key, peer in wanted.items():
            held = self.device.peers[public_key]
            assert (held.allowed_ips, held.preshared_key) == (peer.allowed_ips, peer.preshared_key)
        assert self.device.read().public_key == self.hub_key

    @contextmanager
    def _keeper(self) -> Iterator[Keeper]:
        with state.command_lock(self.settings):
            registry = state.open_registry(self.settings, lambda _: None)
        tunnel = SimpleNamespace(device=self.device, daemon=BORINGTUN, interface="wg0")
        with closing(registry):
            yield Keeper(self.settings, registry, cast("Tunnel", tunnel), logging.getLogger("test"))

    @contextmanager
    def _killed(self, at: str) -> Iterator[None]:
        def die(*_: Any, **__: Any) -> None:
            raise Killed

        method: dict[str, tuple[type, str]] = {"write": (Tree, "write"), "delete": (Tree, "delete")}
        if at == "wg0":
            self.device.killed_at = 0
            yield
            self.device.killed_at = None
        elif at == "commit":
            with patch.object(Change, "log", die):
                yield
        else:
            with patch.object(*method[at], die):
                yield


Consortium.TestCase.settings = hypothesis_settings(max_examples=60, stateful_step_count=30)
TestConsortium = Consortium.TestCase
