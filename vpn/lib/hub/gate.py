"""The hub's gate: the firewall's table and the forwarding of ``wg0``, which are open together or not at all.

The rules are loaded before wg0 has its first peer. Where they cannot be, nothing is forwarded: forwarding is turned
off, and where not even that is permitted, wg0 stays down. The table is looked at once a second, for the price of one
netlink message, and put back when somebody has changed it.

At the hub's orderly stop the table is removed, after wg0: without wg0 it guards nothing, and what it says of the VPN's
addresses must not surprise whoever uses the machine next. A hub that is killed leaves it: a kernel's wg0 outlives the
hub, and must not outlive its rules.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from vpn.lib.errors import FirewallError, InvalidInput, StateError
from vpn.lib.firewall.nftables import denied, hub_table
from vpn.lib.firewall.policy import NOTHING
from vpn.lib.hub import forwarding, policy_file
from vpn.lib.nft.generation import generation

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from vpn.lib.firewall.policy import Policy
    from vpn.lib.hub.settings import Settings
    from vpn.lib.nft.loader import Nft

RETRY = 2.0
"""Seconds between two tries to load rules that could not be loaded."""

REPORT_EVERY = 30.0
"""Seconds between two looks at what was denied: the rate limit of the hub's own log.

The kernel's log tells each packet, but not to a container (`net.netfilter.nf_log_all_netns`)."""


class Gate:
    """Who may pass. ``changes`` tells the rule set's generation (``nft.generation``)."""

    def __init__(
        self, settings: Settings, nft: Nft, log: logging.Logger, changes: Callable[[], int] = generation
    ) -> None:
        self._settings = settings
        self._nft = nft
        self._log = log
        self._changes = changes
        self._policy: Policy = NOTHING
        self._policy_problem = self._load_problem = self._forwarding_problem = ""
        # What is loaded: as it was given, as nft lists it, and the generation at which it was seen so.
        self._text = self._listing = ""
        self._ever_loaded = False
        self._generation = -1
        # In seconds of the monotonic clock.
        self._retry_at = self._report_at = 0.0
        self._told: dict[str, int] = {}
        self._read(policy_file.in_force(settings) or NOTHING)

    @property
    def problem(self) -> str:
        """What keeps the hub from being healthy, empty for nothing."""
        return "; ".join(filter(None, (self._load_problem, self._policy_problem, self._forwarding_problem)))

    def reread(self, settings: Settings) -> None:
        """Take the settings and the policy's file as they are now; in force with the next look."""
        self._settings = settings
        before = self._policy
        self._read(before)
        if self._policy != before:
            self._log.info(
                "read the policy again: changed, %d rules", len(self._policy.rules), extra={"event": "policy-changed"}
            )

    def prepare(self) -> None:
        """Load the rules, unless they are there, and forward nothing without them. Before wg0 has a peer.

        Raises StillForwarding.
        """
        self._retry_at = 0.0
        self._ensure(time.monotonic())
        if self._load_problem:
            self._forbid()

    def open(self) -> None:
        """Let pass what the rules let pass; nothing without rules. Raises StillForwarding."""
        if self._load_problem:
            self._forwarding_problem = ""
            self._forbid()
            return
        problem = forwarding.allow(self._settings.interface)
        if problem and problem != self._forwarding_problem:
            self._log.error("%s", problem)
        self._forwarding_problem = problem

    def look(self) -> None:
        """See that the rules are in force and forwarding is as it should be. Raises StillForwarding."""
        now = time.monotonic()
        self._ensure(now)
        self.open()
        if self._text and now >= self._report_at:
            self._report_at = now + REPORT_EVERY
            self._report()

    def close(self) -> None:
        """Remove the table, if one was loaded. To be called once wg0 is gone."""
        if self._ever_loaded:
            try:
                self._nft.remove()
            except FirewallError as error:
                self._log.warning("the firewall's table stays: %s", error)

    def _forbid(self) -> None:
        try:
            forwarding.forbid(self._settings.interface)
        except forwarding.StillForwarding as error:
            raise forwarding.StillForwarding(f"{self._load_problem}; {error}") from error

    def _read(self, fallback: Policy) -> None:
        """The policy's file; an invalid one leaves ``fallback`` in force."""
        try:
            self._policy, problem = policy_file.read(self._settings), ""
        except (InvalidInput, StateError) as error:
            self._policy, problem = fallback, str(error)
        if problem and problem != self._policy_problem:
            kept = "the last good policy stays in force" if fallback.rules else "nothing is allowed until it is valid"
            self._log.error("%s; %s", problem, kept, extra={"event": "policy-refused"})
        self._policy_problem = problem

    def _ensure(self, now: float) -> None:
        """Load the table where it is not there as it should be; notes what prevents it."""
        text = hub_table(self._policy, self._settings.plan, self._settings.interface, self._settings.management_ports)
        if self._load_problem and now < self._retry_at:
            return
        try:
            seen = self._changes()
            if text == self._text and seen != self._generation:
                if self._nft.listing() == self._listing:
                    self._generation = seen
                else:
                    self._log.warning(
                        "the firewall's table was changed or removed by somebody; putting it back",
                        extra={"event": "firewall-repaired"},
                    )
                    self._text = ""
            if text != self._text:
                self._load(text)
        except FirewallError as error:
            if str(error) != self._load_problem:
                self._log.error(
                    "%s; the hub forwards nothing without its rules", error, extra={"event": "firewall-failed"}
                )
            self._load_problem = str(error)
            self._text = ""
            self._retry_at = time.monotonic() + RETRY
            return
        if self._load_problem:
            self._log.info("the firewall's rules are loaded", extra={"event": "firewall-loaded"})
        self._load_problem = ""

    def _load(self, text: str) -> None:
        self._nft.load(text)
        self._ever_loaded = True
        self._generation = self._changes()
        self._listing = self._nft.listing()
        self._text = text
        self._told = {}
        self._report_at = time.monotonic() + REPORT_EVERY
        with suppress(StateError):  # a full disk is told by others, and takes nobody's rules away
            policy_file.keep(self._settings, self._policy)

    def _report(self) -> None:
        """Tell what was denied since the last time, a line for each pair of roles."""
        try:
            counters = self._nft.counters()
        except FirewallError:
            return  # the next look at the table says why
        for name, (source, target) in denied(counters).items():
            packets = counters[name].packets
            if packets > self._told.get(name, 0):
                more = packets - self._told.get(name, 0)
                self._log.warning("denied %s>%s: %d packets", source, target, more, extra={"event": "packets-denied"})
            self._told[name] = packets
