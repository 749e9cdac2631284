"""The page's answers: what is shown, to whom, and what is refused."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from lab.served import Served
from tests.hub.peers import key, node
from vpn.lib.hub import audit_view, life, listing, status
from vpn.lib.hub.outcomes import Terms
from vpn.lib.hub.status import Status
from vpn.lib.serving import guard, page, reading
from vpn.lib.serving.page import Finding
from vpn.lib.wireguard.types import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lab.served import Answer
    from tests.hub.memory_device import MemoryDevice
    from vpn.lib.hub.service import Hub
    from vpn.lib.hub.settings import Settings

TOKEN = "t" * 43
ENTRANCE = f"/?token={TOKEN}"


class Tables(HTMLParser):
    """The tables of a page: by caption, rows of cells' texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, list[list[str]]] = {}
        self.rows: list[list[str]] = []
        self.into: list[str] | None = None
        self.caption: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.rows = []
        elif tag == "tr":
            self.rows.append([])
        elif tag == "caption":
            self.into = self.caption = []
        elif tag in ("th", "td"):
            self.into = []

    def handle_data(self, data: str) -> None:
        if self.into is not None:
            self.into.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td"):
            assert self.into is not None
            self.rows[-1].append(" ".join("".join(self.into).split()))
            self.into = None
        elif tag == "caption":
            self.into = None
        elif tag == "table":
            self.found[" ".join("".join(self.caption).split())] = self.rows


