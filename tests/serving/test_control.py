"""The hub's control endpoint, asked as its peers ask it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.hub.peers import key
from tests.serving.asgi import Answer, ask
from vpn.lib import control as protocol
from vpn.lib.errors import DeviceMissing
from vpn.lib.hub import life
from vpn.lib.hub.outcomes import Terms
from vpn.lib.registry.peer import PeerName, PeerType
from vpn.lib.serving import control
from vpn.lib.wireguard.keys import PresharedKey, PublicKey

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.applications import Starlette

    from tests.hub.memory_device import MemoryDevice
    from vpn.lib.hub.service import Hub


NODE = PeerName(PeerType.NODE, "node1")
PSK = PresharedKey(bytes([7] * 32))


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"VPN_CONFIG_DIR": str(tmp_path), "VPN_SERVER_PUBLIC_ADDR": "hub.example.org"}


@pytest.fixture
def app(environ: dict[str, str], device: MemoryDevice, monkeypatch: pytest.MonkeyPatch) -> Starlette:
    monkeypatch.setattr(control, "open_device", lambda _: device)
    return control.application(environ)


def body(public_key: PublicKey, **changes: object) -> bytes:
    return json.dumps({"public_key": str(public_key), "preshared_key": PSK.reveal(), **changes}).encode()


def message(answer: Answer) -> str:
    return str(answer.json[protocol.MESSAGE])


def test_an_invitation_is_used_from_its_own_address_and_once(hub: Hub, app: Starlette, device: MemoryDevice) -> None:
    made = hub.genconf(NODE, Terms(valid=1e10)).invitation
    assert made is not None
    refused = ask(app, "POST", protocol.ENROL, body(key(1)), address="10.223.9.9")
    assert (refused.status, message(refused)) == (409, "there is no such invitation any more; ask for a new one")
    done = ask(app, "POST", protocol.ENROL, body(key(1)), address=str(made.address))
    assert (done.status, message(done)) == (200, "node node1")
    assert device.peers.keys() == {key(1)}
    assert hub.peer(NODE).preshared_key == PSK
    again = ask(app, "POST", protocol.ENROL, body(key(2)), address=str(made.address))
    assert again.status == 409
    (entry,) = (record.entry for record in hub.records() if record.entry.what.startswith("enrol"))
    assert (entry.command, entry.peer) == ("enrol", NODE)
    assert PSK.reveal() not in entry.what


def test_it_says_what_has_changed(hub: Hub, app: Starlette) -> None:
    address = str(hub.genconf(NODE).peer.address)
    hub.add(NODE, key(1))
    said = ask(app, "GET", protocol.STATE, address=address, query="version=1.2.3").json
    assert (said["endpoint"], said["rotate"]) == ("hub.example.org:51820", False)
    assert 5 < said["again_after"] < 20
    assert hub.peer(NODE).version == "1.2.3"
    life.ask_rotation(hub, NODE)
    assert ask(app, "GET", protocol.STATE, address=address).json["rotate"] is True
    done = ask(app, "POST", protocol.ROTATE, body(key(2)), address=address)
    assert done.status == 200
    assert ask(app, "GET", protocol.STATE, address=address).json["rotate"] is False


@pytest.mark.parametrize("version", ["x" * 41, "a\nb", "", "\x1b[31m"])
def test_a_version_that_is_none_is_passed_over(hub: Hub, app: Starlette, version: str) -> None:
    from urllib.parse import quote

    address = str(hub.genconf(NODE).peer.address)
    assert ask(app, "GET", protocol.STATE, address=address, query=f"version={quote(version)}").status == 200
    assert hub.peer(NODE).version is None


def test_a_stranger_learns_nothing(hub: Hub, app: Starlette) -> None:
    hub.genconf(NODE)
    answer = ask(app, "GET", protocol.STATE, address="10.221.7.7")
    assert answer.status == 404
    assert b"hub.example.org" not in answer.body


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{}",
        b'{"public_key": 1, "preshared_key": 2}',
        b'{"public_key": "x", "preshared_key": "y"}',
        b'{"public_key": "' + b"A" * 43 + b'=", "preshared_key": "' + b"A" * 43 + b'="}',
        b'{"public_key": "' + b"A" * 100000,
        b"[" * 100000,
    ],
)
def test_what_is_no_request_is_refused_and_changes_nothing(hub: Hub, app: Starlette, given: bytes) -> None:
    made = hub.genconf(NODE, Terms(valid=1e10)).invitation
    assert made is not None
    before = (list(hub.peers()), list(hub.invitations()), list(hub.records()))
    for path in (protocol.ENROL, protocol.ROTATE):
        answer = ask(app, "POST", path, given, address=str(made.address))
        assert answer.status == 400
        assert "\n" not in message(answer)
    assert (list(hub.peers()), list(hub.invitations()), list(hub.records())) == before


def test_a_key_that_cannot_be_taken_is_told(hub: Hub, app: Starlette) -> None:
    made = hub.genconf(NODE, Terms(valid=1e10)).invitation
    assert made is not None
    answer = ask(app, "POST", protocol.ENROL, body(hub.public_key()), address=str(made.address))
    assert answer.status == 409
    assert "the hub's own public key" in message(answer)


def test_a_hub_that_cannot_do_it_says_no_more_than_that(
    hub: Hub, app: Starlette, environ: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = hub.genconf(NODE, Terms(valid=1e10)).invitation
    assert made is not None
    (tmp_path / "ip_assign" / "registry.db").write_bytes(b"damaged" * 100)
    answer = ask(app, "POST", protocol.ENROL, body(key(1)), address=str(made.address))
    assert (answer.status, message(answer)) == (503, "the hub cannot do this now; its log says why")
    assert "damaged" in caplog.text
    assert str(tmp_path) not in message(answer)


def test_where_there_is_no_wg0_it_is_saved_all_the_same(hub: Hub, app: Starlette, device: MemoryDevice) -> None:
    made = hub.genconf(NODE, Terms(valid=1e10)).invitation
    assert made is not None
    device.missing = True
    with pytest.raises(DeviceMissing):
        device.read()
    assert ask(app, "POST", protocol.ENROL, body(key(1)), address=str(made.address)).status == 200
    assert hub.peer(NODE).public_key == key(1)
