"""The component's private key: made once, kept in its state directory, never handed out."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from vpn.lib import files
from vpn.lib.errors import InvalidInput, StateError, describe_os_error
from vpn.lib.wireguard import conf
from vpn.lib.wireguard.keys import PrivateKey

if TYPE_CHECKING:
    from pathlib import Path

WIREGUARD_FOLDER = "wireguard"
KEY_FILE = "private.key"
OLDER_FILE = "wg0.conf"


def load_or_make(folder: Path, owner: files.Owner | None) -> PrivateKey:
    """The component's private key.

    Made where there is none; taken from the ``wg0.conf`` of an older installation where there is one. A
    damaged key is never replaced: the hub knows the component by it. Raises StateError.
    """
    try:
        with files.folder(folder, WIREGUARD_FOLDER, owner=owner, create=True):
            pass
    except OSError as error:
        reason = describe_os_error(OSError(error.errno, error.strerror))
        raise StateError(f"cannot prepare {folder / WIREGUARD_FOLDER}: {reason}") from error
    path = folder / WIREGUARD_FOLDER / KEY_FILE
    with files.Lock(folder / WIREGUARD_FOLDER / "key.lock", owner=owner):
        with suppress(PermissionError):
            files.tighten(path, files.FILE_MODE)
        try:
            return PrivateKey.parse(files.read_text(path).removesuffix("\n"))
        except FileNotFoundError:
            key = _older(path.with_name(OLDER_FILE)) or PrivateKey.generate()
            files.write(path, f"{key.reveal()}\n".encode(), owner=owner)
            return key
        except InvalidInput as error:
            raise StateError(
                f"{path} is damaged; put back a copy of it, or delete it to make a new key and `add` that on the hub"
            ) from error


def put(folder: Path, key: PrivateKey, owner: files.Owner | None) -> None:
    """Replace the component's private key, once its hub has agreed to another. Raises StateError."""
    path = folder / WIREGUARD_FOLDER / KEY_FILE
    with files.Lock(folder / WIREGUARD_FOLDER / "key.lock", owner=owner):
        files.write(path, f"{key.reveal()}\n".encode(), owner=owner)


def _older(path: Path) -> PrivateKey | None:
    try:
        return conf.parse(files.read_text(path), str(path)).private_key
    except FileNotFoundError:
        return None
    except InvalidInput as error:
        raise StateError(f"{error}; or delete {path} to make a new key and `add` that on the hub") from error
