"""Keys: what is accepted, what is refused, and that no secret shows."""

from __future__ import annotations

import subprocess
import traceback
from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given, strategies as st

from vpn.lib.errors import InvalidInput
from vpn.lib.wireguard.keys import PresharedKey, PrivateKey, PublicKey

KINDS = [PublicKey, PrivateKey, PresharedKey]
SECRETS = [PrivateKey, PresharedKey]
RAW = bytes(range(64, 96))
BASE64 = b64encode(RAW).decode()

P = 2**255 - 19
# The points of order 8, as cr.yp.to/ecdh.html lists them; the others are of order 1, 2 and 4.
ORDER_8 = (
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
LOW_ORDER = [0, 1, *ORDER_8, P - 1, P, P + 1]


def little_endian(number: int) -> bytes:
    return number.to_bytes(32, "little")


def canonical(text: str) -> bool:
    """Whether a text is the one base64 form of 32 bytes."""
    try:
        raw = b64decode(text.encode())
    except ValueError:
        return False
    return len(raw) == 32 and b64encode(raw).decode() == text


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_is_read_from_base64_and_hex_alike(kind: type[PublicKey]) -> None:
    assert kind.parse(BASE64) == kind(RAW) == kind.from_hex(RAW.hex()) == kind.from_hex(RAW.hex().upper())
    assert bytes(kind(RAW)).hex() == kind(RAW).hex()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "=",
        BASE64[:-1],
        BASE64[:-2] + "==",
        BASE64 + "=",
        BASE64 + "\n",
        "\n" + BASE64,
        " " + BASE64,
        BASE64 + " ",
        BASE64[:20] + "\n" + BASE64[20:],
        BASE64[:20] + " " + BASE64[21:],
        BASE64[:20] + "-" + BASE64[21:],
        BASE64[:20] + "_" + BASE64[21:],
        BASE64[:20] + "é" + BASE64[21:],
        BASE64[:20] + "\0" + BASE64[21:],
        BASE64 * 2,
        b64encode(RAW[:31]).decode(),
        b64encode(RAW + b"1").decode(),
        RAW.hex(),
        "(none)",
    ],
)
def test_base64_that_is_not_canonical_or_not_32_bytes_is_refused(kind: type[PublicKey], text: str) -> None:
    with pytest.raises(InvalidInput, match="44 characters"):
        kind.parse(text)


@pytest.mark.parametrize("kind", KINDS)
def test_base64_with_stray_bits_in_its_tail_is_refused(kind: type[PublicKey]) -> None:
    # 44 characters carry 258 bits besides the padding: the last two must be zero, or one key has four texts.
    assert BASE64[42] == "8"
    for stray in "9+/":
        with pytest.raises(InvalidInput):
            kind.parse(BASE64[:42] + stray + "=")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["", "ab" * 31, "ab" * 33, "zz" * 32, "ab " * 32, " " + "ab" * 32, "ab" * 32 + "\n"])
def test_hex_of_another_form_or_length_is_refused(kind: type[PublicKey], text: str) -> None:
    with pytest.raises(InvalidInput):
        kind.from_hex(text)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_bytes_of_another_length_are_refused(kind: type[PublicKey], length: int) -> None:
    with pytest.raises(InvalidInput, match="32 bytes"):
        kind(bytes(range(1, length + 1)))


@given(st.binary(min_size=32, max_size=32))
def test_every_key_s_text_reads_back_as_the_same_key(raw: bytes) -> None:
    preshared = PresharedKey(raw)
    assert PresharedKey.parse(preshared.reveal()) == PresharedKey.from_hex(preshared.hex()) == preshared
    private = PrivateKey(raw)
    assert PrivateKey.parse(private.reveal()) == private
    public = private.public_key()
    assert PublicKey.parse(str(public)) == PublicKey.from_hex(public.hex()) == public


@given(st.one_of(st.text(), st.text(alphabet="AZaz09+/=\n ", min_size=40, max_size=48)))
def test_any_text_is_a_key_or_refused(text: str) -> None:
    try:
        key = PresharedKey.parse(text)
    except InvalidInput:
        assert not canonical(text)
    else:
        assert key.reveal() == text


