"""``backup``: all that cannot be made again, in one file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vpn.lib import files
from vpn.lib.errors import Refused
from vpn.lib.hub import backup_file
from vpn.lib.hub.backup_file import CONFIG, POLICY, REGISTRY
from vpn.lib.registry.audit import find_break

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vpn.lib.hub.service import Hub
    from vpn.lib.registry.audit import Break


def make(hub: Hub, path: Path, passphrase: bytes | None, clock: Callable[[], float] = time.time) -> Break | None:
    """Write a backup of the hub to ``path``, while it is in use; plain where there is no passphrase.

    It is an entry of the audit log, also of the one in the backup. Returns the first broken entry of that log.
    Raises Refused when ``path`` is something else than an earlier backup, and StateError when it cannot be written;
    then nothing is changed.
    """
    _check_target(path)
    beside = {}
    for name in (CONFIG, POLICY):
        try:
            beside[name] = files.read_text(hub.settings.folder / name).encode()
        except FileNotFoundError:
            continue

    def save(image: bytes) -> None:
        contents = backup_file.Contents(float(clock()), {REGISTRY: image, **beside})
        files.write(path, backup_file.pack(contents, passphrase))

    hub.back_up(save, f"{'plain ' if passphrase is None else ''}backup to {path.absolute()}")
    return find_break(hub.chain(), hub.records())


def _check_target(path: Path) -> None:
    if path.is_dir():
        raise Refused(f"{path} is a folder; give the name of a file")
    if path.is_file() and not path.is_symlink():
        with path.open("rb") as file:
            if not backup_file.is_one(file.read(len(backup_file.MAGIC))):
                raise Refused(f"{path} is there and is no backup; give another name")
