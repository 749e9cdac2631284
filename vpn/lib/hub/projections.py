"""Projections that the daemon makes in the background: ``wg0.conf`` and the ``config_peers`` tree.

Each is a generator that does a little work a step, so that the loop stays quick with any number of peers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpn.lib import files
from vpn.lib.errors import InvalidInput, VpnError
from vpn.lib.hub import peer_config, state
from vpn.lib.hub.wanted import wanted_peer
from vpn.lib.registry.tree import Tree
from vpn.lib.wireguard import conf
from vpn.lib.wireguard.types import MTU, WantedDevice

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator

    from vpn.lib.hub.settings import Settings
    from vpn.lib.registry.store import Registry

STEP = 50
"""Peers a step: about 10 ms of work."""

_HEADER = "# Written by the hub from its registry; changes made here are lost."


def write_wg_conf(settings: Settings, registry: Registry) -> Iterator[None]:
    """Write ``wireguard/wg0.conf``: for people, for wg-quick, and to rebuild a lost registry from."""
    interface = WantedDevice(registry.private_key(), settings.port, {})
    parts = [_HEADER + "\n", conf.render_interface(interface, settings.plan.hub, MTU)]
    for number, peer in enumerate(list(registry.peers()), start=1):
        wanted = wanted_peer(peer)
        if wanted is not None:
            parts.append(conf.render_peer(wanted, str(peer.name)))
        if number % STEP == 0:
            yield
    files.write(settings.folder / state.WIREGUARD_FOLDER / state.WG_CONF, "".join(parts).encode(), owner=settings.owner)


def repair_tree(settings: Settings, registry: Registry, log: logging.Logger) -> Iterator[None]:
    """Write each config.env that is missing, differs, or is readable by others. Strange files stay."""
    tree = Tree(settings.folder, settings.owner)
    hub = registry.public_key()
    peers = list(registry.peers())
    repaired = 0
    for listed in peers:
        misplaced = settings.plan.misplaced(listed.name, listed.address)
        if misplaced is not None:
            log.warning("%s: %s; put the settings back, or `removeconf` and `genconf` it", listed.name, misplaced)
    for start in range(0, len(peers), STEP):
        with state.command_lock(settings, state.DAEMON_PATIENCE):
            for listed in peers[start : start + STEP]:
                # As it is now: it may have been changed since the list was read.
                peer = registry.peer(listed.name)
                if peer is None:
                    continue
                try:
                    text = peer_config.text(peer, settings, hub, registry.invitation(peer.name))
                    if not tree.matches(peer.name, text):
                        tree.write(peer.name, text)
                        repaired += 1
                except InvalidInput:
                    return
                except VpnError as error:
                    log.warning("config.env of %s: %s", peer.name, error)
        yield
    if repaired:
        log.info("wrote %d config.env of config_peers again: they were missing, old or readable by others", repaired)
