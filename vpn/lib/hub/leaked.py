"""Keys that leaked, as a file beside ``wg0.conf``: where the registry is lost, they are still refused.

A projection of the registry: one key a line, written again with each key that is marked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpn.lib import files
from vpn.lib.registry import takeover

if TYPE_CHECKING:
    from vpn.lib.hub.settings import Settings
    from vpn.lib.registry.store import Registry

_HEADER = "# Public keys that leaked, refused for ever. Written by the hub from its registry; keep it.\n"


def write(settings: Settings, registry: Registry) -> None:
    """Write the file, unless no key ever leaked. Raises StateError."""
    keys = registry.leaked()
    if keys:
        text = _HEADER + "".join(f"{key}\n" for key in keys)
        files.write(settings.folder / takeover.LEAKED, text.encode(), owner=settings.owner)
