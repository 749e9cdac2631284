"""Whose an upload is: that of the address that it came from, whatever the request says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.uploads.service import FORM_TYPE, another_caller, form, part

if TYPE_CHECKING:
    from tests.uploads.service import Service


def test_each_lists_its_own(service: Service, caller: str) -> None:
    other = another_caller()
    mine = [service.upload(b"x", name, caller).json for name in ("first", "second")]
    theirs = service.upload(b"y", "theirs", other).json
    assert service.listed(caller) == mine[::-1]
    assert service.listed(other) == [theirs]
    assert service.listed(another_caller()) == []


def test_others_get_the_bytes_and_nothing_else(service: Service, caller: str) -> None:
    other = another_caller()
    told = service.upload(b"content", caller=caller).json
    assert service.request("GET", told["file"], caller=other).body == b"content"
    for method in ("GET", "DELETE", "HEAD"):
        assert service.request(method, told["url"], caller=other).status == 404
    assert service.request("GET", told["file"], caller=other).body == b"content"
    assert service.listed(caller) == [told]


def test_what_is_not_yours_looks_like_what_is_not_there(service: Service, caller: str) -> None:
    told = service.upload(b"x", caller=another_caller()).json
    missing = told["url"].replace(told["id"], "0" * 48)
    for method in ("GET", "DELETE"):
        hidden, absent = (service.request(method, url, caller=caller) for url in (told["url"], missing))
        assert (hidden.status, hidden.detail) == (absent.status, absent.detail)
        assert hidden.status == 404


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "Remote-Addr", "REMOTE_ADDR", "X-Forwarded-Host"]
)
def test_no_header_makes_somebody_else_of_a_caller(service: Service, caller: str, header: str) -> None:
    other = another_caller()
    told = service.upload(b"x", caller=caller).json
    value = f"for={caller}" if header == "Forwarded" else caller
    assert service.request("GET", told["url"], headers={header: value}, caller=other).status == 404
    assert service.request("DELETE", told["url"], headers={header: value}, caller=other).status == 404
    lied = service.request("POST", "/upload/", form(part(b"y")), {**FORM_TYPE, header: value}, other)
    assert service.listed(caller) == [told]
    assert service.listed(other) == [lied.json]


def test_no_header_changes_the_addresses(service: Service, caller: str) -> None:
    headers = {**FORM_TYPE, "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example", "Script-Name": "/upload"}
    answer = service.request("POST", "/upload/", form(part(b"x")), headers, caller)
    assert answer.status == 201
    assert answer.json == service.listed(caller)[0]
    assert answer.json["file"].startswith("http://127.0.0.1:")


def test_the_uploader_deletes(service: Service, caller: str) -> None:
    told = service.upload(b"x", caller=caller).json
    answer = service.request("DELETE", told["url"], caller=caller)
    assert (answer.status, answer.body) == (204, b"")
    assert told["id"] not in service.stored()
    assert service.listed(caller) == []
    assert service.request("GET", told["file"]).status == 404
    assert service.request("DELETE", told["url"], caller=caller).status == 404


def test_a_long_list_says_where_it_goes_on(service: Service, caller: str) -> None:
    uploads = [service.upload(b"x", str(number), caller).json for number in range(3)]
    first = service.request("GET", "/upload/?limit=2", caller=caller)
    assert first.json == uploads[:0:-1]
    following = first.headers["Link"].removeprefix("<").removesuffix('>; rel="next"')
    rest = service.request("GET", following, caller=caller)
    assert rest.json == uploads[:1]
    assert rest.headers["Link"] is None
