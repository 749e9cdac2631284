"""What an exposition holds, in a form that is easily compared."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

PREFIX = "fedbiomed_vpn_"

Exposed = dict[str, dict[tuple[str, ...], float]]


def exposed(text: str) -> Exposed:
    """By name without the prefix: the values by the labels' values, the type's first, then by their names.

    A name whose family has no samples is not in it.
    """
    found: Exposed = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.name.startswith(PREFIX)
            labels = sorted(sample.labels.items(), key=lambda item: (item[0] != "type", item[0]))
            values = tuple(value for _, value in labels)
            found.setdefault(sample.name.removeprefix(PREFIX), {})[values] = sample.value
    return found
