"""The hub's gate: rules and forwarding are open together or not at all. nft and the kernel are stand-ins."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vpn.lib.errors import FirewallError
from vpn.lib.firewall.nftables import hub_table
from vpn.lib.firewall.policy import DEFAULT, NOTHING, TCP, Policy, Role, Rule, make
from vpn.lib.hub import forwarding, gate as gate_module, policy_file, state
from vpn.lib.hub.gate import Gate
from vpn.lib.nft.loader import Counter, Nft

if TYPE_CHECKING:
    from vpn.lib.hub.settings import Settings

OTHER = '[[allow]]\nfrom = "node"\nto = "mqtt"\ntcp = [8883]\n'


class Kernel(Nft):
    """nf_tables with nothing but our table: what is loaded is listed, and each change has its number."""

    def __init__(self) -> None:
        super().__init__({})
        self.table = ""
        self.changes = 7
        self.loads = self.lists = 0
        self.refusing = ""
        self.counted: dict[str, Counter] = {}

    def generation(self) -> int:
        return self.changes

    def load(self, text: str) -> None:
        if self.refusing:
            raise FirewallError(self.refusing)
        self.table, self.changes, self.loads = text, self.changes + 1, self.loads + 1

    def remove(self) -> None:
        self.load("")

    def listing(self) -> str:
        self.lists += 1
        return self.table

    def counters(self) -> dict[str, Counter]:
        return self.counted

    def changed(self, text: str) -> None:
        """By somebody else."""
        self.table, self.changes = text, self.changes + 1


class World:
    """A gate, its kernel, and the sysctls of wg0."""

    def __init__(self, settings: Settings, sysctls: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.settings = settings
        self.kernel = Kernel()
        self._sysctls = sysctls
        self._caplog = caplog
        for name in ("wg0", "all"):
            (sysctls / name).mkdir(parents=True)
            (sysctls / name / "send_redirects").write_text("1\n")
            (sysctls / name / "forwarding").write_text("0\n")
        self.gate = self.new_gate()

    def new_gate(self) -> Gate:
        return Gate(self.settings, self.kernel, logging.getLogger("test"), self.kernel.generation)

    def forwards(self) -> bool:
        return (self._sysctls / "wg0" / "forwarding").read_text().strip() == "1"

    @property
    def log(self) -> str:
        return self._caplog.text

    def table(self, policy: Policy) -> str:
        return hub_table(policy, self.settings.plan, "wg0")

    def write(self, text: str) -> None:
        policy_file.path(self.settings).write_text(text)

    def reread(self) -> None:
        """As at SIGHUP."""
        self.gate.reread(self.settings)
        self.gate.look()

    def start(self) -> None:
        self.gate.prepare()
        self.gate.open()


@pytest.fixture
def world(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> World:
    sysctls = tmp_path / "sysctls"
    monkeypatch.setattr(forwarding.allow, "__defaults__", (sysctls,))
    monkeypatch.setattr(forwarding.forbid, "__defaults__", (sysctls,))
    monkeypatch.setattr(gate_module, "RETRY", 0.0)
    caplog.set_level(logging.INFO)
    state.make_folders(settings)
    return World(settings, sysctls, caplog)


def test_the_rules_are_there_before_anything_is_forwarded(world: World) -> None:
    world.gate.prepare()
    assert world.kernel.table == world.table(DEFAULT)
    assert not world.forwards()
    world.gate.open()
    assert world.forwards()
    assert world.gate.problem == ""


def test_a_look_at_rules_that_nobody_changed_runs_no_nft(world: World) -> None:
    world.start()
    before = world.kernel.loads, world.kernel.lists
    for _ in range(5):
        world.gate.look()
        world.gate.prepare()
    assert (world.kernel.loads, world.kernel.lists) == before


@pytest.mark.parametrize("text", ["", "table inet fedbiomed_vpn {\n}\n"], ids=["flushed", "edited"])
def test_a_table_that_somebody_changed_is_put_back(world: World, text: str) -> None:
    world.start()
    world.kernel.changed(text)
    world.gate.look()
    assert world.kernel.table == world.table(DEFAULT)
    assert "changed or removed by somebody; putting it back" in world.log
    assert world.forwards()


def test_another_table_that_somebody_changed_is_nothing_to_the_hub(world: World) -> None:
    world.start()
    world.kernel.changed(world.kernel.table)
    world.gate.look()
    world.gate.look()
    assert (world.kernel.loads, world.kernel.lists) == (1, 2)
    assert "putting it back" not in world.log


def test_rules_that_cannot_be_loaded_close_the_hub_until_they_can(world: World) -> None:
    world.kernel.refusing = "nft is not installed"
    world.start()
    assert not world.forwards()
    assert world.gate.problem == "nft is not installed"
    world.gate.look()
    assert world.log.count("the hub forwards nothing without its rules") == 1
    world.kernel.refusing = ""
    world.gate.look()
    assert world.forwards()
    assert world.gate.problem == ""
    assert "the firewall's rules are loaded" in world.log


def test_an_open_hub_whose_rules_are_lost_and_cannot_be_put_back_is_closed(world: World) -> None:
    world.start()
    world.kernel.changed("")
    world.kernel.refusing = "nft may not change the packet filter"
    world.gate.look()
    assert not world.forwards()
    assert world.gate.problem == "nft may not change the packet filter"


def test_forwarding_that_may_not_be_turned_off_takes_wg0_down(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.start()
    world.kernel.changed("")
    world.kernel.refusing = "nft is not installed"

    def read_only(path: Path, value: str) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(forwarding, "_set", read_only)
    for step in (world.gate.look, world.gate.prepare, world.gate.open):
        with pytest.raises(forwarding.StillForwarding, match=r"^nft is not installed; forwarding of wg0 .*Read-only"):
            step()


def test_a_container_with_the_right_sysctls_read_only_is_content(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.start()
    monkeypatch.setattr(Path, "write_text", lambda *_: pytest.fail("written"))
    world.gate.look()
    assert world.gate.problem == ""


def test_forwarding_that_may_not_be_turned_on_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(path: Path, value: str) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(forwarding, "_set", read_only)
    world.start()
    world.gate.look()
    assert "net.ipv4.ip_forward=1" in world.gate.problem
    assert world.log.count("net.ipv4.ip_forward=1") == 1


def test_forwarding_that_somebody_turned_off_is_turned_on_again(world: World) -> None:
    world.start()
    forwarding.forbid("wg0")
    assert not world.forwards()
    world.gate.look()
    assert world.forwards()


def test_without_an_interface_nothing_has_to_be_closed(world: World) -> None:
    forwarding.forbid("wg7")


def test_another_policy_is_in_force_once_it_is_read(world: World) -> None:
    world.start()
    world.write(OTHER)
    world.gate.look()
    assert world.kernel.table == world.table(DEFAULT)
    world.reread()
    policy = make([Rule(Role.NODE, Role.MQTT, TCP, 8883, 8883)])
    assert world.kernel.table == world.table(policy)
    assert policy_file.in_force(world.settings) == policy
    policy_file.path(world.settings).unlink()
    world.reread()
    assert world.kernel.table == world.table(DEFAULT)


def test_an_invalid_policy_keeps_the_last_good_rules_and_is_told(world: World) -> None:
    world.write(OTHER)
    world.reread()
    before = world.kernel.table
    world.write(OTHER.replace("8883", "0"))
    world.reread()
    assert world.kernel.table == before
    assert "policy.toml, line 4: tcp: 0 is no port" in world.gate.problem
    assert world.forwards()
    world.write(OTHER)
    world.reread()
    assert world.gate.problem == ""


def test_the_last_good_policy_outlives_the_hub(world: World) -> None:
    world.write(OTHER)
    world.reread()
    world.gate.close()
    assert world.kernel.table == ""
    world.write("broken")
    again = world.gate = world.new_gate()
    world.start()
    assert world.kernel.table == world.table(make([Rule(Role.NODE, Role.MQTT, TCP, 8883, 8883)]))
    assert "policy.toml: not TOML" in again.problem


def test_the_longest_policy_is_kept_too(world: World) -> None:
    ports = ",".join(map(str, range(1, 12500, 2)))
    world.write(f'allow=[{{from="node",to="mqtt",tcp=[{ports}]}}]')
    world.reread()
    kept = policy_file.in_force(world.settings)
    assert world.gate.problem == ""
    assert kept is not None
    assert len(kept.rules) == 6250


def test_a_hub_that_never_had_a_valid_policy_allows_nothing(world: World) -> None:
    world.write("broken")
    world.gate = world.new_gate()
    world.start()
    assert world.kernel.table == world.table(NOTHING)
    assert "nothing is allowed until it is valid" in world.log


def test_what_was_denied_is_told_once_by_pair(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "REPORT_EVERY", 0.0)
    world.start()
    for packets in (3, 3, 5):
        world.kernel.counted = {"node_to_node": Counter(packets, 84 * packets), "node_to_mqtt": Counter(0, 0)}
        world.gate.look()
    assert [record.getMessage() for record in world._caplog.records if "denied" in record.getMessage()] == [
        "denied node>node: 3 packets",
        "denied node>node: 2 packets",
    ]


def test_a_hub_that_loaded_nothing_removes_nothing(world: World) -> None:
    world.kernel.changed("somebody's")
    world.gate.close()
    assert world.kernel.table == "somebody's"


def test_a_table_whose_listing_failed_is_removed_all_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent() -> str:
        raise FirewallError("nft did not end within 5 s")

    monkeypatch.setattr(world.kernel, "listing", silent)
    world.start()
    assert not world.forwards()
    assert world.kernel.table
    world.gate.close()
    assert world.kernel.table == ""


def test_a_table_that_cannot_be_removed_is_told(world: World) -> None:
    world.start()
    world.kernel.refusing = "nft is not installed"
    world.gate.close()
    assert "the firewall's table stays: nft is not installed" in world.log
