"""Whatever stands in a file, it is read or refused in words with its place: never a crash."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fleetctl.config.inventory import load_inventory
from fleetctl.config.playbook import load_playbook
from fleetctl.config.shapes import JobShape, LogShape, ReadyShape, ResourcesShape, StopShape, UpdateShape
from fleetctl.errors import UsageError

SHAPES = (JobShape, LogShape, ReadyShape, ResourcesShape, StopShape, UpdateShape)
KEYS = sorted({key for shape in SHAPES for key in (*shape.model_fields, *shape.later)})
WORDS = ["http", "/", "5s", "500m", "1Gi", "25%", "{{ address }}", "{{ ports.http }}", "{{ x }}", "labels.zone != 'c'"]
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(WORDS), st.text(max_size=8)
)  # fmt: skip
keys = st.one_of(st.sampled_from(KEYS), st.text(max_size=5), st.integers(), st.booleans(), st.none())
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)
jobs = st.dictionaries(st.one_of(st.sampled_from(["web", "db"]), keys), st.dictionaries(keys, values, max_size=8))
plays = st.fixed_dictionaries({}, optional={"hosts": values, "vars": values, "jobs": jobs, "name": values})
groups = st.recursive(
    st.none() | scalars,
    lambda inner: st.dictionaries(
        st.one_of(st.sampled_from(["hosts", "vars", "children", "all", "web", "labels", "capacity"]), keys),
        inner,
        max_size=4,
    ),
    max_leaves=10,
)
quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def read_or_refused(work, path: Path, *argv) -> None:
    try:
        work(path, *argv)
    except UsageError as error:
        said = error.message
        assert said
        assert "Value error" not in said
        assert "pydantic" not in said


@quick
@given(data=st.lists(plays, max_size=2) | values)
@example(data=[{"hosts": "all", "jobs": {"web": {"command": ["x"], "env": {1: "a", None: "b", False: "c"}}}}])
@example(data=[{"hosts": "all", "vars": {"a": {None: 1}}, "jobs": {"web": {"command": ["{{ a }}"]}}}])
def test_any_playbook(folder, data):
    (folder / "inventory.yml").write_text("all: {hosts: {h1: {labels: {zone: a}}}}")
    path = folder / "playbook.yml"
    path.write_text(yaml.safe_dump(data))

    read_or_refused(load_playbook, path, load_inventory(folder / "inventory.yml"))


@quick
@given(data=groups)
@example(data={"all": {"hosts": {"h1": {"labels": {None: "a", 1: "b"}}}}})
def test_any_yaml_inventory(folder, data):
    path = folder / "any.yml"
    path.write_text(yaml.safe_dump(data))

    read_or_refused(load_inventory, path)


lines = st.lists(
    st.one_of(
        st.sampled_from(["[web]", "[web:vars]", "[all:children]", "web", "h[1:3]", "h1 a=1", "a=b", "[x", "[::1]:5"]),
        st.text(max_size=12),
    ),
    max_size=8,
)


@quick
@given(lines=lines)
def test_any_ini_inventory(folder, lines):
    path = folder / "any.ini"
    path.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")

    read_or_refused(load_inventory, path)


@quick
@given(text=st.text())
def test_any_text(folder, text):
    path = folder / "any"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")

    read_or_refused(load_inventory, path)
    path.rename(path.with_suffix(".yml"))
    read_or_refused(load_inventory, path.with_suffix(".yml"))
