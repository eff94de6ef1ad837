"""`hosts` in a pipe and as JSON: the table, the marks beside a verdict, and one host's whole story."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from fleetctl.cli.screen import BAD, Line, Screen
from fleetctl.cli.show_hosts import explained_json, explained_lines, hosts_json, hosts_lines
from fleetctl.cli.show_plan import host_trouble_lines
from fleetctl.errors import ExitCode
from fleetctl.host.comeback import ASKED_NOT_TO
from fleetctl.model.instant import Instant
from fleetctl.model.memory import Cordon
from fleetctl.model.plan import Answer, Question, Said
from fleetctl.model.verdict import Health, HostVerdict, Sign
from tests.cli import given

if TYPE_CHECKING:
    from fleetctl.engine.read import View

NOON = datetime(2026, 5, 9, 12).astimezone().timestamp()  # here, wherever that is


def in_a_pipe(lines):
    out = io.StringIO()
    Screen(out, terminal=False).show(lines)
    return out.getvalue()


def test_hosts_with_what_is_free_and_why_one_is_lost():
    assert (
        in_a_pipe(hosts_lines(given.view(h2=given.reachable(notes=("its clock is 5 s ahead",))), NOON))
        == """\
HOST  ADDRESS        VERDICT  SINCE         LABELS  INSTANCES  CPU FREE    MEMORY FREE       DISK FREE          \
LIMITS    AFTER REBOOT
h1    10.0.0.1       healthy  10:00, 2 h    zone=a  1          3.5 of 4    7.8 GiB of 8 GiB  60 GiB of 100 GiB  \
advisory  unit
h2    10.0.0.2:2222  healthy  10:00, 2 h    zone=b  0          1.5 of 1.5  8 GiB of 8 GiB    60 GiB of 100 GiB  \
advisory  unit
h3    10.0.0.3       lost     11:58, 1 min  zone=a  1          -           -                 -                  \
-         -

h2: its clock is 5 s ahead
h3 is lost: silent (no answer from 10.0.0.3 port 22 in 2 s), nor does it answer h1 and h2
  try it by hand: ssh -v -p 22 10.0.0.3
  last known there: 1 instance: web.2@44
