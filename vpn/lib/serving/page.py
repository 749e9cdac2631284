"""The hub's page, for looking only: components, who may reach whom, and the audit log.

Made on the server; a few lines of script renew what is live, and nothing depends on them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from vpn.lib.errors import VpnError
from vpn.lib.firewall.nftables import HUB
from vpn.lib.firewall.policy import Role
from vpn.lib.hub import audit_view, listing, matrix
from vpn.lib.registry.peer import PeerType
from vpn.lib.serving import choice, history
from vpn.lib.serving.guard import Guard
from vpn.lib.serving.history import History
from vpn.lib.serving.reading import Cached, Reader, Threads
from vpn.lib.version import VERSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from vpn.lib.hub.listing import View
    from vpn.lib.hub.settings import Settings
    from vpn.lib.serving.choice import Choice

HERE = Path(__file__).parent
ENTRIES = 100
"""Of the audit log on a page."""

USUAL = ("active", "added", "registered")

COLUMNS = {
    "name": "Component",
    "address": "Address",
    "state": "State",
    "handshake": "Handshake",
    "received": "Received",
    "sent": "Sent",
    "version": "Version",
}


class Examination(NamedTuple):
    """What was found, and when (Unix time)."""

    at: float
    findings: Sequence[Finding]


class Row(NamedTuple):
    """A component as it is shown; ``line`` are the points of its handshakes' line, empty for none."""

    type: str
    id: str
    address: str
    state: str
    handshake: str
    received: str
    sent: str
    endpoint: str
    version: str
    until: str
    line: str


class Finding(NamedTuple):
    """Of an examination: what was looked at, ``ok``, ``warning``, ``failed`` or ``skipped``, and one line."""

    check: str
    state: str
    message: str


Examine = Callable[[], Sequence[Finding]]


