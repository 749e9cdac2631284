"""The component's own firewall: its applications answer in the VPN only, and nothing for the VPN leaves beside it.

It is for a machine that is the component's alone, as a container is: a computer with other tasks would lose its other
visitors. ``VPN_COMPONENT_FIREWALL`` is ``on``, ``off``, or ``auto``, the default: on where this is not the machine's
first network namespace.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vpn.lib.errors import FirewallError, InvalidInput
from vpn.lib.nft.component_table import component_table
from vpn.lib.nft.generation import generation
from vpn.lib.nft.loader import Nft
from vpn.lib.wireguard.types import parse_port

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping

    from vpn.lib.wireguard.types import IPNetwork

SETTING, PUBLISHED = "VPN_COMPONENT_FIREWALL", "VPN_PUBLISHED_PORTS"

RETRY = 2.0
"""Seconds between two tries to load a table that could not be loaded."""


EVERYWHERE, FIRST_ONLY = "somaxconn", "netdev_max_backlog"
"""Files of /proc/sys/net/core: one is in every network namespace, the other in the machine's first one alone
(linux/net/core/sysctl_net_core.c)."""


def wanted(environ: Mapping[str, str], core: Path = Path("/proc/sys/net/core")) -> bool:
    """Whether the component is to have its firewall. Raises InvalidInput."""
    setting = environ.get(SETTING, "").lower() or "auto"
    if setting not in ("on", "off", "auto"):
        raise InvalidInput(f"{SETTING}={setting[:40]} is none of on, off, auto; write one of them")
    if setting != "auto":
        return setting == "on"
    return (core / EVERYWHERE).exists() and not (core / FIRST_ONLY).exists()


def published(environ: Mapping[str, str]) -> frozenset[int]:
    """The TCP ports that are open on other interfaces too: VPN_PUBLISHED_PORTS, separated by commas.

    Raises InvalidInput.
    """
    try:
        return frozenset(parse_port(port.strip()) for port in environ.get(PUBLISHED, "").split(",") if port.strip())
    except InvalidInput as error:
        raise InvalidInput(f"{PUBLISHED}={environ[PUBLISHED][:60]}: {error}") from error


class Shield:
    """Keeps the table as it should be. ``changes`` tells the rule set's generation (``nft.generation``).

    Raises InvalidInput for the settings in ``environ``.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        interface: str,
        log: logging.Logger,
        nft: Nft | None = None,
        changes: Callable[[], int] = generation,
    ) -> None:
        self.wanted = wanted(environ)
        self._published = published(environ)
        self._interface = interface
        self._log = log
        self._nft = nft or Nft(environ)
        self._changes = changes
        # What is loaded: as it was given, as nft lists it, and the generation at which it was seen so.
        self._text = self._listing = ""
        self._generation = -1
        self._retry_at = 0.0
        self.problem = ""

    def ensure(self, networks: frozenset[IPNetwork], wireguard_port: int) -> None:
        """Load the table where it is not there as it should be; ``problem`` says why it is not, empty when it is."""
        if not self.wanted or (self.problem and time.monotonic() < self._retry_at):
            return
        text = component_table(self._interface, networks, wireguard_port, self._published)
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
                self._nft.load(text)
                self._generation = self._changes()
                self._listing, self._text = self._nft.listing(), text
        except FirewallError as error:
            if str(error) != self.problem:
                self._log.error(
                    "%s; the application does not start without the component's firewall",
                    error,
                    extra={"event": "firewall-failed"},
                )
            self.problem, self._text = str(error), ""
            self._retry_at = time.monotonic() + RETRY
            return
        self.problem = ""

    def kill(self) -> None:
        """End a running nft without waiting. Safe in a signal handler."""
        self._nft.kill()

    def remove(self) -> None:
        """Take the table away at the component's orderly end, when wg0 is gone."""
        if self._text:
            with suppress(FirewallError):
                self._nft.remove()
            self._text = ""


def missing(environ: Mapping[str, str]) -> str:
    """Why the firewall that is wanted is not there, empty when it is or is not wanted. For health checks."""
    try:
        if wanted(environ) and not Nft(environ).listing():
            return "the component's firewall is not loaded; look at the log"
    except (FirewallError, InvalidInput) as error:
        return str(error)
    return ""
