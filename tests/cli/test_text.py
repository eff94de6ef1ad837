"""Words and numbers; and that nothing a host sends can steer a terminal."""

import pytest

from fleetctl.cli import text


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (0.25, "0.2 s"), (1.9, "1 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"),
     (7500, "2 h 5 min"), (86400 * 4 + 5, "4 d")],
)  # fmt: skip
def test_durations_say_as_much_as_matters(seconds, told):
    assert text.duration(seconds) == told


@pytest.mark.parametrize(
    ("amount", "told"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (412 * 1024**2, "412 MiB"), (8 * 1024**3, "8 GiB"),
     (-(2**30), "-1 GiB"), (3 * 2**50, "3072 TiB")],
)  # fmt: skip
def test_sizes(amount, told):
    assert text.size(amount) == told


def test_cores_are_told_without_needless_digits():
    assert [text.cores(milli) for milli in (4000, 1500, 250, 0)] == ["4", "1.5", "0.25", "0"]


def test_several_ports_are_told_by_name():
    assert text.ports("10.0.0.1", [("http", 80)]) == "10.0.0.1:80"
    assert text.ports("::1", [("http", 80)]) == "[::1]:80"
    assert text.ports("10.0.0.1", [("http", 80), ("admin", 81)]) == "10.0.0.1 http:80 admin:81"


@pytest.mark.parametrize("harm", ["\x1b[2J", "\x9b1m", "\r", "\n", "\x00", "\u202e", "\u2028", "\udc80"])
def test_what_could_steer_a_terminal_is_spelled_out(harm):
    told = text.clean(f"a{harm}b")
    assert told.startswith("a\\")
    assert told.isprintable()
    told.encode()


def test_what_people_write_stays_as_it_is():
    assert text.clean("[bold] größer 日本 → ok") == "[bold] größer 日本 → ok"
