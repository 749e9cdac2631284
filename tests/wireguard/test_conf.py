"""wg-quick files: what is read, what is refused, and what is written."""

from __future__ import annotations

import contextlib
import subprocess
from ipaddress import IPv4Interface
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.contract.samples import networks, preshared_key, private_key, public_key, wanted_device, wanted_peer
from vpn.lib.errors import InvalidInput, VpnError
from vpn.lib.wireguard import conf

if TYPE_CHECKING:
    from pathlib import Path

KEY = private_key(1).reveal()
A, B = str(public_key(2)), str(public_key(3))
PSK = preshared_key(1).reveal()

# As `wg showconf` writes it.
SHOWCONF = f"""[Interface]
ListenPort = 51820
PrivateKey = {KEY}

[Peer]
PublicKey = {A}
PresharedKey = {PSK}
AllowedIPs = 10.220.0.2/32
Endpoint = 192.0.2.1:4

[Peer]
PublicKey = {B}
AllowedIPs = 10.220.0.3/32, fd00::/64
PersistentKeepalive = 25
"""


def parse(text: str) -> conf.FileDevice:
    return conf.parse(text, "wg0.conf")


def test_a_file_of_wg_showconf_is_read() -> None:
    device = parse(SHOWCONF)
    assert (device.private_key, device.listen_port) == (private_key(1), 51820)
    first, second = device.peers
    assert (first.first_line, first.public_key(), first.preshared_key()) == (5, public_key(2), preshared_key(1))
    assert first.allowed_ips() == networks("10.220.0.2/32")
    assert (second.first_line, second.public_key(), second.preshared_key()) == (11, public_key(3), None)
    assert second.allowed_ips() == networks("10.220.0.3/32", "fd00::/64")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "# made by hand\n\n" + text,
        lambda text: text.replace("[Peer]", "[peer]").replace("[Interface]", "[INTERFACE]"),
        lambda text: text.replace(" = ", "="),
        lambda text: text.replace("[Peer]", "# a node\n[Peer]"),
        lambda text: text.replace("\n", "\n\n"),
        lambda text: text.removesuffix("\n"),
    ],
    ids=["CRLF", "comment before", "case", "no blanks", "comments between", "empty lines", "no last line end"],
)
def test_a_file_in_another_hand_is_read_alike(change: object) -> None:
    assert callable(change)
    device, plain = parse(change(SHOWCONF)), parse(SHOWCONF)
    assert device[:2] == plain[:2]
    assert [peer.values for peer in device.peers] == [peer.values for peer in plain.peers]


def test_a_file_without_a_port_leaves_it_open() -> None:
    assert parse(f"[Interface]\nPrivateKey = {KEY}\n").listen_port == 0


def test_two_sections_with_the_same_key_are_both_seen() -> None:
    again = f"\n[Peer]\nPublicKey = {A}\nAllowedIPs = 10.220.0.9/32\n"
    assert [peer.public_key() for peer in parse(SHOWCONF + again).peers] == [
        public_key(2),
        public_key(3),
        public_key(2),
    ]


def test_networks_on_several_lines_are_all_seen() -> None:
    text = (
        f"[Interface]\nPrivateKey = {KEY}\n[Peer]\nPublicKey = {A}\nAllowedIPs = 10.0.0.2/32\nAllowedIPs = fd00::/64\n"
    )
    assert parse(text).peers[0].allowed_ips() == networks("10.0.0.2/32", "fd00::/64")


def test_a_section_with_two_keys_is_refused_by_its_line() -> None:
    with pytest.raises(InvalidInput, match=r"wg0\.conf, line 5"):
        parse(SHOWCONF.replace("\n\n[Peer]\nPublicKey = " + B, "\nPublicKey = " + B))


