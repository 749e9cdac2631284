"""``configure_peer.py policy`` and ``policy check``, without a running hub."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.bin.scripts import Scripts

NEVER_MIND = '[[allow]]\nfrom = "management"\nto = "node"\nudp = ["5000-5010"]\n'


def test_the_matrix_is_printed_for_people(fresh: Scripts) -> None:
    rows = [line.split("  ") for line in fresh.done("policy").splitlines()]
    cells = {row[0]: [cell.strip() for cell in row[1:] if cell] for row in rows}
    assert cells["FROM \\ TO"] == ["mqtt", "restful", "management", "node", "researcher", "hub"]
    assert cells["node"] == ["tcp 1883", "tcp 8000", "-", "never", "tcp 50051", "echo"]
    assert cells["researcher"] == ["tcp 1883", "tcp 8000", "-", "echo", "never", "echo"]


def test_the_matrix_is_printed_for_programs(fresh: Scripts) -> None:
    found = json.loads(fresh.done("policy", "--json"))
    assert found["running"] is False
    assert found["denied"] is None
    assert {"from": "node", "to": "mqtt", "protocol": "tcp", "ports": [1883, 1883]} in found["rules"]
    assert len(found["rules"]) == 5


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (("node", "mqtt", "1883"), "yes: node -> mqtt tcp 1883"),
        (("node", "mqtt", "1883/tcp"), "yes: node -> mqtt tcp 1883"),
        (("node/node1", "management/mqtt", "1883"), "yes: node -> mqtt tcp 1883"),
        (("node/node1", "researcher/node1", "50051"), "yes: node -> researcher tcp 50051"),
        (("hub", "node", "22"), "yes: what the hub itself begins is not restricted"),
        (("node", "mqtt", "1883/udp"), "no: no rule allows node -> mqtt udp 1883"),
        (("mqtt", "node", "1883"), "no: no rule allows mqtt -> node tcp 1883"),
        (("node/node1", "node/node2", "22"), "no: node -> node is never allowed"),
        (("researcher", "researcher", "50051"), "no: researcher -> researcher is never allowed"),
        (("node", "hub", "9"), "no: the hub itself answers echo, and TCP port 51821, and nothing else"),
        (("node", "hub", "51821"), "yes: every peer may ask the hub what has changed"),
    ],
)
def test_a_question_is_answered_with_the_rule(hub: Scripts, question: tuple[str, ...], answer: str) -> None:
    hub.done("genconf", "management", "mqtt")
    outcome = hub.peer("policy", "check", *question)
    assert (outcome.status, outcome.out, outcome.err) == (int(answer.startswith("no")), f"{answer}\n", "")


def test_an_address_of_no_role_is_told(hub: Scripts) -> None:
    outcome = hub.peer("policy", "check", "node/node1", "mqtt", "1883", environ={"VPN_NODE_IP_ASSIGN": "10.223.0.0/16"})
    assert outcome.status == 1
    assert outcome.out.startswith("no: the address of node/node1 is of no role")


def test_a_file_of_the_consortiums_own_is_what_counts(hub: Scripts) -> None:
    (hub.folder / "policy.toml").write_text(NEVER_MIND)
    assert hub.done("policy", "check", "management", "node", "5005/udp") == "yes: management -> node udp 5000-5010\n"
    assert hub.peer("policy", "check", "node", "mqtt", "1883").status == 1


@pytest.mark.parametrize(
    ("text", "saying"),
    [
        (NEVER_MIND.replace("node", "nodes"), r"policy\.toml, line 3: to = 'nodes': is no role"),
        (NEVER_MIND + "tpc = [1]\n", r"policy\.toml, line 5: unknown key 'tpc'"),
        ("allow = [\n", r"policy\.toml: not TOML: .*"),
        ("", r"policy\.toml: allows nothing; write `allow = \[\]`"),
    ],
)
def test_a_bad_file_is_refused_by_line(hub: Scripts, text: str, saying: str) -> None:
    (hub.folder / "policy.toml").write_text(text)
    problems = hub.refusal("policy", saying=saying)
    problems += hub.refusal("policy", "check", "node", "mqtt", "1883", saying=saying)
    assert problems == []


def test_a_file_that_is_none_is_refused(hub: Scripts) -> None:
    (hub.folder / "policy.toml").write_bytes(b"\xff\xfe")
    problems = hub.refusal("policy", saying="policy.toml is not UTF-8 text")
    (hub.folder / "policy.toml").unlink()
    (hub.folder / "policy.toml").symlink_to(hub.folder / "config.env")
    problems += hub.refusal("policy", saying="policy.toml is a symbolic link")
    assert problems == []


@pytest.mark.parametrize(
    ("question", "saying"),
    [
        (("nodes", "mqtt", "1883"), "'nodes' is no role; write one of mqtt, restful"),
        (("node", "", "1883"), "'' is no role"),
        (("node/nobody", "mqtt", "1883"), "node nobody is not registered; run `genconf node nobody` first"),
        (("other/node1", "mqtt", "1883"), "unknown type 'other'"),
        (("node/../x", "mqtt", "1883"), "is no id"),
        (("node", "mqtt", "0"), "'0' is no port; write such as 1883 or 53/udp"),
        (("node", "mqtt", "1883/sctp"), "'1883/sctp' is no port"),
        (("node", "mqtt", "\u202e7"), r"'\\u202e7' is no port"),
    ],
)
def test_a_question_that_is_none_is_refused(hub: Scripts, question: tuple[str, ...], saying: str) -> None:
    assert hub.refusal("policy", "check", *question, saying=saying) == []


def test_a_peer_of_a_hub_without_peers_is_not_registered(fresh: Scripts) -> None:
    problems = fresh.refusal("policy", "check", "node/node1", "mqtt", "1", saying="node node1 is not registered, and")
    problems += fresh.refusal(
        "policy", "check", "node", status=2, saying="the following arguments are required: TO, PORT"
    )
    problems += fresh.refusal("policy", "ask", status=2, saying="invalid choice")
    assert problems == []
