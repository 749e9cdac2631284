"""CSV files of peers, as spreadsheets and people write them."""

from __future__ import annotations

import pytest

from tests.hub.peers import key, node
from vpn.lib.errors import InvalidInput
from vpn.lib.hub.peer_table import INVITED, KEYS, LIMIT, REGISTRATIONS, Entry, parse


def bad(text: str, columns: tuple[str, ...] = REGISTRATIONS) -> list[str]:
    return [str(problem) for problem in parse(text.encode(), "peers.csv", columns).problems]


@pytest.mark.parametrize(
    "data",
    [
        b"type,id\nnode,node1\nnode,node2\n",
        b"type,id\r\nnode,node1\r\nnode,node2",
        b"\xef\xbb\xbftype,id\nnode,node1\nnode,node2\n",
        b"type;id\nnode;node1\nnode;node2\n",
        b'"type","id"\n"node","node1"\nnode , node2\n',
        b"Type, ID\nnode,node1\nnode,node2\n",
        b"type,id,until,invite\nnode,node1,,\nnode,node2,,no\n",
    ],
    ids=["plain", "CRLF", "byte-order mark", "semicolons", "quotes and blanks", "capitals", "all columns"],
)
def test_a_table_is_read(data: bytes) -> None:
    entries, problems = parse(data, "peers.csv", REGISTRATIONS)
    assert problems == []
    assert entries == [Entry(2, node(1)), Entry(3, node(2))]


def test_lines_without_anything_are_passed_over_and_counted() -> None:
    text = "\n\ntype,id\n\nnode,node1\n,\n   \nnode,node2\n\n"
    entries, problems = parse(text.encode(), "peers.csv", REGISTRATIONS)
    assert problems == []
    assert [entry.line for entry in entries] == [5, 8]


def test_columns_come_in_any_order() -> None:
    text = "invite,id,until,type\nyes,node1,2027-01-31,node\n3d,node2,never,node\n"
    first, second = parse(text.encode(), "peers.csv", REGISTRATIONS).entries
    assert first == Entry(2, node(1), None, 1801440000.0, INVITED)
    assert second == Entry(3, node(2), None, float("inf"), 3 * 86400.0)
    text = f"key,type,id\n{key(1)},node,node1\n"
    assert parse(text.encode(), "keys.csv", KEYS).entries == [Entry(2, node(1), key(1))]


def test_every_bad_line_is_told_with_its_cause() -> None:
    text = (
        "type,id,until,invite\n"
        "node,a,,\n"
        "server,b,,\n"
        "node,b c,,\n"
        "node,a,,\n"
        "node,A,,\n"
        "node,e,31.12.2027,\n"
        "node,f,,maybe\n"
        "node,g\n"
        "node,h,,,\n"
        "node,,,\n"
        "node,i,,\n"
        "node,\x1b[31m,,\n"
    )
    entries, problems = parse(text.encode(), "peers.csv", REGISTRATIONS)
    assert [entry.name.id for entry in entries] == ["a", "i"]
    lines = [str(problem) for problem in problems]
    assert [line.partition(":")[0] for line in lines] == [f"line {number}" for number in (*range(3, 12), 13)]
    for line, saying in zip(
        lines,
        [
            "unknown type 'server'",
            "'b c' is no id",
            "node a is in line 2 already",
            "node A differs from node a in line 2 only by case",
            "until '31.12.2027' is no date",
            "invite 'maybe' is no duration; write one such as 30m, 48h or 7d, or yes or no",
            "2 columns where 4 are due",
            "5 columns where 4 are due",
            "'' is no id",
            "is no id",
        ],
        strict=True,
    ):
        assert saying in line
        assert line.isprintable()


def test_a_bad_line_does_not_stand_in_the_way_of_a_good_one() -> None:
    text = "type,id,until\nnode,a,bad\nnode,a,\n"
    entries, problems = parse(text.encode(), "peers.csv", REGISTRATIONS)
    assert ([entry.line for entry in entries], len(problems)) == ([3], 1)


def test_keys_are_one_for_each() -> None:
    text = f"type,id,key\nnode,a,{key(1)}\nnode,b,{key(1)}\nnode,c,short\nnode,d,\n"
    assert bad(text, KEYS) == [
        "line 3: this key is the one of node a in line 2; each makes its own",
        *(
            f"line {number}: not a WireGuard public key: 44 characters of base64 ending in `=` are due; copy it whole,"
            " without spaces or line breaks"
            for number in (4, 5)
        ),
    ]


@pytest.mark.parametrize(
    ("data", "saying"),
    [
        (b"", "peers.csv is empty; its first line is due to be type,id,until,invite"),
        (b"\n\r\n,,\n", "peers.csv is empty"),
        (b"node,a\nnode,b\n", "peers.csv, line 1: no column is called 'node'; the header type,id,until,invite is due"),
        (b"\ntype,name\n", "peers.csv, line 2: no column is called 'name'"),
        (b"type,id,key\n", "peers.csv, line 1: no column is called 'key'"),
        (b"id,until\n", "peers.csv, line 1: the column type is missing"),
        (b"type,id,id\n", "peers.csv, line 1: a column is there twice"),
        (b"type,id\nnode,a\0\n", "peers.csv, line 2: a NUL byte"),
        (b"type,id\nnode,a\nnode,\xff\n", r"peers.csv, line 3: not UTF-8 \(byte 20\)"),
        ("type,id\nnode,a\n".encode("utf-16"), "peers.csv is UTF-16; save it as CSV in UTF-8"),
        (b'"type,id\nnode,a\n', "peers.csv, line 1: the quotes do not match"),
        (b"type,id\n" + b"node,a\n" * (LIMIT // 7), "peers.csv is larger than 16 MiB; give it in parts"),
    ],
)
def test_what_is_no_table_is_refused_as_a_whole(data: bytes, saying: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{saying}") as caught:
        parse(data, "peers.csv", REGISTRATIONS)
    assert "\n" not in str(caught.value)


def test_quotes_that_never_end_are_a_bad_line_and_the_end() -> None:
    entries, problems = parse(b'type,id\nnode,a\nnode,"b\nnode,c\n', "peers.csv", REGISTRATIONS)
    assert [entry.name.id for entry in entries] == ["a"]
    (problem,) = problems
    assert problem.line == 3
    assert "the quotes do not match" in problem.text
    # A field that is too long for the reader.
    assert "too long" in bad("type,id\nnode," + "a" * 200_000 + "\n")[0]


def test_a_row_over_several_lines_is_named_by_its_first() -> None:
    assert bad('type,id\nnode,"a\nb"\nnode,c d\n') == [
        f"line {number}: {text!a} is no id: use 1 to 63 ASCII letters, digits, dots, underscores and hyphens, beginning"
        " with a letter or a digit"
        for number, text in ((2, "a\nb"), (4, "c d"))
    ]
