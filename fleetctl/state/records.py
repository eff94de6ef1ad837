"""Model values as text in the store and back: what is read is equal to what was written, or it is an error."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from fleetctl.errors import StateError, UsageError
from fleetctl.model.job import JobSpec
from fleetctl.model.plan import Action, AwaitReady, Start, Stop, Upload

T = TypeVar("T")

ACTION_KINDS: dict[str, type[Action]] = {kind.__name__: kind for kind in (Upload, Start, AwaitReady, Stop)}
TEXT_MAX = 16 * 1024  # characters of one text that came from a host; longer ones are cut


def dump(kind: Any, value: object) -> str:
    """`value`, of type `kind`, as JSON. Characters that are none (a host's broken UTF-8) become `?`."""
    try:
        return _adapter(kind).dump_json(value).decode()
    except PydanticSerializationError:
        return printable(json.dumps(_adapter(kind).dump_python(value, mode="json"), ensure_ascii=False))


def load(kind: type[T], text: str, *, what: str) -> T:
    """Raises StateError where `text` is not what `dump` wrote."""
    return _validated(kind, text, what)  # type: ignore[no-any-return]


def load_tuple(kind: type[T], text: str, *, what: str) -> tuple[T, ...]:
    return _validated(tuple[kind, ...], text, what)  # type: ignore[no-any-return, valid-type]


def load_mapping(kind: type[T], text: str, *, what: str) -> dict[str, T]:
    return _validated(dict[str, kind], text, what)  # type: ignore[no-any-return, valid-type]


def dump_spec(spec: JobSpec) -> str:
    """Raises UsageError where reading it back would give another spec: each deploy would seem to be a change."""
    text = dump(JobSpec, spec)
    if load(JobSpec, text, what=f"job {spec.name}") != spec:
        raise UsageError(
            f"job {spec.name}: one of its variables can't be kept exactly",
            hint="what is a date, NaN, a key that is no text, or broken text has to be written as text, in quotes",
        )
    return text


def printable(text: str) -> str:
    """`text` as any database takes it: valid UTF-8, no NUL, bounded."""
    return text.encode("utf-8", "replace").decode().replace("\0", "?")


def cut(text: str) -> str:
    """`text` from a host, made printable and cut to TEXT_MAX characters."""
    return printable(text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]} [cut]")


def _validated(kind: Any, text: str, what: str) -> Any:
    try:
        return _adapter(kind).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StateError(
            f"the stored record of {what} can't be read: {where}: {first['msg']}",
            hint="the store is damaged or was written by another version: restore the state folder from a backup",
        ) from None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
