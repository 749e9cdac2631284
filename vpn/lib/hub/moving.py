"""The hub's new public address: into its settings and every config.env; components hear of it inside the tunnel."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vpn.lib import config_env, files
from vpn.lib.errors import InvalidInput, Refused
from vpn.lib.hub import peer_config, settings as hub_settings, status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vpn.lib.hub.service import Hub

NAME = "VPN_SERVER_PUBLIC_ADDR"


class Moved(NamedTuple):
    """The endpoints before and after, whether they differ, and how many peers are told."""

    before: str
    after: str
    changed: bool
    peers: int


def move(hub: Hub, address: str, environ: Mapping[str, str], *, dry_run: bool = False) -> Moved:
    """Change VPN_SERVER_PUBLIC_ADDR, and hand the new one out. Killed anywhere in it, it is done by its repetition.

    Raises InvalidInput for what is no address, and Refused where the environment sets it.
    """
    path = hub.settings.folder / hub_settings.FILE
    if environ.get(NAME):
        raise Refused(f"{NAME} is set in the environment of this hub, which overrides {path}; change it there")
    try:
        before = files.read_text(path)
    except FileNotFoundError:
        before = ""
    after = config_env.replace(before, {NAME: address})
    given = config_env.parse(after, str(path))
    fresh = hub_settings.of(hub.settings.folder, given, environ)
    if not fresh.public_address:
        raise InvalidInput(f"{address[:60]!a} is no address that components can reach; give a name or an address")
    former = hub.settings.endpoint if hub.settings.public_address else "nowhere"
    peers = list(hub.peers())
    moved = Moved(former, fresh.endpoint, former != fresh.endpoint, len(peers))
    if dry_run:
        return moved
    with hub.locked():
        if moved.changed:
            with hub.changing() as change:
                change.log(None, f"move-hub {former} to {fresh.endpoint}")
            files.write(path, after.encode(), owner=hub.settings.owner)
        key, invited = hub.public_key(), {one.name: one for one in hub.invitations()}
        hub.tree.write_all((peer.name, peer_config.text(peer, fresh, key, invited.get(peer.name))) for peer in peers)
    status.ask_to_reload(hub.settings)
    return moved
