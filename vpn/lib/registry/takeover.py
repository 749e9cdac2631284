"""Making a registry of an older installation: ``wg0.conf`` and ``config_peers`` without a registry.

Nobody is re-keyed: the hub's key, the addresses and the preshared keys stay. All that is read is copied
to a backup folder first. A peer whose files are damaged is reported by name, the others are taken over.
"""

from __future__ import annotations

import os
import shutil
import time
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib import config_env
from vpn.lib.errors import InvalidInput, StateError
from vpn.lib.files import FOLDER_MODE, read_text
from vpn.lib.registry import tree
from vpn.lib.registry.peer import Peer, PeerType, parse_name
from vpn.lib.wireguard import conf
from vpn.lib.wireguard.keys import PresharedKey, PrivateKey, PublicKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vpn.lib.files import Owner
    from vpn.lib.registry.addressing import AddressPlan

WG_CONF = Path("wireguard") / "wg0.conf"
LEAKED = Path("wireguard") / "leaked-keys"
ASSIGNED = Path("ip_assign")


class Takeover(NamedTuple):
    """What an older installation holds.

    ``used`` are addresses that were handed out and belong to no peer that is taken over. ``damaged`` says
    of each part that is not taken over what is wrong with it, by name. ``leaked`` are keys that a registry of the
    past knew as leaked; no peer has one.
    """

    private_key: PrivateKey
    peers: tuple[Peer, ...]
    used: tuple[IPv4Address, ...]
    damaged: tuple[str, ...]
    leaked: tuple[PublicKey, ...] = ()


def is_older_installation(root: Path) -> bool:
    """Whether there is something to take over (asked only where there is no registry)."""
    return (root / WG_CONF).exists() or any(_folders(root))


def read(root: Path, plan: AddressPlan, now: float) -> Takeover:
    """Read an older installation, changing nothing.

    Raises StateError when the hub's key cannot be known: a new one would cut off every peer.
    """
    path = root / WG_CONF
    try:
        device = conf.parse(read_text(path), str(path))
    except FileNotFoundError as error:
        raise StateError(
            f"{root / tree.FOLDER} has peers, but the hub's key is nowhere: put back {path}, or remove"
            f" {root / tree.FOLDER} to begin anew with a new key"
        ) from error
    except InvalidInput as error:
        raise StateError(f"{error}; the hub does not start with a new key, which would cut off every peer") from error
    damaged: list[str] = []
    leaked = read_leaked(root)
    sections = _by_address(device, damaged)
    peers: dict[IPv4Address, Peer] = {}
    for folder in _folders(root):
        name = f"{folder.parent.name} {ascii(folder.name)[1:-1]}"
        try:
            peer = _read_peer(folder, plan, device.private_key.public_key(), sections, now)
            for other in peers.values():
                if other.name.type is peer.name.type and other.name.id.lower() == peer.name.id.lower():
                    raise InvalidInput(f"its id differs from {other.name.id} only by case")
                if peer.public_key is not None and other.public_key == peer.public_key:
                    raise InvalidInput(f"its public key is that of {other.name} too")
            if peer.address in peers:
                raise InvalidInput(f"its address {peer.address} is that of {peers[peer.address].name} too")
            if peer.public_key in leaked:
                damaged.append(f"the key of {name}: it was marked as leaked; `add` another")
                peer = peer._replace(public_key=None)
            peers[peer.address] = peer
        except (InvalidInput, StateError, FileNotFoundError) as error:
            reason = "its config.env is missing" if isinstance(error, FileNotFoundError) else str(error)
            damaged.append(f"{name}: {reason}")
    damaged += [
        f"peer {address} in {path.name}: no config.env has this address" for address in sections if address not in peers
    ]
    used = set(sections) | set(_handed_out(root, plan, damaged))
    return Takeover(device.private_key, tuple(peers.values()), tuple(sorted(used - set(peers))), tuple(damaged), leaked)


def read_leaked(root: Path) -> tuple[PublicKey, ...]:
    """The keys that were marked as leaked, of the file that outlives the registry.

    Raises StateError when it cannot be read: to let a leaked key in is worse than not to start.
    """
    path = root / LEAKED
    try:
        lines = read_text(path).splitlines()
        return tuple(PublicKey.parse(line) for line in lines if line and not line.startswith("#"))
    except FileNotFoundError:
        return ()
    except InvalidInput as error:
        raise StateError(f"{path} is damaged: put a copy back, or remove it to forget which keys leaked") from error