@pytest.mark.parametrize("top_bit", [0, 1])
@pytest.mark.parametrize("number", LOW_ORDER)
def test_a_point_of_low_order_is_refused_as_the_curve_itself_refuses_it(number: int, top_bit: int) -> None:
    raw = little_endian(number | top_bit << 255)
    with pytest.raises(ValueError, match="shared key"):
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(raw))
    for read, text in ((PublicKey.from_hex, raw.hex()), (PublicKey.parse, b64encode(raw).decode())):
        with pytest.raises(InvalidInput, match="low order"):
            read(text)
    with pytest.raises(InvalidInput, match="low order"):
        PublicKey(raw)


@given(
    st.one_of(st.binary(min_size=32, max_size=32), st.sampled_from(LOW_ORDER).map(little_endian)), st.integers(0, 255)
)
def test_a_public_key_is_refused_exactly_where_no_secret_can_be_agreed_on(raw: bytes, last: int) -> None:
    raw = raw[:31] + bytes([raw[31] ^ (last & 0x81)])
    try:
        X25519PrivateKey.from_private_bytes(RAW).exchange(X25519PublicKey.from_public_bytes(raw))
    except ValueError:
        with pytest.raises(InvalidInput):
            PublicKey(raw)
    else:
        assert bytes(PublicKey(raw)) == raw


def test_a_private_key_is_clamped_and_clamping_changes_no_public_key() -> None:
    raw = b"\xff" * 32
    clamped = bytes(PrivateKey(raw))
    assert clamped == b"\xf8" + b"\xff" * 30 + b"\x7f"
    assert PrivateKey(raw) == PrivateKey(clamped)
    zero = PrivateKey(bytes(32))
    assert bytes(zero) == bytes(31) + b"\x40"
    expected = X25519PrivateKey.from_private_bytes(raw).public_key().public_bytes_raw()
    assert bytes(PrivateKey(raw).public_key()) == expected


def test_keys_agree_with_wg() -> None:
    private = PrivateKey.generate()
    printed = subprocess.run(
        ["wg", "pubkey"], input=private.reveal(), capture_output=True, text=True, check=True, timeout=30
    ).stdout.strip()
    assert PublicKey.parse(printed) == private.public_key()


@pytest.mark.parametrize("kind", [PrivateKey, PresharedKey])
def test_generated_keys_differ(kind: type[PrivateKey]) -> None:
    assert len({kind.generate() for _ in range(50)}) == 50


def test_keys_of_different_kinds_are_never_equal() -> None:
    raw = bytes(PrivateKey(RAW))
    public, private, preshared = PublicKey(raw), PrivateKey(raw), PresharedKey(raw)
    keys: list[object] = [public, private, preshared, raw, public.hex(), str(public)]
    for index, one in enumerate(keys):
        for other in keys[index + 1 :]:
            assert one != other
    assert len({public, private, preshared}) == 3
    assert len({public, PublicKey(raw)}) == 1


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_shows_in_no_text(kind: type[PrivateKey]) -> None:
    key = kind(RAW)
    secrets = {key.reveal(), key.hex(), RAW.hex(), BASE64}
    shown = [repr(key), str(key), f"{key}", f"{key!r}", f"{key!s:>60}", "%s" % key, str([key]), str({"k": key})]  # noqa: UP031
    assert all(secret not in text for text in shown for secret in secrets)
    assert repr(key) == f"{kind.__name__}(hidden)"


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("text", [BASE64[:-1], BASE64 + "\n", BASE64[:42] + "9="])
def test_a_refused_secret_shows_in_no_error_and_no_traceback(kind: type[PrivateKey], text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        kind.parse(text)
    shown = "".join(traceback.format_exception(caught.value))
    assert BASE64[:40] not in shown
    with pytest.raises(InvalidInput) as caught:
        kind.from_hex(RAW.hex()[:-2])
    assert RAW.hex()[:40] not in "".join(traceback.format_exception(caught.value))


def test_a_public_key_shows_itself() -> None:
    assert (str(PublicKey(RAW)), repr(PublicKey(RAW))) == (BASE64, f"PublicKey({BASE64})")
