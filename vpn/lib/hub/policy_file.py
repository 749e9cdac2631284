"""The policy as files of the state directory: the one that a person writes, and the one that is in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpn.lib import files
from vpn.lib.errors import InvalidInput, StateError
from vpn.lib.firewall import override
from vpn.lib.firewall.policy import DEFAULT, Policy
from vpn.lib.hub.state import WIREGUARD_FOLDER

if TYPE_CHECKING:
    from pathlib import Path

    from vpn.lib.hub.settings import Settings

FILE = "policy.toml"


def path(settings: Settings) -> Path:
    """Where the consortium writes its own policy."""
    return settings.folder / FILE


def read(settings: Settings) -> Policy:
    """The policy that is wanted: of the file, or the default where there is none.

    Raises InvalidInput with line and value, or StateError.
    """
    try:
        text = files.read_text(path(settings))
    except FileNotFoundError:
        return DEFAULT
    return override.parse(text, str(path(settings)))


def in_force(settings: Settings) -> Policy | None:
    """The policy that the hub loaded last, None where it never did.

    It outlives the hub, so that a file that is damaged while the hub is down does not cut everybody off.
    """
    kept = settings.folder / WIREGUARD_FOLDER / FILE
    try:
        return override.parse(files.read_text(kept), str(kept), 2 * override.CHARACTERS)
    except (FileNotFoundError, InvalidInput, StateError):
        return None


def keep(settings: Settings, policy: Policy) -> None:
    """Note what is in force. Raises StateError when it cannot be written."""
    if in_force(settings) != policy:
        text = f"# The policy in force, written by the hub. Change {FILE} one folder up.\n\n{override.render(policy)}"
        files.write(settings.folder / WIREGUARD_FOLDER / FILE, text.encode(), owner=settings.owner)
