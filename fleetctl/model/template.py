"""Text that is finished only after placement, when address and ports are known.

What needs no placement is rendered when the playbook is read and is a plain string from then on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Environment

LATE_NAMES = frozenset({"address", "ports", "replica"})


@dataclass(frozen=True, slots=True)
class Template:
    """Jinja2 source that names `address`, `ports` or `replica`, with the early variables it uses besides."""

    source: str
    variables: tuple[tuple[str, Any], ...] = ()

    def __hash__(self) -> int:
        return hash(self.source)  # variables may be lists; equality still compares them


Text = str | Template


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Sandboxed, strict about undefined names. Imported where used: templates are not on the start-up path."""
    from jinja2 import StrictUndefined, TemplateRuntimeError, Undefined  # noqa: PLC0415
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    def finished(value: Any) -> Any:
        if callable(value) and not isinstance(value, Undefined):
            raise TemplateRuntimeError("a function is no text: it lacks its ()")  # its text would differ each time
        return value

    made = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True, finalize=finished
    )
    made.filters.pop("random")  # a release must be the same when nothing changed
    made.globals.pop("lipsum")
    return made


def render(text: Text, *, address: str, ports: Mapping[str, int], index: int) -> str:
    """`text` for one placed replica. Raises jinja2.TemplateError; reading the playbook has tried it before."""
    if isinstance(text, str):
        return text
    late = {"address": address, "ports": dict(ports), "replica": {"index": index}}
    return environment().from_string(text.source).render(dict(text.variables) | late)