"""
    )


def rebooting(limits: str, after_reboot: str) -> View:
    """h2 tells this of itself."""
    return given.view(h2=given.reachable(facts=replace(given.FACTS, limits=limits, after_reboot=after_reboot)))


def test_what_starts_a_hosts_agent_after_a_reboot_is_said_loudly_where_it_is_nothing():
    lines = hosts_lines(rebooting("cgroup", "none: ops may not linger: loginctl …"), NOON)
    assert next(line.text for line in lines if line.text.startswith("h2 ")).endswith("  cgroup    NONE")
    why = "after a reboot nothing starts its programs but the next heal: ops may not linger: loginctl …"
    assert Line(f"h2: {why}", BAD) in lines
    assert sum("after a reboot" in line.text for line in lines) == 1, "the others are fine"


def test_nothing_is_said_loudly_where_it_was_asked_for():
    lines = hosts_lines(rebooting("cgroup", ASKED_NOT_TO), NOON)
    assert next(line.text for line in lines if line.text.startswith("h2 ")).endswith("  cgroup    none")
    assert not any("after a reboot" in line.text for line in lines)


def test_an_agent_that_does_not_tell_is_not_known_to_come_back():
    row = in_a_pipe(hosts_lines(rebooting("advisory", ""), NOON)).splitlines()[2]
    assert row.endswith("  advisory  unknown")


@pytest.mark.parametrize(
    ("limits", "word"),
    [("advisory: no cgroup v2 controllers; instead its processes are the first to go", "advisory"),
     ("cgroup; no controller here for cpu", "cgroup")],
)  # fmt: skip
def test_what_else_there_is_to_say_of_limits_is_said_once(limits, word):
    told = in_a_pipe(hosts_lines(rebooting(limits, "user unit"), NOON))
    assert f"  {word:<8}  user unit\n" in told
    assert told.count(f"h2: limits: {limits}\n") == 1
    all_so = given.reachable(facts=replace(given.FACTS, limits=limits, after_reboot="unit"))
    told = in_a_pipe(hosts_lines(given.well(h1=all_so, h2=all_so, h3=all_so), NOON))
    assert told.endswith(f"\n\nh1, h2, h3: limits: {limits}\n")


def test_hosts_as_json():
    document = json.loads(json.dumps(hosts_json(given.view(), ExitCode.UNREACHED, NOON)))
    assert (document["version"], document["fleet"], document["exit_code"]) == (1, "prod", 4)
    first, _, last = document["hosts"]
    assert first["cpu_milli"] == {"free": 3500, "whole": 4000}
    assert first["labels"] == {"zone": "a"}
    assert (first["host"], first["verdict"], first["because"]) == ("h1", "healthy", "answers")
    assert last["memory_bytes"] is None
    assert (last["since_s"], last["since_wall"]) == (65.0, NOON - 65)
    assert last["hint"].startswith("try it by hand")
    assert (first["after_reboot"], last["after_reboot"], first["boot"]) == ("unit", "", "b00t")
    assert (last["sign"], last["cordon"], last["gone"], last["behind"]) == ("silent", None, False, [])


def marked() -> View:
    """h1 cordoned, h2 gone from the inventory and draining, h3 flapping and behind."""
    seen = given.view()
    cordons = {"h1": Cordon("ann", 0.0, "disk swap"), "h2": Cordon("bob", 0.0, drains=True)}
    known = {"h3": replace(seen.memory.hosts["h3"], behind=frozenset({"web"}))}
    return replace(
        seen,
        desired=replace(seen.desired, gone=frozenset({"h2"})),
        memory=replace(seen.memory, cordons=cordons, hosts=known),
        verdicts={**seen.verdicts, "h3": HostVerdict(Health.SUSPECT, "flapping: …", given.NOW, Sign.FLAPPING)},
    )


def test_what_people_set_and_what_to_know_of_a_host_stands_beside_its_verdict():
    told = in_a_pipe(hosts_lines(marked(), NOON))
    assert "  healthy, cordoned by ann: disk swap  " in told
    assert "  healthy, draining, by bob, gone from the inventory  " in told
    assert "  suspect, flapping, behind  " in told
    assert "h3 is behind: web was deployed while it was silent\n" in told


def test_what_people_set_is_in_the_json_too():
    document = json.loads(json.dumps(hosts_json(marked(), ExitCode.DEGRADED, NOON)))
    first, second, third = document["hosts"]
    assert first["cordon"] == {"by": "ann", "at_wall": 0.0, "why": "disk swap", "drains": False}
    assert second["gone"] is True
    assert (third["sign"], third["behind"]) == ("flapping", ["web"])


def test_since_is_a_day_where_it_was_not_today():
    seen = given.view()
    of_old = {**seen.verdicts, "h1": replace(seen.verdicts["h1"], since=Instant(given.NOW - 90_000))}
    assert "  2026-05-08, 1 d  " in in_a_pipe(hosts_lines(replace(seen, verdicts=of_old), NOON))


def test_the_story_of_one_host():
    asked = Question("h3", "h1", "10.0.0.3", 22, "banner", reached_before=True)
    seen = replace(given.view(), answers=(Answer(asked, Said.NO),))
    assert (
        in_a_pipe(explained_lines(seen, "h3", NOON))
        == """\
h3 is lost since 11:58, 1 min: silent (no answer from 10.0.0.3 port 22 in 2 s), nor does it answer h1 and h2
tried now
  3 tries: silent: no answer from 10.0.0.3 port 22 in 2 s
  try it by hand: ssh -v -p 22 10.0.0.3
witnesses
  h1, asked for its SSH banner at 10.0.0.3 port 22: got nothing; it had reached it before
earlier runs
  last believed: lost, from 65 s ago on: silent (no answer from 10.0.0.3 port 22 in 2 s), nor does it answer h1 and h2
  silent in 1 run before this one, the first 0 s ago
began or ceased to answer
  not in the last 10 min
path
  directly to 10.0.0.3 port 22
set by people
  neither cordoned nor gone from the inventory
what runs there
  web.2@44, last known as ready, release 3
what would change the verdict
  one answer, to us or to a witness: what was started elsewhere stays, and the older is stopped
"""
    )


def test_the_story_of_one_host_as_json():
    document = json.loads(json.dumps(explained_json(given.view(), ExitCode.UNREACHED, "h3", NOON)))
    assert (document["version"], document["exit_code"], document["host"]) == (1, 4, "h3")
    assert (document["verdict"], document["sign"], document["since_wall"]) == ("lost", "silent", NOON - 65)
    assert document["parts"][0] == {
        "title": "tried now",
        "lines": ["3 tries: silent: no answer from 10.0.0.3 port 22 in 2 s", "try it by hand: ssh -v -p 22 10.0.0.3"],
    }
    assert document["parts"][-1]["title"] == "what would change the verdict"


def test_a_root_that_is_another_says_how_to_go_on():
    seen = given.well()
    other = HostVerdict(Health.SUSPECT, "its root has another identity than h1 had", given.NOW, Sign.IDENTITY)
    verdicts = {**seen.verdicts, "h1": other}
    assert in_a_pipe(host_trouble_lines(verdicts, seen.snapshot)).splitlines()[1:] == [
        "  if that is right: fleetctl hosts --forget h1"
    ]
