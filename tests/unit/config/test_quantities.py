"""Durations, cores and sizes as people write them, and what is said of those that could mean two things."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetctl.config.quantities import format_duration, parse_cpu, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("10s", 10.0), ("5m", 300.0), ("2h", 7200.0), ("1.5s", 1.5), ("0s", 0.0), ("168h", 604800.0)],
)
def test_a_duration_is_seconds(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (5, "needs a unit: 5s, 5m or 5h"),
        ("30", "needs a unit: 30s, 30m or 30h"),
        ("5 min", 'must be a duration such as 500ms, 10s, 5m or 2h, not "5 min"'),
        ("1h30m", 'must be a duration such as 500ms, 10s, 5m or 2h, not "1h30m"'),
        ("-5s", 'must be a duration such as 500ms, 10s, 5m or 2h, not "-5s"'),
        (True, "must be a duration such as 500ms, 10s, 5m or 2h, not true"),
        (None, "must be a duration such as 500ms, 10s, 5m or 2h, not empty"),
        ([5], "must be a duration such as 500ms, 10s, 5m or 2h, not a list"),
        ("10S", 'must be a duration such as 500ms, 10s, 5m or 2h, not "10S"'),
        ("169h", "must be at most 168h, not 169h"),
    ],
)
def test_what_is_no_duration_is_refused(value, said):
    with pytest.raises(ValueError) as caught:
        parse_duration(value)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("value", "milli"), [("2", 2000), (2, 2000), (1.5, 1500), ("1.5", 1500), ("500m", 500), (0, 0), ("0.001", 1)]
)
def test_cpu_is_thousandths_of_a_core(value, milli):
    assert parse_cpu(value) == milli


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("2 cores", 'must be a number of cores such as 2, 1.5 or 500m, not "2 cores"'),
        ("500Mi", 'must be a number of cores such as 2, 1.5 or 500m, not "500Mi"'),
        (-1, "must be a number of cores such as 2, 1.5 or 500m, not -1"),
        (False, "must be a number of cores such as 2, 1.5 or 500m, not false"),
        ({}, "must be a number of cores such as 2, 1.5 or 500m, not a mapping"),
        ("0.5m", "must be a multiple of 1m, a thousandth of a core, not 0.5m"),
        (0.0005, "must be a multiple of 1m, a thousandth of a core, not 0.0005"),
        ("9999999", "must be at most 1000000 cores, not 9999999"),
    ],
)
def test_what_is_no_cpu_is_refused(value, said):
    with pytest.raises(ValueError) as caught:
        parse_cpu(value)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("value", "size"),
    [("256Mi", 256 * 1024**2), ("2Gi", 2 * 1024**3), ("500M", 500_000_000), ("1.5Gi", 3 * 1024**3 // 2), (0, 0),
     ("1Ki", 1024), ("1K", 1000), ("3Ti", 3 * 1024**4)],
)  # fmt: skip
def test_a_size_is_bytes(value, size):
    assert parse_size(value) == size


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1024, "needs a unit: 1024Mi, 1024Gi or 1024M"),
        ("256mi", 'must be a size such as 256Mi, 2Gi or 500M, not "256mi" (did you mean 256Mi?)'),
        ("256MB", 'must be a size such as 256Mi, 2Gi or 500M, not "256MB" (did you mean 256M?)'),
        ("256MiB", 'must be a size such as 256Mi, 2Gi or 500M, not "256MiB" (did you mean 256Mi?)'),
        ("lots", 'must be a size such as 256Mi, 2Gi or 500M, not "lots"'),
        ("5m", 'must be a size such as 256Mi, 2Gi or 500M, not "5m" (did you mean 5M?)'),
        ("0.3Ki", "must be a whole number of bytes, not 0.3Ki"),
        ("2000000Ti", "must be at most 1048576Ti, not 2000000Ti"),
    ],
)
def test_what_is_no_size_is_refused(value, said):
    with pytest.raises(ValueError) as caught:
        parse_size(value)
    assert str(caught.value) == said


@given(st.integers(0, 168 * 3600 * 1000))
def test_a_duration_reads_back_as_it_was_written(milliseconds):
    assert parse_duration(f"{milliseconds}ms") == milliseconds / 1000


@given(st.one_of(st.integers(0, 168 * 3600).map(float), st.integers(0, 9999).map(lambda number: number / 1000)))
def test_a_duration_in_an_error_reads_back_the_same(seconds):
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(0, 10**6))
def test_thousandths_and_cores_agree(milli):
    assert parse_cpu(f"{milli}m") == parse_cpu(f"{milli // 1000}.{milli % 1000:03}") == milli


@pytest.mark.parametrize("parse", [parse_duration, parse_cpu, parse_size])
@given(text=st.text())
def test_any_text_is_an_amount_or_refused_in_words(parse, text):
    said = "must be"
    try:
        assert parse(text) >= 0
    except ValueError as error:
        said = str(error)
    assert said.startswith(("must be", "needs a unit"))
