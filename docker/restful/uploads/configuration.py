"""What the environment asks of the service."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_FOLDER = "/app"
DEFAULT_PORT = 8000
DEFAULT_MAX_BYTES = 10 << 30


class ConfigurationError(ValueError):
    """A setting that the service cannot work with; the message is one line that says what to do."""


class Configuration(NamedTuple):
    """Where the service listens, where it keeps its files, and how much it takes."""

    address: str
    """The VPN address, the only one that is listened on."""
    port: int
    folder: Path
    max_bytes: int
    """The largest file that is taken."""
    hosts: tuple[str, ...]
    """What a request's Host header may name, beside the VPN address and localhost."""

    @property
    def bind(self) -> str:
        """Address and port as gunicorn wants them."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.folder / "db.sqlite3"

    @property
    def files(self) -> Path:
        """The folder of what was uploaded."""
        return self.folder / "files"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Configuration:
        """The settings in ``environ``. Raises ConfigurationError for the first one that cannot be meant."""
        address = environ.get("VPN_IP", "").strip()
        if not _is_an_address(address):
            raise ConfigurationError(f"VPN_IP is {address!r}, and must be a VPN address, like 10.220.0.3")
        folder = Path(environ.get("UPLOADS_FOLDER") or DEFAULT_FOLDER)
        if not folder.is_dir():
            raise ConfigurationError(f"{folder} is not a folder; create it, or name another with UPLOADS_FOLDER")
        return cls(
            address=address,
            port=_number(environ, "UPLOADS_PORT", DEFAULT_PORT, 65535),
            folder=folder.resolve(),
            max_bytes=_number(environ, "UPLOADS_MAX_BYTES", DEFAULT_MAX_BYTES, 1 << 60),
            hosts=tuple(host.strip() for host in environ.get("UPLOADS_HOSTS", "").split(",") if host.strip()),
        )


def _is_an_address(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return False


def _number(environ: Mapping[str, str], name: str, default: int, largest: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    # 20 digits are more than any limit of ours, and little to convert.
    if not (text.isascii() and text.isdecimal() and len(text) <= 20 and 0 < int(text) <= largest):
        raise ConfigurationError(f"{name} is {text!r}, and must be a whole number from 1 to {largest}")
    return int(text)
