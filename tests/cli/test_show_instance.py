"""`status JOB` and `status REPLICA` in a pipe and as JSON: all that hosts tell of single instances."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import datetime

import pytest

from fleetctl.cli.screen import Screen
from fleetctl.cli.show_instance import named_json, named_lines
from fleetctl.errors import ExitCode, UsageError
from fleetctl.model.resources import Bytes
from fleetctl.model.snapshot import Event, Phase, Problem, ProblemKind, StuckProcess, Usage
from tests.cli import given

NOON = datetime(2026, 5, 9, 12).astimezone().timestamp()  # here, wherever that is
MIB = 1024**2
TOLD = given.instance(
    "web.0@47",
    reason="web.0 is missing; not ready before",
    restarts=1,
    last_exit="exited 42",
    said="serving 12 clients",
    limits="cgroup: memory 256 MiB, no swap, pids 32",
    usage=Usage(61.25, Bytes(40 * MIB), Bytes(64 * MIB), 3),
    dropped=Bytes(512),
    story=(Event(NOON - 90_000, 1, "started, pid 4000"), Event(NOON - 62, 2, "started, pid 4711")),
)
STUCK = given.instance(
    "web.1@46",
    Phase.STUCK,
    problem=Problem(ProblemKind.DAEMONIZED, "it went into the background"),
    stuck=(StuckProcess(9, "D", "it sleeps in the kernel in nfs_wait"), StuckProcess(10)),
)
STOPPED = replace(given.instance("web.0@40", Phase.STOPPED, reason="superseded by web.0@47"), pid=None)
STOPPED_NOTE = "web.0@40 on h1: stopped, release 3\n  note       superseded by web.0@47\n  process    none,"
SEEN = given.view(h1=given.reachable(TOLD, STOPPED), h2=given.reachable(STUCK))


def shown(name, view=SEEN):
    out = io.StringIO()
    Screen(out, terminal=False).show(named_lines(view, name, NOON))
    return out.getvalue()


def test_a_job_is_shown_instance_by_instance():
    assert (
        shown("web")
        == """\
web.0@47 on h1: ready for 3 min, release 3
  reason     web.0 is missing; not ready before
  process    pid 4711, 1 restart, last exit: exited 42
  ports      http 10.0.0.1:20017
  says       serving 12 clients
  uses       61.2 s of CPU, 40 MiB of memory, 64 MiB at its peak, 3 processes
  limits     cgroup: memory 256 MiB, no swap, pids 32
  log        512 bytes were dropped
  story
    2026-05-08 11:00:00  run 1  started, pid 4000
    11:58:58  run 2  started, pid 4711

web.1@46 on h2: stuck, release 3
  problem    daemonized: it went into the background
  process    pid 4711, 0 restarts
  ports      http 10.0.0.1:20017
  uses       unknown
  limits     unknown
  stuck      pid 9, state D: it sleeps in the kernel in nfs_wait
  stuck      pid 10, state unknown: unknown
  story
    unknown

web.2@44 on h3: unknown, release 3
  note       h3 gives no report; heal would start it on h2
  process    not known, 0 restarts
  ports      http 10.0.0.1:20017
  limits     unknown
  story
    unknown
"""
    )


def test_a_replica_is_shown_with_what_has_stopped():
    first, second = shown("web.0").split("\n\n")
    assert first.startswith("web.0@47 on h1: ready ")
    assert second.startswith(STOPPED_NOTE)
    assert "uses" not in second, "nothing runs"
    assert shown("web.0@40").startswith("web.0@40 on h1: stopped")


def test_what_has_no_story_yet_is_not_one_whose_story_is_unknown():
    quiet = replace(TOLD, story=())
    assert shown("web.0@47", given.view(h1=given.reachable(quiet))).endswith("  story\n    nothing befell it yet\n")


def test_a_replica_without_an_instance_is_missing():
    nothing_known = replace(SEEN, memory=replace(SEEN.memory, hosts={}))
    assert shown("web.2", nothing_known) == "web.2 is missing\n  note       heal would start it on h2\n"


def test_a_stopped_job_says_that_nothing_runs():
    gone = given.well(h1=given.reachable(), h2=given.reachable(), h3=given.reachable())
    stopped = replace(gone, desired=replace(gone.desired, jobs=(replace(given.WEB, stopped=True),)))
    assert shown("web", stopped) == "web: no instance of it is known\n"


@pytest.mark.parametrize(("name", "meant"), [("wbe", "web"), ("web.O", "web.0"), ("web.0@74", "web.0@47")])
def test_a_name_that_nothing_has_is_refused_with_the_nearest(name, meant):
    with pytest.raises(UsageError) as caught:
        shown(name)
    assert caught.value.message == f'{name}: no such job, replica or instance in prod (did you mean "{meant}"?)'
    assert caught.value.hint == "known jobs: web; those of one: fleetctl status JOB"


def test_it_is_all_in_the_json():
    document = json.loads(json.dumps(named_json(SEEN, "web", ExitCode.DEGRADED)))
    assert (document["version"], document["named"], document["exit_code"]) == (1, "web", 3)
    assert [job["job"] for job in document["jobs"]] == ["web"]
    first, second, third = document["instances"]
    assert (first["reason"], first["said"]) == ("web.0 is missing; not ready before", "serving 12 clients")
    assert first["usage"] == {
        "cpu_s": 61.25, "memory_bytes": 40 * MIB, "peak_bytes": 64 * MIB, "processes": 3
    }  # fmt: skip
    assert (first["limits"], third["limits"]) == ("cgroup: memory 256 MiB, no swap, pids 32", None)
    assert first["story"][1] == {"at": NOON - 62, "run": 2, "what": "started, pid 4711"}
    assert second["problem"] == {
        "kind": "daemonized", "detail": "it went into the background", "port": None, "pid": None
    }  # fmt: skip
    assert second["stuck"][0] == {"pid": 9, "state": "D", "why": "it sleeps in the kernel in nfs_wait"}
    assert (third["phase"], third["usage"], third["story"]) == ("unknown", None, None)


def test_the_json_of_a_replica_is_of_that_alone():
    nothing_known = replace(SEEN, memory=replace(SEEN.memory, hosts={}))
    document = named_json(nothing_known, "web.2", ExitCode.DEGRADED)
    assert (document["instances"], [row["replica"] for row in document["missing"]]) == ([], ["web.2"])
    assert [row["instance"] for row in named_json(SEEN, "web.0", ExitCode.DEGRADED)["instances"]] == [
        "web.0@47",
        "web.0@40",
    ]


def test_what_a_program_says_can_not_steer_a_terminal():
    evil = replace(TOLD, said="\x1b]0;owned\x07")
    assert "\\x1b]0;owned\\x07" in shown("web.0", given.view(h1=given.reachable(evil)))
