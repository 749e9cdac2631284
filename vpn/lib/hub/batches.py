"""``genconf`` and ``add`` of many peers out of a table: in one transaction, and with every bad line told."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from vpn.lib.errors import DeviceError, Refused, StateError, Unproven
from vpn.lib.hub import peer_config, registering
from vpn.lib.hub.outcomes import Added, Configured, Terms
from vpn.lib.hub.peer_table import Problem
from vpn.lib.wireguard.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from vpn.lib.hub.peer_table import Entry, Table
    from vpn.lib.hub.service import Change, Hub
    from vpn.lib.wireguard.keys import PublicKey
    from vpn.lib.wireguard.types import WantedPeer

_Item = TypeVar("_Item")
_NO_TERMS = Terms()


class Progress(Protocol):
    """Goes through the items, and shows how far it is."""

    def __call__(self, items: Collection[_Item], what: str) -> Iterable[_Item]:
        """The items; ``what`` is being done to them."""
        ...


def silently(items: Collection[_Item], what: str) -> Iterable[_Item]:  # noqa: ARG001
    """A Progress that shows nothing."""
    return items


class BadLines(Refused):
    """Nothing was changed, because of ``problems``: all that there are."""

    def __init__(self, problems: list[Problem], lines: int) -> None:
        bad = f"{len(problems)} of {lines} lines {'is' if len(problems) == 1 else 'are'} bad"
        super().__init__(f"nothing is changed: {bad}; correct them, or --keep-going leaves them out")
        self.problems = problems


class Registered(NamedTuple):
    """Of a table of registrations: what was done, line by line, and what was left out."""

    done: list[Configured]
    problems: list[Problem]


class LetIn(NamedTuple):
    """Of a table of keys: what was done, line by line, and what was left out."""

    done: list[Added]
    problems: list[Problem]


class How(NamedTuple):
    """Whether bad lines are left out, which keep the others out else; whether it is a trial that changes nothing."""

    keep_going: bool = False
    dry_run: bool = False


_PLAINLY = How()


class _Work:
    """Lines as they are done within one transaction, and what wg0 has to lose and to get for them."""

    def __init__(self, hub: Hub, table: Table, how: How) -> None:
        self.hub = hub
        self.problems = list(table.problems)
        self._lines = len(table.entries) + len(table.problems)
        self._how = how
        self.remove: list[PublicKey] = []
        self.update: list[WantedPeer] = []

    @contextmanager
    def line(self, change: Change, entry: Entry) -> Iterator[None]:
        """What is refused in the block is a bad line, and nothing of it stays."""
        try:
            with change.transaction.attempt():
                yield
        except Refused as error:
            # It may name an option of the command for one.
            self.problems.append(Problem(entry.line, str(error).removeprefix("--")))

    def register(self, change: Change, entry: Entry, terms: Terms) -> Configured:
        """The line as it is registered now."""
        remove: list[PublicKey] = []
        update: list[WantedPeer] = []
        done = registering.register(self.hub, change, entry.name, entry.key, terms, remove, update)
        self.remove += remove
        self.update += update
        return done

    def judge(self) -> None:
        """Raise BadLines where a line is bad and that is not to be passed over."""
        self.problems.sort()
        if self.problems and not self._how.keep_going:
            raise BadLines(self.problems, self._lines)

    def apply(self) -> bool:
        """Bring wg0 up to date, and prove that keys which were replaced are out; whether there is one."""
        fresh = {wanted.public_key for wanted in self.update}
        out = tuple(key for key in self.remove if key not in fresh)
        if not out and not fresh:
            return False
        try:
            applied = self.hub.apply(Plan(remove=out, update=tuple(self.update)))
            held = applied and out and not self.hub.observe().peers.keys().isdisjoint(out)
        except DeviceError as error:
            raise Unproven(f"all is saved, but wg0 did not take it, which the hub mends: {error}") from error
        if held:
            raise Unproven("all is saved, but wg0 still holds keys that were replaced; restart the hub")
        return applied


def genconf(hub: Hub, table: Table, how: How = _PLAINLY, progress: Progress = silently) -> Registered:
    """Register all of the table, as ``Hub.genconf`` does, all or nothing.

    Raises BadLines, with every one that there is.
    """
    _ = hub.settings.endpoint  # raises before anything is changed
    work = _Work(hub, table, how)
    done: list[Configured] = []
    with hub.locked():
        with hub.changing(dry_run=how.dry_run) as change:
            for entry in progress(table.entries, "registering"):
                with work.line(change, entry):
                    try:
                        hub.tree.check(entry.name)
                    except StateError as error:
                        raise Refused(str(error)) from error
                    done.append(work.register(change, entry, Terms(entry.until, entry.invite)))
            work.judge()
        if how.dry_run:
            return Registered(done, work.problems)
        # Most of a table that is given again is written already; reading takes a tenth of writing.
        missing = [one for one in progress(done, "comparing") if one.new or not _written(hub, one)]
        if missing:
            registering.write_all(hub, missing, partial(progress, what="writing"))
        work.apply()
    return Registered(done, work.problems)


def _written(hub: Hub, done: Configured) -> bool:
    peer, _, invitation = done
    return hub.tree.matches(peer.name, peer_config.text(peer, hub.settings, hub.public_key(), invitation))


def add(hub: Hub, table: Table, how: How = _PLAINLY, progress: Progress = silently) -> LetIn:
    """Let all of the table in, as ``Hub.add`` does, all or nothing.

    Raises BadLines, with every one that there is, and Unproven.
    """
    work = _Work(hub, table, how)
    done: list[Added] = []
    withdrawn: list[Configured] = []
    with hub.locked():
        with hub.changing(dry_run=how.dry_run) as change:
            for entry in progress(table.entries, "letting in"):
                with work.line(change, entry):
                    before = change.registered(entry.name)
                    invited = change.transaction.invitation(entry.name) is not None
                    if before.public_key == entry.key and not invited:
                        done.append(Added(before, False, None, None))
                        continue
                    configured = work.register(change, entry, _NO_TERMS)
                    replaced = before.public_key if before.public_key != entry.key else None
                    done.append(Added(configured.peer, True, replaced, None))
                    if invited:
                        withdrawn.append(configured)
            work.judge()
        if how.dry_run:
            return LetIn(done, work.problems)
        if withdrawn:
            registering.write_all(hub, withdrawn)
        applied = work.apply() or None
    return LetIn([one._replace(applied=applied) if one.changed else one for one in done], work.problems)
