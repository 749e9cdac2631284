"""policy.toml: what it may say, and what is said of what it may not."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.firewall.strategies import policies
from vpn.lib.errors import InvalidInput
from vpn.lib.firewall import override
from vpn.lib.firewall.policy import DEFAULT, Policy

RULE = '[[allow]]\nfrom = "node"\nto = "mqtt"\n'


def parse(text: str) -> Policy:
    return override.parse(text, "policy.toml")


@given(policies())
def test_a_policy_that_is_written_is_read_again(policy: Policy) -> None:
    assert parse(override.render(policy)) == policy


def test_a_policy_of_many_ports_is_short_enough_to_be_read_again() -> None:
    ports = ", ".join(map(str, range(1, 6000, 2)))
    policy = parse("".join(f"[[allow]]\nfrom = '{source}'\nto = 'mqtt'\ntcp = [{ports}]\n" for source in ["node"]))
    assert len(policy.rules) == 3000
    assert parse(override.render(policy)) == policy


def test_numbers_ranges_and_both_protocols_are_read() -> None:
    text = "# ours\n" + RULE + 'tcp = [1883, "8883-8884"]\nudp = [53] # names\n\n' + RULE + "tcp = [1884]\n"
    assert [str(rule) for rule in parse(text).rules] == [
        "node -> mqtt tcp 1883-1884",
        "node -> mqtt tcp 8883-8884",
        "node -> mqtt udp 53",
    ]


def test_nothing_is_allowed_only_where_that_is_said() -> None:
    assert parse("allow = []\n").rules == ()
    with pytest.raises(InvalidInput, match=r"^policy.toml: allows nothing; write `allow = \[\]` if that is meant"):
        parse("")


BAD = {
    "a key that is not known": ("\nalow = []\n", 2, "unknown key 'alow'"),
    "one in a rule": (RULE + "tcp = [1]\nport = 1883\n", 5, "unknown key 'port'; known are from, to, tcp, udp"),
    "a role that is none": ('\n\n[[allow]]\nfrom = "nodes"\nto = "mqtt"\ntcp = [1]\n', 4, "from = 'nodes': is no role"),
    "a role that is no text": ("[[allow]]\nfrom = 7\nto = 'mqtt'\ntcp = [1]\n", 2, "from = 7: is no role"),
    "a role that is a list": (
        "[[allow]]\nfrom = ['node']\nto = 'mqtt'\ntcp = [1]\n",
        2,
        r"from = \['node'\]: is no role",
    ),
    "the hub": (RULE.replace("mqtt", "hub") + "tcp = [22]\n", 3, "to = 'hub': the hub itself answers echo and nothing"),
    "no role": ('[[allow]]\nfrom = "node"\ntcp = [1]\n', 1, "the rule lacks `to`"),
    "no ports": (RULE, 1, "the rule names no ports"),
    "an empty list of ports": (RULE + "tcp = []\n", 1, "the rule names no ports"),
    "a port that is too large": (RULE + "tcp = [1883, 65536]\n", 4, "tcp: 65536 is no port"),
    "port 0": (RULE + "tcp = [0]\n", 4, "tcp: 0 is no port"),
    "a negative port": (RULE + "udp = [-1]\n", 4, "udp: -1 is no port"),
    "a boolean": (RULE + "tcp = [true]\n", 4, "tcp: True is no port"),
    "a fraction": (RULE + "tcp = [1.5]\n", 4, "tcp: 1.5 is no port"),
    "a range that is upside down": (RULE + 'tcp = ["9-8"]\n', 4, "tcp: '9-8' is no port"),
    "a range that is none": (RULE + 'tcp = ["1-2-3"]\n', 4, "tcp: '1-2-3' is no port"),
    "a range with digits of other scripts": (RULE + 'tcp = ["1-\u0663"]\n', 4, r"tcp: '1-\\u0663' is no port"),
    "a number outside of a list": (RULE + "tcp = 1883\n", 4, "tcp = 1883 is no list"),
    "ports over several lines": (RULE + "tcp = [\n  1883,\n  70000,\n]\n", 7, "tcp: 70000 is no port"),
    "node to node": (RULE.replace("mqtt", "node") + "tcp = [22]\n", 3, "node -> node is never allowed"),
    "a table in the place of the list": ("[allow]\nfrom = 'node'\n", 1, "is no list; write"),
    "a list of something else": ("allow = [1]\n", 1, "1 is no rule"),
    "a key in the text of another": ('# x = 1\n[[allow]]\nfrom = """\nx = 1\n"""\n', 5, "is no role"),
}


@pytest.mark.parametrize(("text", "line", "saying"), BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_refused_with_line_and_value(text: str, line: int, saying: str) -> None:
    with pytest.raises(InvalidInput, match=rf"^policy\.toml, line {line}: .*{saying}"):
        parse(text)


@pytest.mark.parametrize("text", ["allow = [\n", "[[allow]]\nfrom = 'node'\nfrom = 'mqtt'\n", "\x00", "a = \u202e\n"])
def test_what_is_no_toml_is_named_with_its_line(text: str) -> None:
    with pytest.raises(
        InvalidInput, match=r"^policy\.toml: not TOML: .*(line \d+|end of document).*; compare it with"
    ) as caught:
        parse(text)
    assert str(caught.value).isprintable()
    assert str(caught.value).isascii()


def test_a_file_that_is_too_long_or_too_deep_is_refused() -> None:
    with pytest.raises(InvalidInput, match="longer than 300 lines"):
        parse("#\n" * 301)
    with pytest.raises(InvalidInput, match="or 32768 characters"):
        parse("#" * 32769)
    with pytest.raises(InvalidInput, match=r"nested too deeply|not TOML"):
        parse("allow = " + "[" * 30_000)


_WORDS = st.sampled_from(
    [
        "[[allow]]",
        "allow",
        "from",
        "to",
        "tcp",
        "udp",
        "=",
        '"node"',
        '"mqtt"',
        "[",
        "]",
        "1883",
        '"1-9"',
        "\n",
        ",",
        "{",
        "}",
        "#",
        ".",
    ]
)


@given(st.lists(_WORDS, max_size=25).map(" ".join) | st.text(max_size=60))
def test_any_text_is_a_policy_or_refused_in_one_printable_line(text: str) -> None:
    problem = ""
    try:
        policy = parse(text)
    except InvalidInput as error:
        problem = str(error)
    else:
        assert parse(override.render(policy)) == policy
    assert problem.isprintable()
    assert len(problem) < 400


def test_a_number_that_python_does_not_read_is_no_toml() -> None:
    with pytest.raises(InvalidInput, match=r"^policy\.toml: not TOML: Exceeds the limit"):
        parse(f"allow = {'9' * 5000}\n")


def test_the_default_is_written_as_a_person_would() -> None:
    assert override.render(DEFAULT).startswith('[[allow]]\nfrom = "node"\nto = "mqtt"\ntcp = [1883]\n\n[[allow]]\n')
