"""What is to be said of a component's way to its hub, from what was observed. Pure.

A hub that does not know a key is as silent as a firewall that drops packets: of the two, what is likelier comes first.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib.component.link_state import SESSION_LIFE
from vpn.lib.findings import Verdict, failed, ok, skipped, warning
from vpn.lib.probes.judging import span

if TYPE_CHECKING:
    from vpn.lib.probes.network import UdpAnswer
    from vpn.lib.wireguard.types import Endpoint

UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH)


class Way(NamedTuple):
    """The way to the hub as config.env names it, and where it leads now; ``address`` is empty while that is unknown."""

    host: str
    address: str
    port: int

    def __str__(self) -> str:
        shown = self.host if self.address in ("", self.host) else f"{self.host} ({self.address})"
        return f"UDP port {self.port} of {shown}"


class Session(NamedTuple):
    """The session with the hub as wg0 shows it. ``age`` is of its handshake in seconds, None for none.

    ``joined_before`` tells that the hub has answered since the daemon was started. ``answers`` is whether anything ever
    came back from the hub's port, None where that cannot be told.
    """

    age: float | None
    received: int
    sent: int
    joined_before: bool
    answers: bool | None

    @property
    def up(self) -> bool:
        """Whether the hub has answered lately."""
        return self.age is not None and self.age < SESSION_LIFE


def route(way: Way, source: str, error: int, vpn_address: str) -> Verdict:
    """Of the route to the hub: the address that packets would come from, or why there is none."""
    if error in (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        kind = "IPv6 " if ":" in way.address else ""
        return failed(
            f"this machine has no {kind}route to {way.address}; look at its network (`ip route`): is it connected, has"
            " it a default route?"
        )
    if error:
        return failed(
            f"packets to {way.address} cannot be sent (error {errno.errorcode.get(error, error)}); look at `ip route`"
        )
    if source == vpn_address:
        return failed(
            f"the hub's public address {way.address} lies inside the VPN, so packets to it would go into the tunnel"
            " itself; give the hub another VPN_SERVER_PUBLIC_ADDR or VPN network, then `genconf` again"
        )
    return ok(f"to {way.address} from {source}")


def udp(way: Way, answer: UdpAnswer, source: str, session: Session | None) -> Verdict:
    """Of the hub's port, asked from the address ``source``.

    Silence is what WireGuard gives to strangers: only a handshake proves that it is there.
    """
    if answer.error == errno.ECONNREFUSED:
        return failed(
            f"{way} is refused (ICMP port unreachable{_by(answer, way)}): nobody listens there; start the hub, or see"
            " whether its VPN_SERVER_PORT is another and whether its container publishes that port"
        )
    if answer.error in UNREACHABLE:
        if answer.sender not in ("", source):
            return failed(
                f"{way} is unreachable, says {answer.sender}: a router has no way to it or a firewall rejects it; let"
                f" UDP port {way.port} out there, or see whether {way.host} is right"
            )
        return failed(f"{way} is unreachable: the next machine on the way does not answer; is the gateway on?")
    if answer.error in (errno.EPERM, errno.EACCES):
        return failed(
            f"{way}: this machine's own firewall forbids it; let UDP to port {way.port} out (`nft list ruleset`)"
        )
    if answer.error:
        name = errno.errorcode.get(answer.error, str(answer.error))
        return failed(f"{way} cannot be sent to (error {name}); look at this machine's network")
    if session is not None and session.up:
        return ok(f"{way} answers this component")
    return ok(f"{way} does not refuse packets; whether they arrive, only a handshake proves")


def _by(answer: UdpAnswer, way: Way) -> str:
    """Who said so, where that was not the hub's own machine."""
    return f" from {answer.sender}" if answer.sender not in ("", way.address) else ""


