"""The archive that takes a node to a machine without this project: its layout, and what may be in it.

A tar with one folder, ``fedbiomed-vpn-node``. The image is a member among the others, compressed by itself, so that
it can be handed to docker as it is read. ``SHA256SUMS``, as sha256sum writes it, comes last and names all the rest.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import IO

TOP = "fedbiomed-vpn-node"
IMAGE = "image.tar.gz"
SUMS = "SHA256SUMS"
COMPOSE = "docker-compose.yml"
REQUIRED = (IMAGE, COMPOSE, SUMS)
SMALL = 4 << 20
"""Bytes; more than any member but the image has."""

CHUNK = 1 << 20
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_PART = re.compile(r"[A-Za-z0-9._-]{1,100}")


class Member(NamedTuple):
    """A member that has been checked: its name below the archive's folder, and where it is."""

    name: str
    info: tarfile.TarInfo


def read_through(path: Path, progress: Callable[[int], None]) -> list[Member]:
    """Read the whole archive and check it: every member's kind and name, every checksum. The files in it.

    Raises InvalidInput for an archive that is damaged, is none of ours, or holds what it should not.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            members, sums = _members(archive, progress)
    except FileNotFoundError:
        raise InvalidInput(f"{path} is not there; check the name") from None
    except (tarfile.TarError, EOFError, UnicodeError) as error:
        raise InvalidInput(f"{path} is damaged, or no archive of `fedbiomed_vpn export`; copy it again") from error
    if any(name not in sums for name in REQUIRED):
        raise InvalidInput(f"{path} is incomplete, or no archive of `fedbiomed_vpn export`; copy it again")
    listed = _parse(sums.pop(SUMS), path)
    wrong = sorted(name for name in listed.keys() | sums.keys() if listed.get(name) != sums.get(name))
    if wrong:
        raise InvalidInput(f"{path} is damaged: {wrong[0]} is not what was exported; copy the archive again")
    return members


def _members(archive: tarfile.TarFile, progress: Callable[[int], None]) -> tuple[list[Member], dict[str, str]]:
    """The members, and their checksums by name; under SUMS the text of that file."""
    members: list[Member] = []
    sums: dict[str, str] = {}
    for info in archive:
        name = checked_name(info)
        if name is None:
            continue
        if name in sums:
            raise InvalidInput(f"{name} is in the archive twice; it is none of `fedbiomed_vpn export`")
        if name != IMAGE and info.size > SMALL:
            raise InvalidInput(f"{name} in the archive is too large; it is none of `fedbiomed_vpn export`")
        file = archive.extractfile(info)
        assert file is not None
        sums[name] = file.read().decode("utf-8") if name == SUMS else digest(file, info.size, progress)
        if name != SUMS:
            members.append(Member(name, info))
    return members, sums


def checked_name(info: tarfile.TarInfo) -> str | None:
    """The name of a file below the archive's folder; None for a folder, which is made where a file needs it.

    Raises InvalidInput for anything else than files and folders, and for a name that leads out of it.
    """
    parts = info.name.split("/")
    if not (info.isreg() or info.isdir()):
        raise InvalidInput(f"{info.name[:100]!r} in the archive is no file and no folder; it is none of ours: refused")
    if parts[0] != TOP or any(part in (".", "..") or not _PART.fullmatch(part) for part in parts):
        raise InvalidInput(f"{info.name[:100]!r} is no name that an archive of ours holds; it is none of ours: refused")
    if info.isdir():
        return None
    if len(parts) == 1:
        raise InvalidInput(f"{TOP} in the archive is a file; it is none of ours: refused")
    return "/".join(parts[1:])


def digest(file: IO[bytes], size: int, progress: Callable[[int], None]) -> str:
    """The SHA-256 of the next ``size`` bytes. Raises InvalidInput where there are fewer."""
    state = hashlib.sha256()
    left = size
    while left:
        chunk = file.read(min(CHUNK, left))
        if not chunk:
            raise InvalidInput("the archive ends too early; copy it again")
        state.update(chunk)
        left -= len(chunk)
        progress(len(chunk))
    return state.hexdigest()


def _parse(text: str, path: Path) -> dict[str, str]:
    listed = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise InvalidInput(f"{path} is damaged: {SUMS} in it cannot be read; copy the archive again")
        listed[match[2]] = match[1]
    return listed