def test_a_damaged_section_does_not_hide_the_others() -> None:
    damaged = "\n[Peer]\nAllowedIPs = 10.220.0.9/32\n\n[Peer]\nPublicKey = abc\nAllowedIPs = here\nPresharedKey = x\n"
    whole = f"\n[Peer]\nPublicKey = {A}\nAllowedIPs = 10.220.0.8/32\n"
    *_, keyless, wrong, last = parse(SHOWCONF + damaged + whole).peers
    assert last.public_key() == public_key(2)
    for broken, read in (
        (keyless, keyless.public_key),
        (wrong, wrong.public_key),
        (wrong, wrong.allowed_ips),
        (wrong, wrong.preshared_key),
        (last, last._replace(values={}).allowed_ips),
    ):
        assert broken.first_line > 0
        with pytest.raises(InvalidInput):
            read()
    with pytest.raises(InvalidInput, match=f"line {keyless.first_line}"):
        keyless.public_key()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "# nothing\n",
        "[Interface]\n",
        "[Interface]\nListenPort = 51820\n",
        f"[Peer]\nPublicKey = {A}\nAllowedIPs = 10.0.0.1/32\n",
        f"PrivateKey = {KEY}\n",
        f"[Interface]\nPrivateKey = {KEY[:-4]}\n",
        "[Interface]\nPrivateKey =\n",
        f"[Interface]\nPrivateKey = {KEY}\nListenPort = many\n",
        f"[Interface]\nPrivateKey = {KEY}\nListenPort = 65536\n",
        f"[Interface]\nPrivateKey = {KEY}\n[Interface]\nPrivateKey = {KEY}\n",
        f"[Interface]\nPrivateKey = {KEY}\n[Router]\nName = x\n",
        f"[Interface]\nPrivateKey = {KEY}\nnonsense\n",
        f"[Interface]\nPrivateKey = {KEY}\nPrivateKey = {KEY}\n",
        "\0\0\0\0",
        "Unable to access interface: No such device\n",
    ],
)
def test_a_file_that_cannot_say_who_the_hub_is_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"wg0\.conf") as caught:
        parse(text)
    assert KEY not in str(caught.value)


def test_a_file_that_breaks_off_is_refused_or_shows_whole_sections_only() -> None:
    """`wg showconf` on a full disk leaves such a file: a peer that lost its last line must not come out changed."""
    whole = parse(SHOWCONF)
    refused = 0
    for length in range(len(SHOWCONF)):
        try:
            device = parse(SHOWCONF[:length])
        except InvalidInput:
            refused += 1
            continue
        assert device.private_key == whole.private_key
        for peer, original in zip(device.peers, whole.peers, strict=False):
            # What is left of a section is the same, or is refused when it is read.
            for read, as_it_was in (
                (peer.public_key, original.public_key),
                (peer.preshared_key, original.preshared_key),
                (peer.allowed_ips, original.allowed_ips),
            ):
                with contextlib.suppress(InvalidInput):
                    seen = read()
                    assert seen in (as_it_was(), None) or peer.allowed_ips() < original.allowed_ips(), length
    assert refused > len(SHOWCONF) / 2


def test_an_address_that_may_be_cut_short_is_refused() -> None:
    text = f"[Interface]\nPrivateKey = {KEY}\n\n[Peer]\nPublicKey = {A}\nAllowedIPs = 10.220.0.1"
    with pytest.raises(InvalidInput, match="breaks off"):
        parse(text)
    assert parse(text + "2/32").peers[0].allowed_ips() == networks("10.220.0.12/32")


LINES = st.sampled_from(
    [
        *SHOWCONF.splitlines(),
        "[",
        "[]",
        "[Peer",
        "#! [Peer]",
        "#!",
        "# x = y",
        "=",
        "= x",
        "_disabled = 1",
        "_index_firstline = 7",
        "_rawdata = x",
        "PublicKey = ",
        "PublicKey = 5",
        "AllowedIPs = ,",
        "ListenPort = ²",
        "PrivateKey = 1,2",
        "\x85",
        "\x0b[Peer]",
        "\u2028",
    ]
)


@given(st.one_of(st.text(), st.lists(LINES).map("\n".join), st.lists(st.one_of(LINES, st.text())).map("\n".join)))
def test_garbage_raises_nothing_but_the_library_s_errors(text: str) -> None:
    with contextlib.suppress(VpnError):
        for peer in parse(text).peers:
            for read in (peer.public_key, peer.preshared_key, peer.allowed_ips):
                with contextlib.suppress(VpnError):
                    read()


