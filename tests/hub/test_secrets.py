"""Secrets stay where they belong."""

from __future__ import annotations

import sqlite3
import traceback
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.hub.peers import key, node
from tests.registry.snapshot import secrets
from vpn.lib.errors import Unproven, VpnError
from vpn.lib.hub import listing, state
from vpn.lib.hub.wanted import wanted_peer
from vpn.lib.wireguard.plan import Plan

if TYPE_CHECKING:
    from tests.hub.memory_device import MemoryDevice
    from vpn.lib.hub.service import Hub
    from vpn.lib.hub.settings import Settings


def shows_none(text: str, hub: Hub) -> bool:
    """Whether no secret of the state directory is in the text. There have to be some to look for."""
    known = secrets(hub.settings.folder)
    assert len(known) >= 4
    return not any(secret in text for secret in known)


def test_no_repr_shows_a_secret(hub: Hub, device: MemoryDevice) -> None:
    configured = hub.genconf(node(1))
    added = hub.add(node(1), key(1))
    wanted = wanted_peer(added.peer)
    assert wanted is not None
    with closing(state.open_registry(hub.settings, lambda _: None)) as registry:
        things: list[object] = [configured, added, wanted, Plan(registry.private_key(), add=(wanted,)), device.read()]
        things += [registry.private_key(), list(hub.peers()), hub.remove(node(1)), hub.removeconf(node(1)), hub]
        texts = [*map(repr, things), *map(str, things)]
    hub.genconf(node(1))
    assert [text for text in texts if not shows_none(text, hub)] == []


def test_the_log_tells_who_did_what_without_secrets(hub: Hub, settings: Settings) -> None:
    hub.genconf(node(1))
    hub.add(node(1), key(1))
    hub.add(node(1), key(2))
    hub.remove(node(1))
    with closing(sqlite3.connect(state.registry_path(settings))) as database:
        rows = database.execute("SELECT command, type, id, what FROM log ORDER BY number").fetchall()
    assert rows == [
        ("test", "node", "node1", "genconf 10.221.0.2"),
        ("test", "node", "node1", f"add {key(1)}"),
        ("test", "node", "node1", f"add {key(2)} in place of {key(1)}"),
        ("test", "node", "node1", f"remove {key(2)}"),
    ]
    assert shows_none(repr(rows), hub)


def test_lists_show_no_secret(hub: Hub) -> None:
    hub.genconf_all([node(1), node(2)], {node(1): key(1)})
    views = listing.view(hub)
    shown = [listing.as_json(views), listing.as_table(views)]
    for view in views:
        shown += [listing.one_as_json(view), listing.one_as_text(view, hub.config_path(view.peer.name))]
    assert [text for text in shown if not shows_none(text, hub)] == []


def test_errors_show_no_secret_even_as_tracebacks(hub: Hub, device: MemoryDevice) -> None:
    hub.genconf(node(1))
    device.refusing = True
    with pytest.raises(Unproven) as caught:
        hub.add(node(1), key(1))
    assert shows_none("".join(traceback.format_exception(caught.value)), hub)
    hub.config_path(node(1)).unlink()
    hub.config_path(node(1)).mkdir()
    with pytest.raises(VpnError) as failed:
        hub.genconf(node(1))
    assert shows_none("".join(traceback.format_exception(failed.value)), hub)