def handshake(way: Way, session: Session, add: str) -> Verdict:
    """Of the handshake; ``add`` is the command that lets this component in on the hub."""
    if session.up and session.age is not None:
        return ok(f"{span(session.age)} ago; {session.received} bytes received, {session.sent} sent")
    not_added = f"this component's key is not added on the hub, there run: {add}"
    closed = f"{way} is closed by a firewall on the way, or the hub is down"
    wrong_key = "VPN_SERVER_PUBLIC_KEY in config.env is not the hub's (compare `configure_peer.py public-key` there)"
    if session.age is not None:
        begin = f"the last one was {span(session.age)} ago, and nothing is answered any more"
        return failed(f"{begin}: most likely {closed}; else this component was removed: {add}")
    if session.joined_before:
        begin = f"none now, though the hub had answered before; {session.sent} bytes sent, nothing accepted"
        return failed(f"{begin}: most likely {closed}; else this component was removed: {add}")
    if session.answers:
        return failed(
            f"none, though {way} answers: config.env does not fit what the hub has registered (VPN_SERVER_PSK, VPN_IP);"
            f" copy the one again that `configure_peer.py genconf` writes there; else {not_added}"
        )
    # boringtun counts no handshakes in what it has sent.
    sent = f"; {session.sent} bytes sent" if session.sent else ""
    return failed(f"none{sent}, nothing received: most likely {not_added}; else {closed}; else {wrong_key}")


def invited(way: Way, session: Session, invite: str) -> Verdict:
    """Of the handshake of a component that has an invitation; ``invite`` is the command that makes a new one."""
    if session.up:
        return ok("by invitation; the component hands over its own key now")
    return failed(
        "none by this invitation: most likely it was used, has expired or was taken back, on the hub run:"
        f" {invite} and copy the new config.env; else {way} is closed by a firewall on the way, or the hub is down"
    )


def endpoint(used: Endpoint | None, found: list[str], way: Way, *, up: bool) -> Verdict:
    """Of where wg0 sends to, against where the name leads now."""
    if used is None:
        return failed(f"wg0 does not know where the hub is: {way.host} did not resolve; the daemon tries again")
    if str(used.address) in found and used.port == way.port:
        return ok(f"wg0 sends to {used}, as config.env says")
    now = f"{', '.join(found)} port {way.port}"
    if up and way.host in found:
        # No name that leads elsewhere now: it answers from another address than it is asked at, and WireGuard follows.
        return ok(f"wg0 sends to {used}, where the hub at {way.host} answers from (a NAT, as Docker's, is before it)")
    if up:
        return warning(
            f"wg0 sends to {used}, which answers, but {way.host} is {now} now; if the hub has moved, it follows by"
            " itself once the old address is silent"
        )
    return failed(
        f"wg0 sends to {used}, but {way.host} is {now} now; the daemon follows within 30 s, else start it again"
    )


def mtu(answered: set[int], tried: tuple[int, ...], hub: str) -> Verdict:
    """Of the sizes of echoes to the hub, through the tunnel, that came back."""
    if tried[0] in answered:
        return ok(f"packets of {tried[0]} bytes pass to {hub} and back")
    if not answered:
        return failed(
            f"{hub} answers no echo through the tunnel, though the handshake is there: VPN_IP is not what the hub has"
            " registered for this key (copy config.env again), or the hub has gone since (look again in a minute)"
        )
    return failed(
        f"packets of more than {max(answered)} bytes do not pass the tunnel, which needs {tried[0]}: the way to the hub"
        " carries less than 1500 bytes, or ICMP `fragmentation needed` is dropped on it; raise the MTU there"
    )


def service(name: str, place: str, error: int, missing: str) -> Verdict:
    """Of a service in the VPN; ``missing`` says what to do where nothing answers."""
    if error == 0:
        return ok(f"{name} at {place} takes connections")
    if error == errno.ECONNREFUSED:
        return failed(
            f"{name} at {place} refuses connections: its machine is in the VPN, the program is not up; start it"
        )
    if error in UNREACHABLE:
        return failed(f"{name} at {place} is unreachable: there is no route into the VPN; look at `ip route` and wg0")
    return failed(f"{name} at {place} does not answer: {missing}")


def application(command: list[str], running: dict[int, str], *, joined: bool) -> Verdict:
    """Of the application; ``command`` is what the daemon was given, empty for none."""
    if not command:
        return skipped("`vpn_client run` was given no application")
    if running:
        pid, name = next(iter(running.items()))
        return ok(f"{name} runs (process {pid})")
    if joined:
        return failed(f"{command[0]} does not run, though the hub answers; look at the daemon's log")
    return skipped(f"{command[0]} is started once the hub answers")
