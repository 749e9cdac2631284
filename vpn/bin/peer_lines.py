"""What configure_peer.py says of a peer that it changed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from vpn.lib.registry.peer import Standing

if TYPE_CHECKING:
    from pathlib import Path

    from vpn.lib.hub.outcomes import Added, Configured, Removed
    from vpn.lib.hub.state import Notice
    from vpn.lib.registry.peer import PeerName

LATER = "It is saved; the hub applies it when it starts."


def notify(notice: Notice) -> None:
    """Say on stderr what happened to the state."""
    remark(notice.text, warning=notice.warning)


def remark(text: str, *, warning: bool = False) -> None:
    """Say something on stderr."""
    print(f"configure_peer: {'warning: ' if warning else ''}{text}", file=sys.stderr)


def configured(done: Configured, path: Path) -> list[str]:
    """Of ``genconf``."""
    name = done.peer.name
    lines = [
        f"{name}: {'registered' if done.new else 'was registered already'} at {done.peer.address}",
        f"  {path}",
    ]
    if done.peer.public_key is None:
        lines += [
            "Next: copy this file to the component as its config.env, start the component, then here:",
            f"  configure_peer.py add {name} PUBLICKEY",
        ]
    return lines


def added(done: Added) -> list[str]:
    """Of ``add``."""
    name = done.peer.name
    if not done.changed:
        return [f"{name}: has this key already; nothing changed"]
    lines = []
    if done.replaced is not None:
        lines.append(f"{name}: the former key {done.replaced} is replaced and out")
    if done.peer.standing is not Standing.ENABLED:
        way = f"enable {name}" if done.peer.standing is Standing.DISABLED else f"genconf {name} --until DATE"
        return [*lines, f"{name}: added, but it is {done.peer.standing.value}: `{way}` lets it in"]
    return [
        *lines,
        f"{name}: added with address {done.peer.address}" + (" and let in" if done.applied else f". {LATER}"),
    ]


def _leaked(done: Removed) -> list[str]:
    if done.leaked is None:
        return []
    return [f"  The key {done.leaked} is marked as leaked: it is refused for ever, whoever comes with it."]


def removed(name: PeerName, done: Removed) -> list[str]:
    """Of ``remove``."""
    if done.removed_key is None:
        return [f"{name}: has no key; nothing to remove", *_leaked(done)]
    again = "`add`" if done.leaked is None else "`add` with another key"
    return [
        f"{name}: removed" + (", and proven to be out" if done.proven else f". {LATER}"),
        *_leaked(done),
        f"  Its address and config.env are kept: {again} lets it in again, `removeconf {name}` forgets it.",
    ]


def forgotten(name: PeerName, done: Removed) -> list[str]:
    """Of ``removeconf``."""
    if done.peer is None:
        return [f"{name}: is not registered; nothing to forget", *_leaked(done)]
    out = "" if done.removed_key is None else ", and proven to be out" if done.proven else f". {LATER}"
    return [f"{name}: forgotten, its address {done.peer.address} is free{out}", *_leaked(done)]
