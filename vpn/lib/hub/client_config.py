"""What ``export`` hands to a client that has only WireGuard's own programs, in each of its formats."""

from __future__ import annotations

import os
from contextlib import ExitStack
from ipaddress import IPv4Interface
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib import files
from vpn.lib.errors import Refused, StateError, describe_os_error
from vpn.lib.hub import peer_config
from vpn.lib.registry.tree import FILE
from vpn.lib.wireguard import conf
from vpn.lib.wireguard.types import KEEPALIVE, MTU, WantedPeer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from vpn.lib.hub.service import Hub
    from vpn.lib.hub.settings import Settings
    from vpn.lib.registry.peer import Invitation, Peer, PeerType
    from vpn.lib.wireguard.keys import PrivateKey, PublicKey


class Client(NamedTuple):
    """A peer as it is handed out. ``private_key`` is None where it is not known here, which is the rule.

    ``invitation`` is what its config.env carries.
    """

    peer: Peer
    settings: Settings
    hub: PublicKey
    private_key: PrivateKey | None = None
    invitation: Invitation | None = None


def wg_quick(client: Client, *, comments: bool = True) -> str:
    """A file for ``wg-quick up`` and WireGuard's apps. Holds the preshared key, and the private one if there is one.

    The address is the peer's alone (/32): what goes into the tunnel, AllowedIPs says, and who narrows that for a
    machine whose own network is in the way has nothing else to change.
    """
    peer, settings = client.peer, client.settings
    hub = WantedPeer(
        client.hub, peer.preshared_key, frozenset({settings.plan.hub.network}), persistent_keepalive=KEEPALIVE
    )
    head = f"# {peer.name}: for WireGuard's own client. It holds secrets: keep it readable by its owner only.\n"
    address = IPv4Interface((peer.address, 32))
    hint = _hint(client) if comments and client.private_key is None else ""
    return (
        (head if comments else "")
        + conf.render_client(client.private_key, address, MTU, hint)
        + conf.render_peer(hub, "the hub" if comments else "", settings.endpoint)
    )


def _hint(client: Client) -> str:
    name, key = client.peer.name, client.peer.public_key
    if key is None:
        return (
            f"In its place: what `wg genkey` prints; what `wg pubkey` makes of that, on the hub: add {name} PUBLICKEY"
        )
    return f"In its place: the private key, made on the client, that belongs to the public key {key}"


def as_json(client: Client) -> str:
    """One JSON object, described in docs/commands.md. Holds the same secrets as ``wg_quick``."""
    import json

    peer, settings = client.peer, client.settings
    content = {
        "type": peer.name.type.value,
        "id": peer.name.id,
        "address": str(peer.address),
        "allowed_ips": [str(settings.plan.hub.network)],
        "mtu": MTU,
        "persistent_keepalive": KEEPALIVE,
        "endpoint": settings.endpoint,
        "hub_public_key": str(client.hub),
        "preshared_key": peer.preshared_key.reveal(),
        "public_key": None if peer.public_key is None else str(peer.public_key),
        "private_key": None if client.private_key is None else client.private_key.reveal(),
    }
    return json.dumps(content, indent=1) + "\n"


def export_all(hub: Hub, folder: Path) -> int:
    """Every peer's config.env, as ``folder/TYPE/ID/config.env``; how many there are.

    ``folder`` is made, or is there and empty. All are written or none is. Raises Refused, StateError and InvalidInput.
    """
    made = _make(folder)
    written: list[Path] = []
    try:
        with ExitStack() as stack:
            types: dict[PeerType, int] = {}
            invitations = {invitation.name: invitation for invitation in hub.invitations()}
            for peer in hub.peers():
                name = peer.name
                if name.type not in types:
                    types[name.type] = stack.enter_context(files.folder(folder, name.type.value, create=True))
                written.append(folder / name.type.value / name.id / FILE)
                text = peer_config.text(peer, hub.settings, hub.public_key(), invitations.get(name))
                directory = files.open_folder(types[name.type], name.id, create=True, durable=False)
                try:
                    files.write_at(directory, FILE, text.encode(), durable=False)
                finally:
                    os.close(directory)
        files.sync_file_system(folder)
    except BaseException as error:
        _take_back(folder, written, made=made)
        if isinstance(error, OSError):
            raise StateError(f"cannot write {folder}: {_described(error)}") from error
        raise
    return len(written)


def _make(folder: Path) -> bool:
    """Make the folder, unless it is there and empty; whether it was made."""
    try:
        folder.mkdir(files.FOLDER_MODE)
    except FileExistsError:
        if not folder.is_dir():
            raise Refused(f"{folder} is there and is no folder; give another name") from None
        if any(folder.iterdir()):
            raise Refused(f"{folder} is not empty; give a folder that is, or one that is not there yet") from None
        return False
    except OSError as error:
        raise StateError(f"cannot make {folder}: {_described(error)}") from error
    folder.chmod(files.FOLDER_MODE)  # whatever the umask
    return True


def _take_back(folder: Path, written: Iterable[Path], *, made: bool) -> None:
    import shutil

    # Nothing but what was written: the folder was empty, and its types are its only entries.
    for parent in {path.parent.parent for path in written}:
        shutil.rmtree(parent, ignore_errors=True)
    if made:
        shutil.rmtree(folder, ignore_errors=True)


def _described(error: OSError) -> str:
    return describe_os_error(OSError(error.errno, error.strerror))
