"""``wg-quick`` files (wg-quick(8)), read and written with wgconfig."""

from __future__ import annotations

import io
from ipaddress import ip_network
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib.errors import InvalidInput
from vpn.lib.wireguard.keys import PresharedKey, PrivateKey, PublicKey
from vpn.lib.wireguard.types import IPNetwork, parse_port

if TYPE_CHECKING:
    from ipaddress import IPv4Interface

    from vpn.lib.wireguard.types import WantedDevice, WantedPeer


class FilePeer(NamedTuple):
    """A [Peer] section as it stands, not yet validated: a damaged one must not hide the others.

    ``first_line`` counts from 1.
    """

    first_line: int
    values: dict[str, str]

    def public_key(self) -> PublicKey:
        """The section's PublicKey. Raises InvalidInput."""
        return PublicKey.parse(self._value("PublicKey"))

    def preshared_key(self) -> PresharedKey | None:
        """The section's PresharedKey, None where it has none. Raises InvalidInput."""
        return PresharedKey.parse(self.values["PresharedKey"]) if "PresharedKey" in self.values else None

    def allowed_ips(self) -> frozenset[IPNetwork]:
        """The section's AllowedIPs. Raises InvalidInput."""
        try:
            return frozenset(ip_network(item.strip()) for item in self._value("AllowedIPs").split(","))
        except ValueError as error:
            raise InvalidInput(f"line {self.first_line}: AllowedIPs are no networks") from error

    def _value(self, name: str) -> str:
        if name not in self.values:
            raise InvalidInput(f"line {self.first_line}: a [Peer] section without {name}")
        return self.values[name]


class FileDevice(NamedTuple):
    """A wg-quick file."""

    private_key: PrivateKey
    listen_port: int
    peers: tuple[FilePeer, ...]


def parse(text: str, source: str) -> FileDevice:
    """The device in a wg-quick file; ``source`` names the file in errors.

    Raises InvalidInput for a file without a private key, one that is not in the format, and one that
    breaks off in the middle of a line or a section.
    """
    sections = _sections(text, source)
    interface = sections[0].values if sections else {}
    if "PrivateKey" not in interface:
        raise InvalidInput(
            f"{source} has no PrivateKey, so it cannot say who the hub is; put back a copy of the file that has it"
        )
    try:
        private_key = PrivateKey.parse(interface["PrivateKey"])
        listen_port = parse_port(interface["ListenPort"]) if "ListenPort" in interface else 0
    except InvalidInput as error:
        raise InvalidInput(f"{source}, [Interface]: {error}") from error
    peers = tuple(sections[1:])
    if peers and not text.endswith("\n") and not _complete(peers[-1]):
        raise InvalidInput(
            f"{source} breaks off in the middle of its last [Peer] section (line {peers[-1].first_line}); put back a"
            " copy of the whole file"
        )
    return FileDevice(private_key, listen_port, peers)


def _complete(peer: FilePeer) -> bool:
    try:
        peer.public_key(), peer.preshared_key(), peer.allowed_ips()
    except InvalidInput:
        return False
    # 10.0.0.1 may be what is left of 10.0.0.12/32, another peer's address.
    return all("/" in item for item in peer.values["AllowedIPs"].split(","))


def _sections(text: str, source: str) -> list[FilePeer]:
    """The file's sections, the [Interface] first, each parsed by wgconfig.

    wgconfig keeps only the last of two sections with the same public key, and drops a section without
    one, so each is handed to it by itself.
    """
    from wgconfig import WGConfig

    chunks: list[tuple[int, list[str]]] = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if line.strip().startswith("["):
            chunks.append((number, []))
        elif not line.strip() or line.lstrip().startswith("#"):
            # wgconfig has a meaning for some comments, wg-quick for none.
            continue
        elif not chunks or "=" not in line or line.lstrip().startswith("_"):  # wgconfig's own names begin with it
            raise InvalidInput(f"{source}, line {number}: not a line of a wg-quick file; put back a whole copy")
        if chunks:
            chunks[-1][1].append(line)
    sections = []
    for index, (number, lines) in enumerate(chunks):
        kind = lines[0].strip().lower()
        if kind != ("[peer]" if index else "[interface]"):
            raise InvalidInput(f"{source}, line {number}: unexpected {lines[0].strip()[:40]!r}; put back a whole copy")
        config = WGConfig()
        config.read_from_fileobj(io.StringIO("\n".join(lines)))
        try:
            values = config.get_peers(keys_only=False) if index else {None: config.get_interface()}
            (section,) = values.values()
        except (ValueError, TypeError) as error:  # such as for two public keys in one section
            raise InvalidInput(f"{source}, line {number}: not a section of a wg-quick file; correct it") from error
        sections.append(
            FilePeer(
                number,
                {
                    name: ",".join(map(str, value)) if isinstance(value, list) else str(value)
                    for name, value in section.items()
                },
            )
        )
    return sections


def render_interface(device: WantedDevice, address: IPv4Interface, mtu: int) -> str:
    """The [Interface] section of a wg-quick file. Holds the private key."""
    from wgconfig import WGConfig

    config = WGConfig()
    config.add_attr(None, "Address", str(address))
    config.add_attr(None, "MTU", mtu)
    if device.listen_port:
        config.add_attr(None, "ListenPort", device.listen_port)
    config.add_attr(None, "PrivateKey", device.private_key.reveal())
    return "\n".join(config.lines) + "\n"


PLACEHOLDER = "REPLACE_THIS_WITH_THE_PRIVATE_KEY"
"""Where a private key is due that is not known here: no key, so that WireGuard refuses a file that still has it."""


def render_client(private_key: PrivateKey | None, address: IPv4Interface, mtu: int, hint: str = "") -> str:
    """The [Interface] section of a client's wg-quick file; ``hint`` is a comment before its private key."""
    from wgconfig import WGConfig

    config = WGConfig()
    config.add_attr(None, "Address", str(address))
    config.add_attr(None, "MTU", mtu)
    key = PLACEHOLDER if private_key is None else private_key.reveal()
    config.add_attr(None, "PrivateKey", key, leading_comment=f"# {hint}" if hint else None)
    return "\n".join(config.lines) + "\n"


def render_peer(peer: WantedPeer, name: str = "", endpoint: str = "") -> str:
    """A [Peer] section with an empty line before it, and ``name`` as a comment. Holds the preshared key.

    ``endpoint`` stands in the place of the peer's, and may have a host's name in it.
    """
    from wgconfig import WGConfig

    # One object a peer: wgconfig reads the whole file again at each change.
    config = WGConfig()
    key = str(peer.public_key)
    config.add_peer(key, f"# {name}" if name else None)
    if peer.preshared_key is not None:
        config.add_attr(key, "PresharedKey", peer.preshared_key.reveal())
    config.add_attr(key, "AllowedIPs", ", ".join(sorted(map(str, peer.allowed_ips))))
    if endpoint or peer.endpoint is not None:
        config.add_attr(key, "Endpoint", endpoint or str(peer.endpoint))
    if peer.persistent_keepalive:
        config.add_attr(key, "PersistentKeepalive", peer.persistent_keepalive)
    return "\n".join(config.lines[1:]) + "\n"
