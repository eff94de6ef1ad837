"""What templates say before a placement, and which wait for one."""

from __future__ import annotations

import pytest

from fleetctl.config.templates import Scope, compile_text, evaluate
from fleetctl.model.template import Template

SCOPE = Scope({"one": 1, "text": "a", "items": [1, "b"], "map": {"k": [True]}})


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("plain", "plain"),
        ("{{ one }}", 1),
        ("{{- one -}}", 1),
        ("{{+one}}", 1),
        ("{{ -one }}", -1),
        ("{{- -one }}", -1),
        ("{{ items }}", [1, "b"]),
        ("{{ map.k[0] }}", True),
        ("{{ '5' }}", "5"),
        ("{{ (1, 2) }}", [1, 2]),
        ("{{ none }}", None),
        ("{{ one }} ", "1 "),
        (" {{ one }}", " 1"),
        ("{{ one }}{{ one }}", "11"),
        ("{% if one %}{{ one }}{% endif %}", "1"),
        ("{% set x = 5 %}{{ x }}", "5"),
        ("{{ missing | default('d') }}", "d"),
        ("{{ one }}{# said #}", "1"),
    ],
)
def test_one_expression_keeps_its_kind_and_all_else_is_text(source, value):
    found = evaluate(source, SCOPE)

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(("number", "waits"), [(0, False), (1, False), (4, False), (2, True)])
def test_the_first_two_and_the_last_replica_are_tried(number, waits):
    source = f"{{{{ 1 // 0 if replica.index == {number} else 5 }}}}"

    if waits:
        assert compile_text(source, SCOPE, (), 5) == Template(source)
    else:
        with pytest.raises(ValueError, match=r"^can't be rendered: "):
            compile_text(source, SCOPE, (), 5)


def test_each_port_is_tried_with_a_number_of_its_own():
    source = "{{ address }}:{{ 1 // (ports.a - ports.b) }}"

    assert compile_text(source, SCOPE, ("a", "b"), 1) == Template(source)


def test_what_a_host_knows_of_itself_is_a_host_variable_whatever_the_inventory_says():
    for name in ("inventory_hostname", "groups", "hostvars"):
        with pytest.raises(ValueError, match=rf'^"{name}" is a host variable: '):
            evaluate(f"{{{{ {name} }}}}", Scope({}, frozenset()))


def test_a_plays_variable_hides_a_hosts():
    assert evaluate("{{ rack }}", Scope({"rack": 7}, frozenset({"rack"}))) == 7
