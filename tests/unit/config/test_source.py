"""YAML with lines: what stands where, and what is refused with its place."""

from __future__ import annotations

import pytest

from fleetctl.config.source import Encrypted, dotted, parse_yaml, read_yaml
from fleetctl.errors import FileError


def refused(text: str) -> str:
    with pytest.raises(FileError) as caught:
        parse_yaml(text, "f.yml")
    return str(caught.value)


def test_every_key_and_item_has_its_line():
    document = parse_yaml("a: 1\nb:\n  c: [x,\n      y]\n  d:\n    - e: 1\n      f: 2\n", "f.yml")

    assert document.data == {"a": 1, "b": {"c": ["x", "y"], "d": [{"e": 1, "f": 2}]}}
    paths = [("a",), ("b",), ("b", "c"), ("b", "c", 0), ("b", "c", 1), ("b", "d"), ("b", "d", 0, "f")]
    assert [document.line(path) for path in paths] == [1, 2, 3, 3, 4, 5, 7]


def test_what_is_not_there_has_the_line_of_what_is_around_it():
    document = parse_yaml("a:\n  b: 1\n", "f.yml")

    assert document.line(("a", "b", "c")) == 2
    assert document.line(("a", "x")) == 1
    assert str(document.error(("a", "x"), "missing")) == "f.yml:1: a.x: missing"


def test_a_path_reads_like_the_file():
    assert dotted((0, "jobs", "web", "command", 2)) == "jobs.web.command[2]"
    assert dotted(()) == ""


def test_an_empty_file_is_nothing():
    assert parse_yaml("# nothing\n", "f.yml").data is None


def test_numbers_keep_the_text_they_were_written_as():
    document = parse_yaml("a: 1.10\nb: 0755\n", "f.yml")

    assert (document.data, document.written) == ({"a": 1.1, "b": 493}, {("a",): "1.10", ("b",): "0755"})


def test_times_and_dates_are_text():
    assert parse_yaml("[10:30, 2024-05-01, 1:2:3.5, =]", "f.yml").data == ["10:30", "2024-05-01", "1:2:3.5", "="]


def test_merged_keys_stand_where_they_were_written_and_give_way():
    document = parse_yaml("base: &base\n  a: 1\n  b: 1\nuse:\n  b: 2\n  <<: *base\n", "f.yml")

    assert document.data["use"] == {"a": 1, "b": 2}
    assert (document.line(("use", "a")), document.line(("use", "b"))) == (2, 5)


def test_of_several_merged_mappings_the_earlier_wins():
    document = parse_yaml("x: &x {a: 1}\ny: &y {a: 2, b: 2}\nz: {<<: [*x, *y]}\n", "f.yml")

    assert document.data["z"] == {"a": 1, "b": 2}


def test_a_vaulted_value_stays_closed():
    value = parse_yaml("a: !vault |\n  $ANSIBLE_VAULT;1.1\n", "f.yml").data["a"]

    assert value == Encrypted()
    assert str(value) == "***"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yml:3: a: duplicate key (first in line 1)"),
        ("x:\n  a: 1\n  'a': 3\n", "f.yml:3: x.a: duplicate key (first in line 2)"),
        ("a: {{ x }}\n", 'f.yml:1: a: a value that starts with {{ must stand in quotes: "{{ ... }}"'),
        ("? [a]\n: 1\n", "f.yml:1: a key must be text, not a list or a mapping"),
        ("a: &a [*a]\n", "f.yml:1: a[0]: is an alias that contains itself"),
        ("a:\n\tb: 1\n", "f.yml:2: not valid YAML: a tab can't indent or begin a value: use spaces"),
        ("a: b: c\n", "f.yml:1: not valid YAML: mapping values are not allowed here"),
        ("a: !!set {x}\n", "f.yml:1: a: a value of type tag:yaml.org,2002:set is not supported"),
        ("a: !env HOME\n", "f.yml:1: a: a value of type !env is not supported"),
        ("a: !!python/object:os.system x\n",
         "f.yml:1: a: a value of type tag:yaml.org,2002:python/object:os.system is not supported"),
        ("a: 0b_\n", 'f.yml:1: a: "0b_" is not a valid int'),
        ("a: 1\n---\nb: 2\n",
         "f.yml:2: not valid YAML: expected a single document in the stream, but found another document"),
        ("a: \x01\n", "f.yml:1: not valid YAML: special characters are not allowed"),
        ("<<: 5\n", "f.yml:1: << takes a mapping or a list of mappings"),
    ],
)  # fmt: skip
def test_what_is_not_valid_is_told_with_its_line(text, said):
    assert refused(text) == said


def test_aliases_can_not_blow_up():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]

    assert refused("\n".join(lines)).endswith("aliases make this too large")


def test_deep_nesting_is_refused_not_a_crash():
    assert refused("[" * 5000) == "f.yml: not valid YAML: nested too deeply"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: \xff\n", "{}:1: is not UTF-8 text"),
        (b"ok: 1\n# caf\xe9\n", "{}:2: is not UTF-8 text"),
        (b"$ANSIBLE_VAULT;1.1;AES256\n61\n", "{}:1: not supported yet: a file encrypted with ansible-vault"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path, content, said):
    path = tmp_path / "f.yml"
    path.write_bytes(content)

    with pytest.raises(FileError) as caught:
        read_yaml(path)
    assert str(caught.value) == said.format(path)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(FileError) as missing:
        read_yaml(tmp_path / "none.yml")
    with pytest.raises(FileError) as folder:
        read_yaml(tmp_path)
    assert str(missing.value) == f"{tmp_path}/none.yml: no such file"
    assert str(folder.value) == f"{tmp_path}: can't be read: Is a directory"
