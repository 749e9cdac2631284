"""Keys: Curve25519 public and private keys, and preshared keys, each a type of its own.

All are 32 bytes, written as 44 characters of base64 (wg(8)). Private and preshared keys never show
their bytes by accident: ``repr`` and ``str`` hide them, ``reveal`` is the one way out.
"""

from __future__ import annotations

import os
from binascii import Error as Base64Error, a2b_base64, b2a_base64
from typing import Self

from vpn.lib.errors import InvalidInput

KEY_LENGTH = 32
"""Bytes of each kind of key (whitepaper, section 5.4)."""

# The u-coordinates of the points of order 1, 2, 4 and 8 on Curve25519 and its twist, little endian,
# with their non-canonical twins below 2^255 (cr.yp.to/ecdh.html#validate). A Diffie-Hellman with any
# of them gives zero whatever the private key. The top bit is ignored by X25519 (RFC 7748, section 5).
_LOW_ORDER = frozenset(
    bytes.fromhex(point)
    for point in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)

# One look at four bytes spares nearly every key the rest of the comparison.
_LOW_ORDER_HEADS = frozenset(point[:4] for point in _LOW_ORDER)


class _Key:
    """32 bytes. Equal only to a key of the same type with the same bytes."""

    __slots__ = ("_raw",)
    _kind = "key"

    def __init__(self, raw: bytes) -> None:
        if len(raw) != KEY_LENGTH:
            raise InvalidInput(f"a {self._kind} has {KEY_LENGTH} bytes, not {len(raw)}; copy it again")
        self._raw = bytes(raw)

    @classmethod
    def parse(cls, text: str) -> Self:
        """From base64 as `wg` prints it: 44 characters, canonical, nothing before or after them.

        Raises InvalidInput; the message does not repeat the text, which may be a secret.
        """
        try:
            raw = a2b_base64(text.encode("ascii"), strict_mode=True)
            canonical = b2a_base64(raw, newline=False).decode("ascii") == text
        except (Base64Error, UnicodeEncodeError):
            raw, canonical = b"", False
        if len(raw) != KEY_LENGTH or not canonical:
            raise InvalidInput(
                f"not a WireGuard {cls._kind}: 44 characters of base64 ending in `=` are due; copy it whole, without"
                " spaces or line breaks"
            )
        return cls(raw)

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """From 64 hexadecimal digits, as the UAPI writes keys."""
        try:
            raw = bytes.fromhex(text)
        except ValueError:
            raw = b""
        if len(raw) != KEY_LENGTH or len(text) != 2 * KEY_LENGTH:
            raise InvalidInput(f"not a WireGuard {cls._kind}: {2 * KEY_LENGTH} hexadecimal digits are due")
        return cls(raw)

    def __bytes__(self) -> bytes:
        return self._raw

    def hex(self) -> str:
        """64 lower-case hexadecimal digits, as the UAPI reads keys."""
        return self._raw.hex()

    def __hash__(self) -> int:
        return hash(self._raw)


class PublicKey(_Key):
    """A peer's identity. Raises InvalidInput for a point of low order, which agrees on no secret."""

    __slots__ = ()
    _kind = "public key"

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        if self._raw[:4] in _LOW_ORDER_HEADS and self._raw[:31] + bytes([self._raw[31] & 0x7F]) in _LOW_ORDER:
            raise InvalidInput(
                "this public key is a point of low order, which protects nothing; make a new one with `wg genkey`"
            )

    @classmethod
    def observed(cls, raw: bytes) -> Self:
        """The key of a peer that a device shows, of whatever order: to be removed, it must have a name."""
        key = cls.__new__(cls)
        _Key.__init__(key, raw)
        return key

    def __eq__(self, other: object) -> bool:
        return self._raw == other._raw if isinstance(other, PublicKey) else NotImplemented

    __hash__ = _Key.__hash__

    def __str__(self) -> str:
        return b2a_base64(self._raw, newline=False).decode("ascii")

    def __repr__(self) -> str:
        return f"PublicKey({self})"


class _SecretKey(_Key):
    """A key whose bytes must not leak into logs, errors or tracebacks."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _SecretKey) or type(other) is not type(self):
            return NotImplemented
        from hmac import compare_digest

        return compare_digest(self._raw, other._raw)

    __hash__ = _Key.__hash__

    def __repr__(self) -> str:
        return f"{type(self).__name__}(hidden)"

    __str__ = __repr__

    def reveal(self) -> str:
        """The key in base64, for the one place that must write it."""
        return b2a_base64(self._raw, newline=False).decode("ascii")


class PrivateKey(_SecretKey):
    """A Curve25519 private key, kept clamped (RFC 7748, section 5) as every implementation keeps it."""

    __slots__ = ("_public",)
    _kind = "private key"

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        clamped = bytearray(self._raw)
        clamped[0] &= 248
        clamped[31] = (clamped[31] & 127) | 64
        self._raw = bytes(clamped)
        self._public: PublicKey | None = None

    @classmethod
    def generate(cls) -> PrivateKey:
        """A new key from the system's random numbers."""
        return cls(os.urandom(KEY_LENGTH))

    def public_key(self) -> PublicKey:
        """The public key that belongs to this one (computed once)."""
        if self._public is None:
            # 20 ms to import, and most commands never need it.
            from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

            self._public = PublicKey(X25519PrivateKey.from_private_bytes(self._raw).public_key().public_bytes_raw())
        return self._public


class PresharedKey(_SecretKey):
    """The symmetric key that two peers mix into their handshake. All zeros means none (wg(8))."""

    __slots__ = ()
    _kind = "preshared key"

    @classmethod
    def generate(cls) -> PresharedKey:
        """A new key from the system's random numbers."""
        return cls(os.urandom(KEY_LENGTH))
