"""A backup as one file: a line that names it, a line of JSON about it, and its contents, encrypted or plain.

The key is scrypt of the passphrase, the cipher AES-256-GCM, which authenticates both lines as well. A plain one has a
checksum in their place, against damage and not against forgery.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from vpn.lib.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAGIC = b"fedbiomed-vpn backup\n"
FORMAT = 1
HEADER_LIMIT = 1 << 16
ENCRYPTED, PLAIN = "scrypt, aes-256-gcm", "none"
COST = {"n": 1 << 16, "r": 8, "p": 1}
"""Of scrypt: 64 MiB and a fifth of a second for each guess."""
MOST_COST = {"n": 1 << 20, "r": 16, "p": 8}
"""What a file may ask for at most: a forged one must not take the machine down."""
TAG_LENGTH = 16
REGISTRY, CONFIG, POLICY = "registry.db", "config.env", "policy.toml"


class Contents(NamedTuple):
    """What a backup holds: files by name, and when it was made (Unix time)."""

    made: float
    files: Mapping[str, bytes]


def pack(contents: Contents, passphrase: bytes | None) -> bytes:
    """The file's bytes; plain where there is no passphrase."""
    header: dict[str, object] = {
        "format": FORMAT,
        "made": contents.made,
        "files": {name: len(data) for name, data in contents.files.items()},
    }
    payload = b"".join(contents.files.values())
    if passphrase is None:
        header |= {"cipher": PLAIN, "sha256": hashlib.sha256(payload).hexdigest()}
        return _head(header) + payload
    salt, nonce = os.urandom(16), os.urandom(12)
    header |= {"cipher": ENCRYPTED, **COST, "salt": salt.hex(), "nonce": nonce.hex()}
    head = _head(header)
    sealed: bytes = _cipher(passphrase, salt, **COST).encrypt(nonce, payload, head)
    return head + sealed


def unpack(raw: bytes, source: str, ask: Callable[[], bytes]) -> Contents:
    """The contents; ``ask`` gives the passphrase, and is called only if one is needed.

    Raises InvalidInput, naming the file as ``source``, for a wrong passphrase and for whatever is not a whole backup.
    """
    head, header = _header(raw, source)
    payload = raw[len(head) :]
    sizes = header["files"]
    due = sum(sizes.values()) + (TAG_LENGTH if header["cipher"] == ENCRYPTED else 0)
    if len(payload) < due:
        raise InvalidInput(f"{source} is cut short: {due - len(payload)} bytes are missing; copy it again")
    if len(payload) > due:
        raise _damaged(source)
    if header["cipher"] == PLAIN:
        if not hmac.compare_digest(hashlib.sha256(payload).hexdigest(), str(header.get("sha256"))):
            raise _damaged(source)
    else:
        payload = _decrypt(head, header, payload, source, ask)
    files, start = {}, 0
    for name, size in sizes.items():
        files[name] = payload[start : start + size]
        start += size
    return Contents(header["made"], files)


def is_one(beginning: bytes) -> bool:
    """Whether a file that begins like this is a backup."""
    return beginning.startswith(MAGIC)


def _head(header: Mapping[str, object]) -> bytes:
    return MAGIC + json.dumps(header).encode() + b"\n"


def _header(raw: bytes, source: str) -> tuple[bytes, dict[str, Any]]:
    """Both lines, and what the second says, checked."""
    if not raw.startswith(MAGIC):
        if MAGIC.startswith(raw):
            raise InvalidInput(f"{source} is empty or cut short; copy it again")
        raise InvalidInput(f"{source} is no backup of a hub; give the file that `configure_peer.py backup` wrote")
    end = raw.find(b"\n", len(MAGIC), len(MAGIC) + HEADER_LIMIT) + 1
    if not end:
        raise InvalidInput(f"{source} is cut short or damaged; copy it again, or use another backup")
    try:
        header = json.loads(raw[len(MAGIC) : end])
        if header["format"] > FORMAT:
            raise InvalidInput(f"{source} was made by a newer release; install that release, or a later one")
        sizes = header["files"]
        well = (
            header["format"] == FORMAT
            and header["cipher"] in (ENCRYPTED, PLAIN)
            and REGISTRY in sizes
            and sizes.keys() <= {REGISTRY, CONFIG, POLICY}
            and all(type(size) is int and size >= 0 for size in sizes.values())
            and type(header["made"]) is float
        )
        time.gmtime(header["made"])
    except InvalidInput:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError, RecursionError) as error:
        raise _damaged(source) from error
    if not well:
        raise _damaged(source)
    return raw[:end], header


def _decrypt(head: bytes, header: dict[str, Any], payload: bytes, source: str, ask: Callable[[], bytes]) -> bytes:
    from cryptography.exceptions import InvalidTag

    try:
        salt, nonce = bytes.fromhex(header["salt"]), bytes.fromhex(header["nonce"])
        cost = {name: header[name] for name in COST}
        well = len(nonce) == 12 and all(
            type(number) is int and 0 < number <= MOST_COST[name] for name, number in cost.items()
        )
        well = well and cost["n"] > 1 and cost["n"] & (cost["n"] - 1) == 0
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(source) from error
    if not well:
        raise _damaged(source)
    try:
        opened: bytes = _cipher(ask(), salt, **cost).decrypt(nonce, payload, head)
    except InvalidTag as error:
        raise InvalidInput(
            f"the passphrase does not fit {source}, or the file is damaged; try again, or use another backup"
        ) from error
    return opened


def _cipher(passphrase: bytes, salt: bytes, *, n: int, r: int, p: int) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return AESGCM(Scrypt(salt=salt, length=32, n=n, r=r, p=p).derive(passphrase))


def _damaged(source: str) -> InvalidInput:
    return InvalidInput(f"{source} is damaged; copy it again, or use another backup")
