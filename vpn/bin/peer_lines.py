"""What configure_peer.py says of a peer that it changed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from vpn.lib.hub.invitations import shown
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


def configured(done: Configured, path: Path, *, dry_run: bool = False) -> list[str]:
    """Of ``genconf``."""
    name = done.peer.name
    if dry_run:
        what = "would be registered" if done.new else "is registered already"
        return [f"{name}: {what} at {done.peer.address}; nothing is changed"]
    lines = [
        f"{name}: {'registered' if done.new else 'was registered already'} at {done.peer.address}",
        f"  {path}",
    ]
    if done.peer.until is not None:
        lines.append(f"It expires on {shown(done.peer.until)}.")
    if done.invitation is not None:
        lines.append(
            "Next: hand this file to the component by a safe way, and have it put in place and started. It joins by"
            f" itself, once, until {shown(done.invitation.expires)}."
        )
    elif done.peer.public_key is None:
        lines += [
            "Next: copy this file to the component as its config.env, start the component, then here:",
            f"  configure_peer.py add {name} PUBLICKEY",
        ]
    return lines


def added(done: Added, *, dry_run: bool = False) -> list[str]:
    """Of ``add``."""
    name = done.peer.name
    if dry_run:
        former = "" if done.replaced is None else f", in place of {done.replaced}"
        what = f"would get this key{former}" if done.changed else "has this key already"
        return [f"{name}: {what}; nothing is changed"]
    if not done.changed:
        return [f"{name}: has this key already; nothing changed"]
    lines = []
    if done.replaced is not None:
        lines.append(f"{name}: the former key {done.replaced} is replaced and out")
    if done.peer.standing is not Standing.ENABLED:
        way = f"enable {name}" if done.peer.standing is Standing.DISABLED else f"genconf {name} --until DATE"
        return [*lines, f"{name}: its key is saved, but it is {done.peer.standing.value}: `{way}` lets it in"]
    return [
        *lines,
        f"{name}: added with address {done.peer.address}" + (" and let in" if done.applied else f". {LATER}"),
    ]


def _leaked(done: Removed) -> list[str]:
    if done.leaked is None:
        return []
    return [f"  The key {done.leaked} is marked as leaked: it is refused for ever, whoever comes with it."]


def rehearsed(name: PeerName, done: Removed, command: str) -> list[str]:
    """Of ``remove`` and ``removeconf`` with ``--dry-run``."""
    if done.peer is None:
        return [f"{name}: is not registered; nothing to forget"]
    parts = [f"lose its key {done.removed_key}"] if done.removed_key is not None else []
    parts += ["lose its invitation"] if done.withdrawn else []
    parts += [f"be forgotten, with its address {done.peer.address}"] if command == "removeconf" else []
    parts += [f"have the key {done.leaked} refused for ever"] if done.leaked is not None else []
    return [f"{name}: would {', and '.join(parts) or 'not change'}; nothing is changed"]


def removed(name: PeerName, done: Removed) -> list[str]:
    """Of ``remove``."""
    lines = [f"{name}: its invitation is withdrawn"] if done.withdrawn else []
    if done.removed_key is None:
        return [*(lines or [f"{name}: has no key; nothing to remove"]), *_leaked(done)]
    again = "`add`" if done.leaked is None else "`add` with another key"
    return [
        *lines,
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