class Visitor:
    """Somebody who has opened the hub's link."""

    def __init__(self, served: Served) -> None:
        self._served = served
        entered = served.ask(ENTRANCE)
        self.cookie = entered.headers["set-cookie"].partition(";")[0]

    def ask(self, path: str, **headers: str) -> Answer:
        return self._served.ask(path, Cookie=self.cookie, **headers)

    def tables(self, path: str = "/") -> dict[str, list[list[str]]]:
        answer = self.ask(path)
        assert answer.status == 200, answer.text
        return Tables(answer.text).found


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request reads."""
    monkeypatch.setattr(reading, "KEPT", 0.0)
    monkeypatch.setattr(reading, "SHARE", 0.0)


@pytest.fixture
def served(running: Hub, settings: Settings, environ: Mapping[str, str]) -> Iterator[Served]:
    there = settings._replace(page=Endpoint(ip_address("127.0.0.1"), 8080))
    with Served(page.application(there, environ, TOKEN)) as server:
        yield server


@pytest.fixture
def visitor(served: Served) -> Visitor:
    return Visitor(served)


def components(visitor: Visitor, query: str = "") -> list[str]:
    """The ids shown, in their order."""
    (rows,) = (rows for name, rows in visitor.tables(f"/{query}").items() if name.startswith("Components"))
    return [row[0].split()[-1] for row in rows[1:]]


def test_the_components_are_those_of_list(visitor: Visitor, running: Hub) -> None:
    rows = visitor.tables()["Components 1 to 5 of 5"]
    assert rows[0][:3] == ["Component ↑", "Address", "State"]
    expected = [list(listing.row(view)[:-1]) for view in listing.view(running)]
    shown = [[*row[0].split(), *(re.sub(r"^[●○\u00d7\u2013] ", "", cell) for cell in row[1:])] for row in rows[1:]]
    ages = 4
    for got, want in zip(shown, expected, strict=True):
        # A second may pass between the two.
        assert got[:ages] + got[ages + 1 :] == want[:ages] + want[ages + 1 :]
        assert (got[ages] == "-") == (want[ages] == "-")


def test_types_and_addresses_are_summed_up(visitor: Visitor) -> None:
    rows = visitor.tables()["By type"]
    assert [re.sub(r"^[●○\u00d7\u2013] ", "", cell) for cell in rows[0]] == [
        "Type",
        "active",
        "added",
        "registered",
        "addresses left",
    ]
    assert rows[1:] == [
        ["management", "1", "0", "0", "65,021"],
        ["node", "1", "1", "1", "65,021"],
        ["researcher", "0", "1", "0", "65,023"],
    ]
    assert "2 of 5 components are active; 2 have a key and are silent." in " ".join(visitor.ask("/").text.split())


def test_who_may_not_be_in_is_told(visitor: Visitor, running: Hub) -> None:
    assert "disabled" not in " ".join(visitor.tables()["By type"][0])
    life.disable(running, node(3))
    rows = visitor.tables()["By type"]
    assert rows[0][4].endswith("disabled")
    assert rows[2][:5] == ["node", "0", "1", "1", "1"]
    assert components(visitor, "?state=disabled") == ["node3"]


def test_who_is_invited_is_told_without_the_invitations_keys(visitor: Visitor, running: Hub) -> None:
    assert "Invitations that can be used" not in visitor.tables()
    # The hub's clock in these tests stands still, long ago.
    running.genconf(node(7), Terms(valid=time.time()))
    (row,) = visitor.tables()["Invitations that can be used"][1:]
    assert row[0] == "node node7"
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d", row[1])
    assert components(visitor, "?state=invited") == ["node7"]
    (invitation,) = running.invitations()
    text = visitor.ask("/").text
    assert invitation.private_key.reveal() not in text
    assert invitation.preshared_key.reveal() not in text


def test_health_is_told_in_words(visitor: Visitor, settings: Settings) -> None:
    assert "The hub is healthy." in visitor.ask("/").text
    status.save(settings, Status("boringtun", "boringtun <hangs>"))
    text = visitor.ask("/").text
    assert "The hub is not healthy." in text
    assert "boringtun &lt;hangs&gt;" in text


def test_without_wg0_the_components_are_still_there(visitor: Visitor, device: MemoryDevice) -> None:
    device.missing = True
    text = visitor.ask("/").text
    assert "What its 5 components do is not known" in text
    assert "node3" in text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["mqtt", "node1", "node2", "node3", "anna"]),
        ("?down=1", ["anna", "node3", "node2", "node1", "mqtt"]),
        ("?sort=handshake", ["mqtt", "node3", "anna", "node1", "node2"]),
        ("?sort=received&down=1", ["mqtt", "node3", "anna", "node2", "node1"]),
        ("?sort=state", ["mqtt", "node3", "node2", "anna", "node1"]),
        ("?sort=address&down=1", ["anna", "node3", "node2", "node1", "mqtt"]),
        ("?type=node", ["node1", "node2", "node3"]),
        ("?state=added", ["node2", "anna"]),
        ("?q=NODE3", ["node3"]),
        ("?q=10.222.", ["anna"]),
        ("?q=192.0.2.7:4010", ["mqtt"]),
        ("?type=node&state=active", ["node3"]),
        ("?type=nonsense&state=&sort=x&page=-1&down=yes", ["mqtt", "node1", "node2", "node3", "anna"]),
    ],
)
def test_components_are_chosen_and_sorted_by_the_address(visitor: Visitor, query: str, expected: list[str]) -> None:
    assert components(visitor, query) == expected


def test_many_components_are_shown_a_hundred_at_a_time(visitor: Visitor, running: Hub) -> None:
    running.genconf_all([node(number) for number in range(1000, 1245)])
    first = visitor.ask("/?q=node1").text
    assert "1 to 100 of 246" in first
    assert re.findall(r'id="go-(\w+)" href="([^"]*)"', first) == [
        ("next", "?q=node1&amp;page=2"),
        ("last", "?q=node1&amp;page=3"),
    ]
    last = visitor.ask("/?q=node1&page=99").text
    assert "201 to 246 of 246" in last
    assert re.findall(r'id="go-(\w+)"', last) == ["first", "previous"]


def test_what_is_looked_for_is_shown_and_never_executed(visitor: Visitor) -> None:
    text = visitor.ask("/?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E").text
    assert "<script>alert" not in text
    assert "&#34;&gt;&lt;script&gt;alert(1)" in text
    assert "No component is like that" in text


def test_who_may_reach_whom_is_shown_with_what_was_denied(visitor: Visitor) -> None:
    found = visitor.tables("/access")
    rows = {row[0]: row[1:] for row in found["What a row may begin with a column"]}
    assert rows["From"] == ["mqtt", "restful", "management", "node", "researcher", "hub"]
    assert rows["node"] == ["tcp 1883", "tcp 8000", "\u2013", "never", "tcp 50051", "echo"]
    assert found["Denied since the rules were loaded"][1:] == [
        ["node", "node", "7", "420"],
        ["spoofed", "any", "1", "60"],
    ]


def test_the_audit_log_is_paged_newest_first(visitor: Visitor, running: Hub) -> None:
    running.genconf_all([node(number) for number in range(1000, 1150)])
    records = list(running.records())
    rows = visitor.tables("/audit")["Audit log"]
    assert rows[1:] == [list(audit_view.row(record)) for record in reversed(records[-100:])]
    answer = visitor.ask("/audit").text
    assert f'<a href="/audit?before={records[-100].number}">Older</a>' in answer
    second = visitor.ask(f"/audit?before={records[-100].number}").text
    assert Tables(second).found[f"Audit log before entry {records[-100].number}"][-1][0] == "1"
    assert ">Older<" not in second
    assert ">Newest<" in second


def test_what_the_doctor_finds_is_shown_where_there_is_one(
    visitor: Visitor, running: Hub, settings: Settings, environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ">Doctor<" not in visitor.ask("/").text
    assert visitor.ask("/doctor").status == 404
    found = [Finding("config", "ok", "valid"), Finding("backup", "warning", "none in <8> days; make one")]
    there = settings._replace(page=Endpoint(ip_address("127.0.0.1"), 8080))
    with Served(page.application(there, environ, TOKEN, lambda: tuple(found))) as served:
        other = Visitor(served)
        assert '<a href="/doctor" aria-current="page">Doctor</a>' in other.ask("/doctor").text
        rows = other.tables("/doctor")["Findings"]
        assert rows[1:] == [["config", "\u2713 ok", "valid"], ["backup", "▲ warning", "none in <8> days; make one"]]
        assert "The hub works." in other.ask("/doctor").text
        found.append(Finding("daemon", "failed", "it does not run; start it"))
        assert "1 thing needs to be put right." in other.ask("/doctor").text
        assert served.ask("/doctor").status == 401


def test_no_secret_is_on_any_page(visitor: Visitor, running: Hub) -> None:
    text = "".join(visitor.ask(path).text for path in ("/", "/access", "/audit"))
    for peer in running.peers():
        assert peer.preshared_key.reveal() not in text
    assert TOKEN not in text
    assert str(key(3)) in text, "the audit log has public keys"


def test_lines_are_drawn_once_there_is_something_to_draw(
    running: Hub, settings: Settings, environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vpn.lib.serving.history.EVERY", 0.01)
    there = settings._replace(page=Endpoint(ip_address("127.0.0.1"), 8080))
    with Served(page.application(there, environ, TOKEN)) as served:
        visitor = Visitor(served)
        while "<polyline" not in (text := visitor.ask("/").text):
            pass
    # Of the three that had a handshake.
    assert text.count("<polyline") == 3


def test_a_registry_that_cannot_be_read_is_told(visitor: Visitor, settings: Settings) -> None:
    (settings.folder / "ip_assign" / "registry.db").unlink()
    answer = visitor.ask("/")
    assert answer.status == 503
    assert "is not there" in answer.text


def test_there_is_nothing_else(visitor: Visitor) -> None:
    assert visitor.ask("/nowhere").status == 404
    assert visitor.ask("/static/../page.py").status == 404
    assert visitor.ask("/static/page.py").status == 404


@pytest.mark.parametrize("path", ["/", "/access", "/audit", "/nowhere", "/?token=", "/?token=wrong", "/?token=%ff%fe"])
def test_nothing_is_shown_without_the_token(served: Served, path: str) -> None:
    answer = served.ask(path)
    assert answer.status == 401
    assert "vpn_server.py page" in answer.text
    assert "node3" not in answer.text
    assert "set-cookie" not in answer.headers


def test_the_token_is_given_once(served: Served) -> None:
    entered = served.ask(f"/audit?before=3&token={TOKEN}")
    assert (entered.status, entered.headers["location"]) == (303, "/audit?before=3")
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert served.ask("/", Cookie=cookie.partition(";")[0]).status == 200


@pytest.mark.parametrize("wrong", ["", "x", TOKEN, "\u00e9"])
def test_a_cookie_that_is_not_the_hubs_is_none(served: Served, wrong: str) -> None:
    assert served.ask("/", Cookie=f"fedbiomed_vpn_page_8080={wrong}".encode().decode("latin-1")).status == 401


def test_a_redirection_stays_here(served: Served) -> None:
    for path in ("//example.org/", "/\\example.org/"):
        entered = served.ask(f"{path}?token={TOKEN}")
        assert entered.status == 303
        assert re.match(r"/[^/\\]", entered.headers["location"])


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "[::2]:80", "localhost.evil"]
)
def test_another_name_for_this_host_is_refused(visitor: Visitor, served: Served, host: str) -> None:
    answer = visitor.ask("/", Host=host)
    assert answer.status == 400
    assert "node3" not in answer.text
    assert served.ask(ENTRANCE, Host=host).status == 400


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "LOCALHOST:1234", "[::1]:8080"])
def test_the_names_of_this_host_are_answered_through_any_tunnel(visitor: Visitor, host: str) -> None:
    assert visitor.ask("/", Host=host).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(served: Served, visitor: Visitor, method: str) -> None:
    answer = served.ask("/", method, Cookie=visitor.cookie)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_every_answer_says_what_browsers_have_to_know(served: Served, visitor: Visitor) -> None:
    answers = [
        served.ask("/"),
        served.ask(ENTRANCE),
        served.ask("/", Host="evil.example"),
        visitor.ask("/"),
        visitor.ask("/nowhere"),
        visitor.ask("/static/page.css"),
    ]
    for answer in answers:
        for name, value in guard.HEADERS.items():
            assert answer.headers[name.lower()] == value
    policy = guard.HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_pages_need_nothing_from_outside(visitor: Visitor) -> None:
    for path in ("/", "/access", "/audit", "/nowhere", "/static/page.css", "/static/page.js", "/static/mark.svg"):
        text = visitor.ask(path).text.replace("http://www.w3.org/2000/svg", "")
        assert "//" not in re.sub(r"^\s*// .*$|/\*.*?\*/", "", text, flags=re.MULTILINE), path


def test_pages_have_no_script_or_style_of_their_own(visitor: Visitor) -> None:
    # The policy for content would forbid it, and the page would look broken.
    for path in ("/", "/access", "/audit"):
        text = visitor.ask(path).text
        assert " style=" not in text
        assert "<style" not in text
        assert not re.search(r"\son\w+=", text)
        assert re.findall(r"<script[^>]*>", text) == ['<script src="/static/page.js" defer>']
