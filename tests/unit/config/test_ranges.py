"""What an inventory's host entries stand for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetctl.config.ranges import parse_entry


@pytest.mark.parametrize(
    ("text", "names", "port"),
    [
        ("web1", ("web1",), None),
        ("web[1:3]", ("web1", "web2", "web3"), None),
        ("web[01:03].example.com", ("web01.example.com", "web02.example.com", "web03.example.com"), None),
        ("n[1:9:4]", ("n1", "n5", "n9"), None),
        ("n[8:010]", ("n8", "n9", "n10"), None),
        ("n[:2]", ("n0", "n1", "n2"), None),
        ("db-[a:c]", ("db-a", "db-b", "db-c"), None),
        ("m[y:B]", ("my", "mz", "mA", "mB"), None),
        ("r[1:2]c[a:b]", ("r1ca", "r1cb", "r2ca", "r2cb"), None),
        ("web[1:2]:2222", ("web1", "web2"), 2222),
        ("h.example.com:22", ("h.example.com",), 22),
        ("10.0.0.[1:2]:2200", ("10.0.0.1", "10.0.0.2"), 2200),
        ("[::1]:2200", ("::1",), 2200),
        ("[2001:db8::7]", ("2001:db8::7",), None),
        ("2001:db8::7", ("2001:db8::7",), None),
    ],
)
def test_an_entry_names_its_hosts(text, names, port):
    entry = parse_entry(text)

    assert (entry.names, entry.port) == (names, port)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("web[3:1]", "[3:1] runs backwards"),
        ("web[c:a]", "[c:a] runs backwards"),
        ("web[C:a]", "[C:a] runs backwards"),
        ("web[1]", "[1] is not a range, such as [1:9], [01:20], [a:f] or [0:100:5]"),
        ("web[1:b]", "[1:b] is not a range, such as [1:9], [01:20], [a:f] or [0:100:5]"),
        ("web[1:]", "[1:] is not a range, such as [1:9], [01:20], [a:f] or [0:100:5]"),
        ("web[aa:cc]", "[aa:cc] is not a range, such as [1:9], [01:20], [a:f] or [0:100:5]"),
        ("web[1:9:0]", "the step of [1:9:0] must be a number from 1 up"),
        ("web[1:9:-2]", "the step of [1:9:-2] must be a number from 1 up"),
        ("web[01:100]", "[01:100] must have as many digits at its end as at its beginning"),
        ("web[1:3", '"web[1:3" has a bracket that is not closed'),
        ("web[1:99999]", "[1:99999] stands for more than 10000 hosts"),
        ("w[1:200]-[1:200]", '"w[1:200]-[1:200]" stands for more than 10000 hosts'),
        ("web:0", "must be a port from 1 to 65535, not 0"),
        ("web:99999", "must be a port from 1 to 65535, not 99999"),
        ("web:",
         '"web:" is not a host name: letters, digits, dots, - and _'),
        ("-oProxyCommand=x",
         '"-oProxyCommand=x" is not a host name: letters, digits, dots, - and _'),
        ("../etc",
         '"../etc" is not a host name: letters, digits, dots, - and _'),
        ("",
         '"" is not a host name: letters, digits, dots, - and _'),
    ],
)  # fmt: skip
def test_an_entry_that_names_none_is_refused(text, said):
    with pytest.raises(ValueError) as caught:
        parse_entry(text)
    assert str(caught.value) == said


@given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 50))
def test_a_range_counts_as_python_does(first, length, step):
    last = first + length

    assert parse_entry(f"h[{first}:{last}:{step}]").names == tuple(f"h{n}" for n in range(first, last + 1, step))


@given(st.integers(1, 6), st.data())
def test_leading_zeros_are_kept_by_every_name(width, data):
    last = data.draw(st.integers(1, min(10**width - 1, 2000)))
    first = data.draw(st.integers(0, last))
    names = parse_entry(f"h[{first:0{width + 1}}:{last:0{width + 1}}]").names

    assert len(names) == last - first + 1
    assert {len(name) for name in names} == {width + 2}


@given(st.text(max_size=30))
def test_any_text_is_an_entry_or_refused_in_words(text):
    said = ""
    try:
        entry = parse_entry(text)
    except ValueError as error:
        said = str(error)
    else:
        assert entry.names
        assert all("/" not in name and not name.startswith("-") for name in entry.names)
    assert "invalid literal" not in said
