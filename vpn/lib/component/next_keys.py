"""Keys that are being handed to the hub: kept before they are handed over, so that no death loses them.

The hub takes them or does not; an answer may be lost either way. Until it is known which, the component has two
identities and tries both.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib import config_env, files
from vpn.lib.component import identity, settings as component_settings
from vpn.lib.control import INVITATION_EXPIRES, INVITATION_IP, INVITATION_KEY
from vpn.lib.errors import InvalidInput, StateError
from vpn.lib.wireguard.keys import PresharedKey, PrivateKey

if TYPE_CHECKING:
    from pathlib import Path

FILE = "next-keys"
ROTATION = "rotation"
"""What the keys are for, where it is not an invitation (then: its public key)."""


class NextKeys(NamedTuple):
    """A key pair and a preshared key of the component's own making, and what they are for."""

    private_key: PrivateKey
    preshared_key: PresharedKey
    purpose: str


def load(folder: Path) -> NextKeys | None:
    """The keys that are being handed over, None where there are none, or where what is there is damaged.

    Damaged ones cannot have been handed over whole: they are made again.
    """
    try:
        values = config_env.load(_path(folder))
        return NextKeys(
            PrivateKey.parse(values["PRIVATE_KEY"]), PresharedKey.parse(values["PRESHARED_KEY"]), values["PURPOSE"]
        )
    except (FileNotFoundError, InvalidInput, KeyError):
        return None


def load_or_make(folder: Path, owner: files.Owner | None, purpose: str) -> NextKeys:
    """The keys for this purpose, made and kept where there are none. Raises StateError."""
    found = load(folder)
    if found is not None and found.purpose == purpose:
        return found
    made = NextKeys(PrivateKey.generate(), PresharedKey.generate(), purpose)
    text = config_env.render(
        {
            "PRIVATE_KEY": made.private_key.reveal(),
            "PRESHARED_KEY": made.preshared_key.reveal(),
            "PURPOSE": purpose,
        }
    )
    files.write(_path(folder), text.encode(), owner=owner)
    return made


def settle(folder: Path, owner: files.Owner | None, keys: NextKeys) -> None:
    """Make these the component's keys: the hub has them. Killed anywhere in it, it is done again. Raises StateError."""
    path = folder / component_settings.FILE
    identity.put(folder, keys.private_key, owner)
    changes = {
        "VPN_SERVER_PSK": keys.preshared_key.reveal(),
        INVITATION_KEY: None,
        INVITATION_IP: None,
        INVITATION_EXPIRES: None,
    }
    try:
        text = config_env.replace(files.read_text(path), changes)
    except FileNotFoundError as error:
        raise StateError(f"{path} is not there any more; copy it from the hub again") from error
    lines = [line for line in text.split("\n") if not line.startswith("# An invitation")]
    files.write(path, "\n".join(lines).replace(f", {INVITATION_KEY}", "").encode(), owner=owner)
    if keys.purpose == ROTATION:
        forget(folder)


def forget(folder: Path) -> None:
    """They were not wanted."""
    with suppress(FileNotFoundError):
        os.unlink(_path(folder))


def _path(folder: Path) -> Path:
    return folder / identity.WIREGUARD_FOLDER / FILE