@given(st.lists(LINES).map("\n".join))
def test_garbage_after_the_interface_raises_nothing_but_the_library_s_errors(text: str) -> None:
    with contextlib.suppress(VpnError):
        parse(f"[Interface]\nPrivateKey = {KEY}\n[Peer]\n{text}")


@pytest.mark.parametrize("comment", ["#! [Peer]", "#! PublicKey = x", "#! AllowedIPs = 10.0.0.9/32", "# [Peer]"])
def test_a_comment_is_a_comment_whatever_it_says(comment: str) -> None:
    device = parse(SHOWCONF.replace("[Peer]\n", f"[Peer]\n{comment}\n"))
    assert [peer.values for peer in device.peers] == [peer.values for peer in parse(SHOWCONF).peers]


def rendered() -> str:
    device = wanted_device()
    peers = [
        wanted_peer(
            2, preshared=1, endpoint="[2001:db8::1]:7", keepalive=25, allowed=networks("10.0.0.2/32", "fd00::/64")
        ),
        wanted_peer(3),
    ]
    return conf.render_interface(device, IPv4Interface("10.220.0.1/16"), 1420) + "".join(
        conf.render_peer(peer, f"node {number}") for number, peer in enumerate(peers)
    )


def test_what_is_written_reads_back() -> None:
    device = parse(rendered())
    assert (device.private_key, device.listen_port) == (private_key(1), 51820)
    first, second = device.peers
    assert (first.public_key(), first.preshared_key()) == (public_key(2), preshared_key(1))
    assert first.allowed_ips() == networks("10.0.0.2/32", "fd00::/64")
    assert (first.values["Endpoint"], first.values["PersistentKeepalive"]) == ("[2001:db8::1]:7", "25")
    assert (second.public_key(), second.preshared_key()) == (public_key(3), None)
    assert "Endpoint" not in second.values


def test_what_is_written_is_a_wg_quick_file(tmp_path: Path) -> None:
    path = tmp_path / "wg0.conf"
    path.write_text(rendered())
    path.chmod(0o600)
    stripped = subprocess.run(["wg-quick", "strip", str(path)], capture_output=True, text=True, check=True).stdout
    assert "Address" not in stripped
    assert [peer.values for peer in parse(stripped).peers] == [peer.values for peer in parse(rendered()).peers]


def test_a_section_is_text_to_the_letter() -> None:
    assert conf.render_peer(wanted_peer(3, allowed=networks("10.0.0.3/32")), "node node1") == (
        f"\n# node node1\n[Peer]\nPublicKey = {B}\nAllowedIPs = 10.0.0.3/32\n"
    )
    assert conf.render_interface(wanted_device(port=0), IPv4Interface("10.220.0.1/16"), 1420) == (
        f"[Interface]\nAddress = 10.220.0.1/16\nMTU = 1420\nPrivateKey = {KEY}\n"
    )


def test_a_client_s_sections_are_text_to_the_letter() -> None:
    address = IPv4Interface("10.221.0.2/32")
    assert conf.render_client(private_key(1), address, 1420) == (
        f"[Interface]\nAddress = 10.221.0.2/32\nMTU = 1420\nPrivateKey = {KEY}\n"
    )
    assert conf.render_client(None, address, 1420, "yours") == (
        f"[Interface]\nAddress = 10.221.0.2/32\nMTU = 1420\n# yours\nPrivateKey = {conf.PLACEHOLDER}\n"
    )
    hub = wanted_peer(3, allowed=networks("10.220.0.0/14"), keepalive=25)
    assert conf.render_peer(hub, "the hub", "hub.example.org:51820") == (
        f"\n# the hub\n[Peer]\nPublicKey = {B}\nAllowedIPs = 10.220.0.0/14\nEndpoint = hub.example.org:51820\n"
        "PersistentKeepalive = 25\n"
    )


def test_a_file_that_still_has_the_placeholder_is_refused() -> None:
    text = conf.render_client(None, IPv4Interface("10.221.0.2/32"), 1420) + conf.render_peer(wanted_peer(3))
    with pytest.raises(InvalidInput, match="not a WireGuard private key"):
        parse(text)
