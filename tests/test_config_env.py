"""config.env: read as a shell would, without one; written so that a shell reads the same."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings, strategies as st

from vpn.lib import config_env
from vpn.lib.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path


def parse(text: str) -> dict[str, str]:
    return config_env.parse(text, "config.env")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("export A=1\n", "1"),
        ("export A=1", "1"),
        ("A=1\n", "1"),
        ("export\tA=1\n", "1"),
        ("export   A=1\n", "1"),
        ("  export A=1  \n", "1"),
        ("export A=1\r\n", "1"),
        ("\ufeffexport A=1\n", "1"),
        ("# a comment\n\n   \nexport A=1\n", "1"),
        ("export A=\n", ""),
        ("export A='1 2'\n", "1 2"),
        ('export A="1 2"\n', "1 2"),
        ("export A='1' # why\n", "1"),
        ("export A=1 # why\n", "1"),
        ("export A=1\t# why\n", "1"),
        ("export A=1#2\n", "1#2"),
        ("export A='#'\n", "#"),
        ("export A=b=c==\n", "b=c=="),
        ("export A=$HOME`id`$(id)\n", "$HOME`id`$(id)"),
        ("export A=''\n", ""),
    ],
)
def test_an_assignment_is_read(text: str, value: str) -> None:
    assert parse(text) == {"A": value}


def test_an_empty_file_sets_nothing() -> None:
    assert parse("") == parse("\n# nothing\n") == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("exportVPN_IP=10.220.0.2", "space is missing"),
        ("export", "not an assignment"),
        ("export A", "not an assignment"),
        ("A B=1", "not an assignment"),
        ("export A =1", "not an assignment"),
        ("1A=1", "not an assignment"),
        ("=1", "not an assignment"),
        ("ä=1", "not an assignment"),
        ("A='1", "quotes"),
        ("A=\"1'", "quotes"),
        ("A='1'2", "quotes"),
        ("A=1\x002", "control character"),
        ("A=1\x1b[2J", "control character"),
        ("B=1\nA=1\nB=2", "second time"),
    ],
)
def test_what_is_no_assignment_is_refused_with_its_line(line: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        parse(f"# first\n{line}\n")
    number = 2 + line.count("\n")
    assert f"config.env, line {number}:" in str(caught.value)


def test_an_error_does_not_repeat_a_value_that_may_be_a_secret() -> None:
    for line in ("VPN_PSK='hidden", "VPN_PSK=hidden\x07", "VPN_PSK hidden", "VPN_PSK=1\nVPN_PSK=hidden"):
        with pytest.raises(InvalidInput) as caught:
            parse(line)
        assert "hidden" not in str(caught.value)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        for name, value in parse(text).items():
            assert name.isidentifier()
            assert value.isprintable()


NAMES = st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True).filter(lambda name: not name.startswith("EXPORT"))
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF)).filter(lambda text: text.isprintable())


@given(st.dictionaries(NAMES, VALUES.filter(lambda text: "'" not in text)))
def test_what_is_written_reads_back(variables: dict[str, str]) -> None:
    assert parse(config_env.render(variables, ["for node1", "keep it to yourself"])) == variables


@pytest.mark.parametrize("value", ["it's", "a\nb", "a\0b", "\x1b"])
def test_a_value_that_no_shell_would_read_alike_is_not_written(value: str) -> None:
    with pytest.raises(InvalidInput):
        config_env.render({"A": value})


@settings(max_examples=30)
@given(st.lists(VALUES.filter(lambda text: "'" not in text), min_size=1, max_size=20))
def test_a_shell_reads_what_is_written_to_the_letter(values: list[str]) -> None:
    variables = {f"VALUE_{number}": value for number, value in enumerate(values)}
    script = config_env.render(variables) + "".join(f'printf "%s\\0" "${name}"\n' for name in variables)
    shell = subprocess.run(["sh", "-s"], input=script.encode(), capture_output=True, check=True, timeout=60)
    assert shell.stderr == b""
    assert shell.stdout.decode().split("\0")[:-1] == values


def test_a_file_is_text_to_the_letter() -> None:
    text = config_env.render({"A": "10.220.0.2/16", "B": "two words", "C": ""}, ["note"])
    assert text == "# note\nexport A=10.220.0.2/16\nexport B='two words'\nexport C=\n"


def test_a_file_is_loaded_and_named_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "config.env"
    with pytest.raises(FileNotFoundError):
        config_env.load(path)
    path.write_text("export A=1\n")
    assert config_env.load(path) == {"A": "1"}
    path.write_text("export\n")
    with pytest.raises(InvalidInput, match=str(path)):
        config_env.load(path)
