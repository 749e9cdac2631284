"""Random policies."""

from __future__ import annotations

from hypothesis import strategies as st

from vpn.lib.firewall.policy import NEVER, TCP, UDP, Policy, Role, Rule, make

PORTS = st.integers(1, 65535)
ROLES = st.sampled_from(Role)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """A rule that is allowed."""
    source, target = draw(st.tuples(ROLES, ROLES).filter(lambda pair: pair not in NEVER))
    # Few ports, so that ranges meet and overlap.
    first, last = sorted(draw(st.tuples(st.integers(1, 12), st.integers(1, 12)) | st.tuples(PORTS, PORTS)))
    return Rule(source, target, draw(st.sampled_from((TCP, UDP))), first, last)


def policies() -> st.SearchStrategy[Policy]:
    """A policy of some rules, none too."""
    return st.lists(rules(), max_size=12).map(make)