def back_up(root: Path, owner: Owner | None, now: float, beside: Iterable[str] = ()) -> Path:
    """Copy what a take-over reads into a new folder below ``root``; it holds secrets (mode 0700).

    ``beside`` are names of files in ``root`` to copy as well, where they are.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    target = root / f"backup-{stamp}"
    number = 1
    while target.exists():
        target = root / f"backup-{stamp}-{number}"
        number += 1
    partial = target.with_name(f".{target.name}.tmp")
    for leftover in root.glob(".backup-*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(mode=FOLDER_MODE)
    for source in (root / tree.FOLDER, root / ASSIGNED, root / WG_CONF.parent):
        if source.is_dir() and not source.is_symlink():
            shutil.copytree(source, partial / source.name, symlinks=True, ignore=shutil.ignore_patterns(".*", "*.lock"))
    for file_name in beside:
        if (root / file_name).is_file() and not (root / file_name).is_symlink():
            shutil.copy(root / file_name, partial / file_name)
    for folder, _, files in os.walk(partial):
        os.chmod(folder, FOLDER_MODE)
        for file in files:
            path = Path(folder, file)
            if not path.is_symlink():
                path.chmod(0o600)
            if owner is not None:
                os.chown(path, owner.uid, owner.gid, follow_symlinks=False)
        if owner is not None:
            os.chown(folder, owner.uid, owner.gid)
    partial.rename(target)
    return target


def _folders(root: Path) -> Iterator[Path]:
    for peer_type in PeerType:
        parent = root / tree.FOLDER / peer_type.value
        if parent.is_dir():
            yield from sorted(entry for entry in parent.iterdir() if not entry.name.startswith("."))


def _by_address(device: conf.FileDevice, damaged: list[str]) -> dict[IPv4Address, conf.FilePeer]:
    """The peer sections by their one address: an older installation knows ids only through addresses."""
    sections: dict[IPv4Address, conf.FilePeer] = {}
    for section in device.peers:
        try:
            (network,) = section.allowed_ips()
            if not isinstance(network, IPv4Network) or network.prefixlen != 32:
                raise InvalidInput(f"line {section.first_line}: AllowedIPs is not one address")
            address = network.network_address
            if address in sections:
                raise InvalidInput(f"line {section.first_line}: a second section for {address}")
            sections[address] = section
        except ValueError as error:
            reason = error if isinstance(error, InvalidInput) else f"line {section.first_line}: not one allowed IP"
            damaged.append(f"wg0.conf: {reason}")
    return sections


def _read_peer(
    folder: Path, plan: AddressPlan, hub: PublicKey, sections: dict[IPv4Address, conf.FilePeer], now: float
) -> Peer:
    name = parse_name(PeerType(folder.parent.name), folder.name)
    if folder.is_symlink():
        raise InvalidInput("a symbolic link stands in the place of its folder")
    variables = config_env.load(folder / tree.FILE)
    missing = [needed for needed in ("VPN_IP", "VPN_SERVER_PUBLIC_KEY", "VPN_SERVER_PSK") if not variables.get(needed)]
    if missing:
        raise InvalidInput(f"its config.env lacks {', '.join(missing)}")
    try:
        address = IPv4Address(variables["VPN_IP"])
    except ValueError as error:
        raise InvalidInput("its VPN_IP is no IPv4 address") from error
    if address not in plan.hub.network or address == plan.hub.ip:
        raise InvalidInput(f"its address {address} is not one of the VPN {plan.hub.network}")
    preshared_key = PresharedKey.parse(variables["VPN_SERVER_PSK"])
    if PublicKey.parse(variables["VPN_SERVER_PUBLIC_KEY"]) != hub:
        raise InvalidInput("its config.env names another hub's public key than wg0.conf's")
    section = sections.get(address)
    public_key = None
    if section is not None:
        public_key = section.public_key()
        if section.preshared_key() != preshared_key:
            raise InvalidInput("its preshared key is another one in wg0.conf")
    return Peer(name, address, preshared_key, public_key, now, now)


def _handed_out(root: Path, plan: AddressPlan, damaged: list[str]) -> Iterator[IPv4Address]:
    """All addresses up to the last one that was handed out of each range."""
    for peer_type in PeerType:
        path = root / ASSIGNED / f"last_ip_assign_{peer_type.value}"
        network = plan.ranges[peer_type]
        try:
            last = IPv4Address(read_text(path).strip())
        except FileNotFoundError:
            continue
        except (ValueError, StateError):
            damaged.append(f"{path.name}: not an address, so addresses released before may be handed out again")
            continue
        if last in network:
            for number in range(int(network.network_address) + 2, int(last) + 1):
                address = IPv4Address(number)
                if plan.usable(peer_type, address):
                    yield address
