"""Any value of a model type, made from its annotations: a field added to the model is covered from then on."""

import dataclasses
import types
from collections.abc import Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Literal, NewType, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
_PLAIN = {
    str: st.text(max_size=20),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    type(None): st.none(),
    Path: st.text("abc/", min_size=1, max_size=9).map(Path),
    Any: _JSON,  # what YAML gives for a variable
}


@cache
def any_value(kind):
    if kind in _PLAIN:
        return _PLAIN[kind]
    if isinstance(kind, NewType):
        return any_value(kind.__supertype__)
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return st.builds(kind, **{field.name: any_value(hints[field.name]) for field in dataclasses.fields(kind)})
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(kind)
    return _compound(get_origin(kind), get_args(kind))


def _compound(origin, args):
    if origin is Literal:
        return st.sampled_from(args)
    if origin in (Union, types.UnionType):
        return st.one_of(*map(any_value, args))
    if origin is frozenset:
        return st.frozensets(any_value(args[0]), max_size=3)
    if origin in (dict, Mapping):
        return st.dictionaries(any_value(args[0]), any_value(args[1]), max_size=3)
    if origin is tuple and args[-1] is Ellipsis:
        return st.lists(any_value(args[0]), max_size=3).map(tuple)
    assert origin is tuple, f"no values of {origin}[{args}] are known"
    return st.tuples(*map(any_value, args))