def application(
    settings: Settings, environ: Mapping[str, str], token: str, examine: Examine | None = None
) -> Starlette:
    """The application, for a server that runs its lifespan: meanwhile it remembers how old handshakes were.

    ``examine`` looks at the hub as its doctor does; without it, there is no such page.
    """
    assert settings.page is not None
    page = Page(settings, environ, examine)

    @asynccontextmanager
    async def remembering(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(page.remember())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return Starlette(
        routes=[
            Route("/", page.answering(page.components)),
            Route("/access", page.answering(page.access)),
            Route("/audit", page.answering(page.audit)),
            *(() if examine is None else (Route("/doctor", page.answering(page.doctor)),)),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ],
        middleware=[
            Middleware(
                Guard,
                token=token,
                hosts=(str(settings.page.address),),
                port=settings.page.port,
                refuse=page.refused,
            )
        ],
        exception_handlers={404: page.missing, VpnError: page.failed},
        lifespan=remembering,
    )


class Page:
    """What is answered. The answers are made in threads, a few at a time."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], examine: Examine | None) -> None:
        self._reader = Reader(settings, environ)
        self._history = History()
        self._threads = Threads()
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        pages = [("/", "Components"), ("/access", "Access"), ("/audit", "Audit log")]
        self._examination: Cached[Examination] | None = None
        if examine is not None:
            pages.append(("/doctor", "Doctor"))
            self._examination = Cached(lambda: Examination(time.time(), examine()))
        hub = settings.public_address or str(settings.plan.hub.ip)
        self._templates.globals |= {"hub": hub, "release": VERSION, "pages": pages}

    def answering(self, answer: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
        """The answer, made in one of this page's threads."""

        async def answered(request: Request) -> Response:
            return await self._threads.run(lambda: answer(request))

        return answered

    async def remember(self) -> None:
        """Note how old handshakes are, again and again; for ever."""
        while True:
            started = time.monotonic()
            with suppress(VpnError):
                await self._threads.run(self._note)
            took = time.monotonic() - started
            await asyncio.sleep(max(history.EVERY - took, history.EVERY * took))

    def _note(self) -> None:
        peers = self._reader.peers()
        if peers.observed:
            self._history.add(peers.views)

    def components(self, request: Request) -> Response:
        """All components, a hundred at a time. Raises VpnError where the registry cannot be read."""
        peers = self._reader.peers()
        rows = choice.choose(peers.views, choice.parse(request.query_params))
        counts, addresses = peers.by_state(), self._reader.addresses()
        # The rarer states have a column where there is somebody in them.
        states = [state for state in listing.STATES if state in USUAL or any(counts[kind, state] for kind in PeerType)]
        return self._show(
            "components.html",
            at=peers.at,
            problem=peers.problem,
            observed=peers.observed,
            active=sum(counts[kind, "active"] for kind in PeerType),
            silent=sum(counts[kind, "added"] for kind in PeerType),
            total=len(peers.views),
            types=[(kind.value, [counts[kind, state] for state in states], addresses[kind]) for kind in PeerType],
            states=states,
            every_state=listing.STATES,
            rows=rows,
            choice=rows.choice,
            shown=[self._row(view) for view in rows.views],
            columns=[_Column(rows.choice, order, name) for order, name in COLUMNS.items()],
            around=_around(rows.choice, rows.pages),
            invitations=[
                (str(view.peer.name), _moment(view.invited_until))
                for view in peers.views
                if view.invited_until is not None
            ],
            line=(history.WIDTH, history.HEIGHT),
        )

    def access(self, _: Request) -> Response:
        """Who may reach whom, and what was denied. Raises VpnError for a policy that cannot be read."""
        found = self._reader.matrix()
        return self._show(
            "access.html",
            at=time.time(),
            targets=[*(role.value for role in Role), HUB],
            sources=[
                (source.value, [*(matrix.cell(found.policy, source, target) for target in Role), "echo"])
                for source in Role
            ],
            notes=found.notes,
            denials=None if found.denials is None else [item for item in found.denials if item.packets],
        )

    def audit(self, request: Request) -> Response:
        """The audit log, newest first, from the entry before the one that ``before`` names."""
        text = request.query_params.get("before", "")
        before = int(text) if text.isascii() and text.isdecimal() and 0 < len(text) < 16 else None
        records = self._reader.records(ENTRIES, before)
        return self._show(
            "audit.html",
            at=time.time(),
            entries=self._reader.log().entries,
            before=before,
            records=[audit_view.row(record) for record in records],
            older=records[-1].number if len(records) == ENTRIES and records[-1].number > 1 else None,
        )

    def doctor(self, _: Request) -> Response:
        """What the hub's doctor finds; that takes seconds, and is kept for ten times as long."""
        assert self._examination is not None
        examination = self._examination()
        return self._show(
            "doctor.html",
            at=examination.at,
            findings=examination.findings,
            failed=sum(finding.state == "failed" for finding in examination.findings),
            warnings=sum(finding.state == "warning" for finding in examination.findings),
        )

    def refused(self, given: bool) -> Response:
        """Without the token, or with a wrong one."""
        return self._show("refused.html", 401, given=given)

    def missing(self, _: Request, __: Exception) -> Response:
        """No such page."""
        return self._show("missing.html", 404)

    def failed(self, _: Request, error: Exception) -> Response:
        """What the hub's error says."""
        return self._show("failed.html", 503, error=str(error))

    def _row(self, view: View) -> Row:
        return Row._make((*listing.row(view), self._history.line(view.peer.public_key)))

    def _show(self, name: str, status: int = 200, *, at: float = 0.0, **values: Any) -> Response:
        values["at"] = _moment(at) if at else ""
        values["carried"] = self._reader.implementation() if at else ""
        return HTMLResponse(self._templates.get_template(name).render(values), status)


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))


class _Column:
    """A column's head: a link that sorts by it."""

    def __init__(self, chosen: Choice, order: str, name: str) -> None:
        self.order, self.name = order, name
        self.link = chosen.sorted_by(order).query
        self.sorted = "none" if chosen.order != order else "descending" if chosen.down else "ascending"


def _around(chosen: Choice, pages: int) -> list[tuple[str, str]]:
    """Names and links of the other pages: first, previous, next, last."""
    links = []
    if chosen.page > 1:
        links += [("First", chosen.at(1).query), ("Previous", chosen.at(chosen.page - 1).query)]
    if chosen.page < pages:
        links += [("Next", chosen.at(chosen.page + 1).query), ("Last", chosen.at(pages).query)]
    return links
