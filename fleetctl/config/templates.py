"""Templates in a playbook: what can be said now is said now, what needs a placement waits as a Template.

A template that would fail after placement fails here: it is tried with made-up ports and addresses. What is refused
raises ValueError with a sentence that can stand behind the name of a key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError, TemplateSyntaxError, Undefined, UndefinedError, meta, nodes

from fleetctl.config.source import Encrypted
from fleetctl.config.suggest import did_you_mean
from fleetctl.model.template import LATE_NAMES, Template, Text, environment, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_UNDEFINED = re.compile(r"'(\w+)' is undefined")
_SEEN = "a job's templates see the play's vars, address, ports and replica.index"
# What Ansible knows of each host besides its variables.
_OF_HOSTS = frozenset(
    {"inventory_hostname", "inventory_hostname_short", "group_names", "groups", "hostvars", "ansible_facts"}
)
_TRIED_ADDRESS, _TRIED_PORT = "192.0.2.1", 20000


@dataclass(frozen=True, slots=True)
class Scope:
    """What a play's templates may name, and the host variables that they may not."""

    variables: Mapping[str, object]
    of_hosts: frozenset[str] = frozenset()
    to_come: frozenset[str] = frozenset()  # variables that are not resolved yet: good as suggestions


def is_template(text: str) -> bool:
    return "{{" in text or "{%" in text


def evaluate(source: str, scope: Scope) -> object:
    """What a template says before any placement: a value of its own kind where it is one expression, else text."""
    if not is_template(source):
        return source
    tree, names = _parse(source, scope)
    late = sorted(names & LATE_NAMES)
    if late:
        raise ValueError(f'"{late[0]}" is known only after placement: it can stand in command and env')
    expression = _only_expression(tree, source)

    def work() -> object:
        if expression is None:
            return environment().from_string(source).render(scope.variables)
        value = environment().compile_expression(expression, undefined_to_none=False)(**scope.variables)
        return str(value) if isinstance(value, Undefined) else value  # the former raises

    return _plain(_guarded(work, scope))


def compile_text(source: str, scope: Scope, ports: Sequence[str], replicas: int) -> Text:
    """The finished text, or a Template of what only a placement can finish; that one has been tried."""
    if not is_template(source):
        return source
    tree, names = _parse(source, scope)
    if not names & LATE_NAMES:
        return str(_guarded(lambda: environment().from_string(source).render(scope.variables), scope))
    _check_late(tree, ports)
    used = tuple((name, scope.variables[name]) for name in sorted(names - LATE_NAMES) if name in scope.variables)
    template = Template(source, used)
    tried = {name: _TRIED_PORT + number for number, name in enumerate(ports)}
    for index in sorted({0, 1, replicas - 1}):  # the branches that templates tell apart
        _guarded(partial(render, template, address=_TRIED_ADDRESS, ports=tried, index=index), scope)
    return template


def names_in(source: str) -> set[str]:
    """The names a template takes from outside; none where it is not valid."""
    try:
        return meta.find_undeclared_variables(environment().parse(source)) if is_template(source) else set()
    except TemplateSyntaxError:
        return set()


def _parse(source: str, scope: Scope) -> tuple[nodes.Template, set[str]]:
    """The template and the names it takes from outside."""
    try:
        tree = environment().parse(source)
        names = meta.find_undeclared_variables(tree)
    except TemplateSyntaxError as error:
        raise ValueError(f"is not a valid template: {error.message}") from None
    foreign = (names - set(scope.variables) - LATE_NAMES) & (scope.of_hosts | _OF_HOSTS)
    if foreign:
        raise ValueError(f'"{min(foreign)}" is a host variable: {_SEEN}')
    return tree, names


def _check_late(tree: nodes.Template, ports: Sequence[str]) -> None:
    """Ports and fields of `replica` that are not there, told with the nearest that is."""
    for owner, name in _accesses(tree):
        if owner == "ports" and name not in ports:
            known = did_you_mean(name, ports) or (f": its ports are {', '.join(ports)}" if ports else ": it has none")
            raise ValueError(f'the job has no port "{name}"{known}')
        if owner == "replica" and name != "index":
            raise ValueError(f'"replica" has no "{name}": it has an index')


def _accesses(tree: nodes.Template) -> Iterator[tuple[str, str]]:
    for dot in tree.find_all(nodes.Getattr):
        if isinstance(dot.node, nodes.Name):
            yield dot.node.name, dot.attr
    for item in tree.find_all(nodes.Getitem):
        if isinstance(item.node, nodes.Name) and isinstance(item.arg, nodes.Const):
            yield item.node.name, str(item.arg.value)


def _only_expression(tree: nodes.Template, source: str) -> str | None:
    """The `expr` of `{{ expr }}`, where the template is nothing but that."""
    if not source.startswith("{{") or not source.endswith("}}") or len(tree.body) != 1:
        return None
    output = tree.body[0]
    if (
        not isinstance(output, nodes.Output)
        or len(output.nodes) != 1
        or isinstance(output.nodes[0], nodes.TemplateData)
    ):
        return None
    return source[2:-2].removeprefix("-").removesuffix("-")  # as `{{-` and `-}}` begin and end


def _guarded(work: Callable[[], Any], scope: Scope) -> Any:
    try:
        return work()
    except UndefinedError as error:
        message = str(error)
        if found := _UNDEFINED.fullmatch(message):
            known = {*scope.variables, *scope.to_come, *LATE_NAMES}
            raise ValueError(f'"{found[1]}" is not defined{did_you_mean(found[1], known) or f": {_SEEN}"}') from None
        raise ValueError(f"can't be rendered: {message}") from None
    except TemplateError as error:
        raise ValueError(f"can't be rendered: {error.message or error}") from None
    except Exception as error:  # noqa: BLE001  (a template is a program of the user's: it may fail in any way)
        raise ValueError(f"can't be rendered: {str(error) or type(error).__name__}") from None


def _plain(value: object) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return str(value)
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case Encrypted():
            raise ValueError("not supported yet: a value encrypted with ansible-vault")
        case _:
            raise ValueError("gives no text, number, list or mapping (a filter's result needs | list behind it)")
