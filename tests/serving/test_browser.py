"""The page in a real browser: what it shows, by keyboard, in both colour schemes, wide and narrow."""

from __future__ import annotations

import time
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from lab.browser import Browser
from lab.served import Served
from tests.hub.peers import key, node
from vpn.lib.hub import status
from vpn.lib.hub.status import Status
from vpn.lib.serving import page, reading
from vpn.lib.serving.page import Finding
from vpn.lib.wireguard.types import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lab.browser import Tab
    from tests.hub.memory_device import MemoryDevice
    from vpn.lib.hub.service import Hub
    from vpn.lib.hub.settings import Settings

TOKEN = "t" * 43
FINDINGS = [
    Finding(f"check {state}", state, "what was found; what to do") for state in ("ok", "warning", "failed", "skipped")
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request reads."""
    monkeypatch.setattr(reading, "KEPT", 0.0)
    monkeypatch.setattr(reading, "SHARE", 0.0)


@contextmanager
def serving(settings: Settings, environ: Mapping[str, str], token: str = TOKEN) -> Iterator[Served]:
    there = settings._replace(page=Endpoint(ip_address("127.0.0.1"), 8080))
    with Served(page.application(there, environ, token, lambda: FINDINGS)) as server:
        yield server


@pytest.fixture
def served(running: Hub, settings: Settings, environ: Mapping[str, str]) -> Iterator[Served]:
    with serving(settings, environ) as server:
        yield server


@pytest.fixture
def entrance(served: Served) -> str:
    return f"http://127.0.0.1:{served.port}/?token={TOKEN}"


@pytest.fixture
def tab(browser: Browser, entrance: str) -> Tab:
    """A tab that has come in by the hub's link."""
    opened = browser.tab()
    opened.go(entrance)
    return opened


def text(tab: Tab, selector: str) -> str:
    return " ".join(str(tab.evaluate(f"document.querySelector({selector!r})?.innerText ?? ''")).split())


def focused(tab: Tab) -> str:
    """What has the focus: its id, or its text."""
    return str(tab.evaluate("document.activeElement.id || document.activeElement.innerText.trim()"))


def tabbed(tab: Tab, count: int) -> list[str]:
    """What has the focus after each of so many presses of the tabulator."""
    places = []
    for _ in range(count):
        tab.press("Tab")
        places.append(focused(tab))
    return places


def test_the_components_are_there_and_the_token_is_gone(tab: Tab, served: Served) -> None:
    assert tab.evaluate("location.href") == f"http://127.0.0.1:{served.port}/"
    assert text(tab, "h1") == "The hub is healthy."
    ids = tab.evaluate("[...document.querySelectorAll('#components tbody th')].map(cell => cell.innerText)")
    assert ids == ["management mqtt", "node node1", "node node2", "node node3", "researcher anna"]
    assert tab.evaluate("document.cookie") == "", "no script can read it"


def test_nothing_is_asked_of_others_and_nothing_complains(tab: Tab, served: Served) -> None:
    for path in ("/access", "/audit", "/?q=nobody"):
        tab.go(f"http://127.0.0.1:{served.port}{path}")
    tab.go(f"http://127.0.0.1:{served.port}/")
    before = len(tab.requested())
    # One renewal as well.
    tab.wait("document.querySelector('#read-at').innerText && performance.getEntriesByType('resource').length > 2")
    requested = tab.requested()
    assert len(requested) >= before > 5
    assert {url.split("/")[2] for url in requested} == {f"127.0.0.1:{served.port}"}
    assert tab.complaints() == []


def test_a_page_that_broke_its_own_policy_would_complain(tab: Tab) -> None:
    tab.evaluate("document.body.append(Object.assign(document.createElement('img'), {src: 'http://192.0.2.1/x.png'}))")
    tab.wait("document.images[0].complete")
    assert any("Content Security Policy" in line for line in tab.complaints())


def test_it_renews_itself_and_keeps_the_focus(tab: Tab, running: Hub, device: MemoryDevice) -> None:
    tab.evaluate("document.getElementById('by-state').focus()")
    tab.evaluate("window.mark = 'still the same page'")
    running.add(node(1), key(1))
    tab.wait("document.querySelector('#components tbody tr:nth-child(2)').innerText.includes('added')")
    assert focused(tab) == "by-state"
    assert tab.evaluate("window.mark") == "still the same page"
    assert tab.complaints() == []


def test_health_is_renewed_too(tab: Tab, settings: Settings) -> None:
    status.save(settings, Status("boringtun", "boringtun hangs"))
    tab.wait("document.querySelector('h1').innerText.includes('not healthy')")
    assert "boringtun hangs" in text(tab, "#health")


def test_renewal_can_be_paused(tab: Tab, running: Hub) -> None:
    tab.evaluate("document.getElementById('pause').focus()")
    tab.press("Enter")
    assert text(tab, "#freshness") == "Paused."
    before = text(tab, "#read-at")
    running.add(node(1), key(1))
    time.sleep(4.5)
    assert text(tab, "#read-at") == before
    assert "registered" in text(tab, "#components tbody tr:nth-child(2)")
    tab.press("Enter")
    tab.wait("document.querySelector('#components tbody tr:nth-child(2)').innerText.includes('added')")


def test_a_hub_that_has_gone_is_told_and_one_that_is_back_is_followed(
    browser: Browser, running: Hub, settings: Settings, environ: Mapping[str, str]
) -> None:
    tab = browser.tab()
    with serving(settings, environ) as served:
        tab.go(f"http://127.0.0.1:{served.port}/?token={TOKEN}")
    tab.wait("document.body.classList.contains('stale')")
    assert "The hub does not answer; trying on." in text(tab, "footer")


def test_another_token_ends_the_visit(
    browser: Browser, running: Hub, settings: Settings, environ: Mapping[str, str]
) -> None:
    tab = browser.tab()
    with serving(settings, environ) as served:
        tab.go(f"http://127.0.0.1:{served.port}/?token={TOKEN}")
        # As after the file was deleted: this browser's cookie is of the past.
        tab.call("Network.clearBrowserCookies")
        tab.wait("document.querySelector('#freshness').innerText.includes('asks for its link again')")


def test_without_the_link_the_page_says_how_to_get_it(browser: Browser, served: Served) -> None:
    tab = browser.tab()
    tab.go(f"http://127.0.0.1:{served.port}/")
    assert text(tab, "h1") == "This page opens with the hub\u2019s link."
    assert "vpn_server.py page" in text(tab, "main")
    assert tab.evaluate("getComputedStyle(document.querySelector('h1')).fontSize") != "32px", "it has its style"


def test_it_works_without_script(browser: Browser, entrance: str, running: Hub) -> None:
    tab = browser.tab(script=False)
    tab.go(entrance)
    document = tab.call("DOM.getDocument")["root"]["nodeId"]
    html = tab.call("DOM.getOuterHTML", nodeId=document)["outerHTML"]
    assert "node3" in html
    assert ">Read again</a>" in html
    assert 'id="pause"' not in html, "there is no button that does nothing"


def test_the_keyboard_comes_by_everything_in_order(tab: Tab) -> None:
    assert tabbed(tab, 5) == ["Skip to the content", "Components", "Access", "Audit log", "Doctor"]
    assert tabbed(tab, 4) == ["q", "type", "state", "Show"]
    columns = ["by-name", "by-address", "by-state", "by-handshake", "by-received", "by-sent", "by-version"]
    assert tabbed(tab, 7) == columns
    assert tabbed(tab, 2) == ["Read again", "pause"]


def test_the_focus_can_be_seen(tab: Tab) -> None:
    tab.press("Tab")
    # The link to skip to the content is there once it has the focus.
    assert tab.evaluate("document.activeElement.getBoundingClientRect().left >= 0")
    for _ in range(13):
        outline = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        width = tab.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
        assert (outline, width >= 2) == ("solid", True), focused(tab)
        tab.press("Tab")


def test_the_skip_link_skips(tab: Tab) -> None:
    tab.press("Tab")
    tab.press("Enter")
    assert focused(tab) == "content"
    assert tabbed(tab, 1) == ["q"]


def test_sorting_and_searching_need_no_mouse(tab: Tab) -> None:
    tab.evaluate("document.getElementById('by-address').focus()")
    tab.press("Enter", loads=True)
    tab.evaluate("document.getElementById('by-address').focus()")
    tab.press("Enter", loads=True)
    assert tab.evaluate("document.getElementById('by-address').parentElement.ariaSort") == "descending"
    assert text(tab, "#components tbody th") == "researcher anna"
    tab.evaluate("document.getElementById('q').focus()")
    tab.type("node3")
    tab.press("Enter", loads=True)
    assert "1 to 1 of 1" in text(tab, "#components caption")
    assert tab.evaluate("document.getElementById('q').value") == "node3"
    assert "sort=address&down=1" in tab.evaluate("location.search"), "the order stays"


def test_tables_are_tables_for_who_cannot_see_them(tab: Tab) -> None:
    for path in ("/", "/access", "/audit", "/doctor"):
        tab.evaluate(f"location.pathname !== {path!r} && (location.href = {path!r})")
        tab.wait(f"location.pathname === {path!r} && document.readyState === 'complete'")
        assert tab.evaluate("[...document.querySelectorAll('table')].every(table => table.caption?.innerText)")
        assert tab.evaluate("[...document.querySelectorAll('thead th')].every(cell => cell.scope === 'col')")
        assert tab.evaluate("[...document.querySelectorAll('tbody tr')].every(row => row.cells[0].scope === 'row')")
        assert tab.evaluate("document.querySelectorAll('h1').length") == 1
        assert tab.evaluate("document.documentElement.lang") == "en"
        assert tab.evaluate(
            "[...document.querySelectorAll('input, select')].every(e => e.type === 'hidden' || e.labels.length)"
        )


CONTRAST = """(() => {
  const part = value => { value /= 255; return value <= .03928 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4; };
  const light = colour => { const [r, g, b] = colour.match(/[0-9.]+/g).map(Number);
    return .2126 * part(r) + .7152 * part(g) + .0722 * part(b); };
  const paper = light(getComputedStyle(document.documentElement).backgroundColor);
  let worst = 99;
  for (const one of document.querySelectorAll('body *')) {
    if (![...one.childNodes].some(node => node.nodeType === 3 && node.data.trim())) continue;
    const ink = light(getComputedStyle(one).color);
    worst = Math.min(worst, (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05));
  }
  return worst;
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read_in_both_schemes(tab: Tab, scheme: str, served: Served, settings: Settings) -> None:
    status.save(settings, Status("boringtun", "boringtun hangs"))
    tab.look(scheme)
    for path in ("/", "/access", "/audit", "/doctor"):
        tab.go(f"http://127.0.0.1:{served.port}{path}")
        # WCAG 2.2, 1.4.3.
        assert tab.evaluate(CONTRAST) >= 4.5


def test_the_schemes_are_different(tab: Tab) -> None:
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    light = tab.evaluate(paper)
    tab.look("dark")
    assert tab.evaluate(paper) != light
    assert len(tab.picture()) > 1000


@pytest.mark.parametrize("path", ["/", "/access", "/audit", "/doctor"])
def test_a_narrow_window_shows_everything_without_scrolling_sideways(tab: Tab, served: Served, path: str) -> None:
    tab.look(width=400, height=800)
    tab.go(f"http://127.0.0.1:{served.port}{path}")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 400
    hidden = tab.evaluate(
        "[...document.querySelectorAll('tbody th, tbody td')].filter(cell => {"
        " const place = cell.getBoundingClientRect();"
        " return place.width === 0 || place.left < 0 || place.right > 400; }).map(cell => cell.innerText)"
    )
    assert hidden == []


def test_states_are_told_by_words_and_marks(tab: Tab) -> None:
    cells = tab.evaluate("[...document.querySelectorAll('[data-label=State]')].map(cell => cell.innerText)")
    assert cells == ["● active", "\u2013 registered", "○ added", "● active", "○ added"]
