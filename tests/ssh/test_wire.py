"""What a host says becomes model types, or is refused: never half of it, never more than was agreed."""

import copy
import json

import pytest

from fleetctl.host import protocol
from fleetctl.model.replica import InstanceName
from fleetctl.model.resources import Resources
from fleetctl.model.snapshot import Event, Phase, Problem, ProblemKind, Reach, StuckProcess, Usage
from fleetctl.ssh import wire
from fleetctl.ssh.wire import GarbledError

ROW = {
    "instance": "web.1@47",
    "job": "web",
    "release": 3,
    "phase": "ready",
    "wanted": "run",
    "pid": 1234,
    "ready_for_s": 12.5,
    "ever_ready": True,
    "restarts": 2,
    "last_exit": "exited 42",
    "reason": "",
    "problem": {"kind": "port_taken", "detail": "pid 7 listens there", "port": 20000, "pid": 7},
    "age_s": 60,
    "ports": {"http": 20000},
    "address": "10.0.0.1",
    "artifact": "a" * 64,
    "resources": {"cpu_milli": 500, "memory_bytes": 1024, "disk_bytes": 2048},
    "dropped_bytes": 5,
    "stuck": [{"pid": 9, "state": "D", "why": "it sleeps"}],
}
REPORT = {
    "serial": 16777217,
    "boot": "b",
    "boottime_s": 1.0,
    "wallclock_s": 2,
    "address": "10.0.0.9",
    "host_id": "id",
    "fleet": None,
    "program": {"version": "0.1.0", "digest": "d", "protocol": 1},
    "guard": {"generation": 47, "author": "me", "at": 3.0},
    "facts": {
        "cpu_milli": 4000,
        "memory_bytes": 1,
        "disk_total_bytes": 2,
        "disk_free_bytes": 1,
        "kernel": "6.1",
        "arch": "x86_64",
        "python": "3.11",
        "limits": "advisory",
    },
    "ports_in_use": [22, 20000],
    "artifacts": ["a" * 64],
    "instances": [ROW],
    "reach": [{"host": "h2", "address": "10.0.0.2", "port": 22, "ok": True, "age_s": 4.0}],
    "notes": ["hm"],
    "of a newer host": [],
}


def report(said=REPORT):
    return wire.parse(wire.Report, json.loads(json.dumps(said))).report(agent=True, address="")


def changed(place, value):
    """The report with another value at a place such as `instances.0.pid`."""
    said = copy.deepcopy(REPORT)
    *way, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    inner = said
    for part in way:
        inner = inner[part]
    inner[last] = value
    return said


def test_a_report_becomes_model_types():
    seen = report()
    (row,) = seen.instances
    assert (row.name, row.phase) == (InstanceName.parse("web.1@47"), Phase.READY)
    assert row.ports == (("http", 20000),)
    assert row.resources == Resources(500, 1024, 2048)
    assert row.problem == Problem(ProblemKind.PORT_TAKEN, "pid 7 listens there", 20000, 7)
    assert (row.stuck, row.dropped, row.ready_for_s) == ((StuckProcess(9, "D", "it sleeps"),), 5, 12.5)
    assert (seen.guard.generation, seen.fleet, seen.address) == (47, None, "10.0.0.9")
    assert seen.reach == (Reach("h2", "10.0.0.2", 22, ok=True, age_s=4.0),)
    assert (seen.ports_in_use, seen.artifacts) == (frozenset({22, 20000}), frozenset({"a" * 64}))


NEWER = {
    **ROW,
    "problem": {"kind": "daemonized", "detail": "it went into the background", "port": None, "pid": 7},
    "said": "warming\x1b[2J up",
    "limits": "cgroup: memory 40.0 MiB, no swap, pids 32",
    "usage": {"cpu_s": 1.5, "memory_bytes": 1024, "peak_bytes": 2048, "processes": 3},
    "story": [{"at": 5.0, "run": 1, "what": "started\nanew"}, {"at": 6, "run": 2, "what": "killed by SIGKILL"}],
}


def test_what_newer_agents_tell_besides_is_known_and_cleaned():
    (row,) = report(changed("instances", [NEWER])).instances
    assert row.problem.kind is ProblemKind.DAEMONIZED
    assert (row.said, row.limits) == ("warming\ufffd[2J up", "cgroup: memory 40.0 MiB, no swap, pids 32")
    assert row.usage == Usage(1.5, 1024, 2048, 3)
    assert row.story == (Event(5.0, 1, "started anew"), Event(6.0, 2, "killed by SIGKILL"))
    assert report(changed("facts.boot", "user unit")).facts.after_reboot == "user unit"


def test_what_older_agents_do_not_tell_is_not_known():
    seen = report()
    (row,) = seen.instances
    assert (row.said, row.limits, row.usage, row.story, seen.facts.after_reboot) == ("", "", None, None, "")


def test_every_phase_of_the_protocol_is_known():
    assert {report(changed("instances.0.phase", phase)).instances[0].phase for phase in protocol.PHASES} == set(Phase)


def test_instances_come_in_order_of_their_names():
    rows = [{**ROW, "instance": name} for name in ("web.10@2", "web.2@3", "api.0@9", "web.2@1")]
    assert [str(row.name) for row in report(changed("instances", rows)).instances] == [
        "api.0@9",
        "web.2@1",
        "web.2@3",
        "web.10@2",
    ]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("serial", "1"),
        ("serial", -1),
        ("serial", 2**63),
        ("serial", True),
        ("boottime_s", float("nan")),
        ("wallclock_s", float("inf")),
        ("host_id", "x" * 254),
        ("guard", None),
        ("ports_in_use", [65536]),
        ("ports_in_use", list(range(65537))),
        ("artifacts", ["../../etc"]),
        ("artifacts", ["a" * 64 + "\n"]),
        ("instances.0.instance", "../web.1@47"),
        ("instances.0.instance", "web.1@0"),
        ("instances.0.phase", "fine"),
        ("instances.0.pid", 1.5),
        ("instances.0.ports", {"http": -1}),
        ("instances.0.artifact", "A" * 64),
        ("instances.0.problem.kind", "bad luck"),
        ("instances.0.resources.cpu_milli", -1),
        ("instances.0.usage", {"cpu_s": -1.0, "memory_bytes": 1, "peak_bytes": 1, "processes": 1}),
        ("instances.0.usage", {"cpu_s": 1.0}),
        ("instances.0.story", [{"at": float("nan"), "run": 1, "what": "x"}]),
        ("instances.0.story", [{"at": 1.0, "run": 1, "what": "x"}] * (wire.EVENTS_MAX + 1)),
        ("instances", [ROW, ROW]),
        ("instances", {"0": ROW}),
        ("facts", []),
    ],
)
def test_what_is_not_of_the_agreed_shape_is_refused(place, value):
    with pytest.raises(GarbledError):
        report(changed(place, value))


@pytest.mark.parametrize("missing", [key for key in REPORT if key not in ("program", "of a newer host")])
def test_a_report_with_a_part_missing_is_refused(missing):
    with pytest.raises(GarbledError, match=missing):
        report({key: value for key, value in REPORT.items() if key != missing})


def test_words_are_cut_and_cleaned():
    seen = report(changed("notes", ["a\x1b]0;owned\x07b\nc\u202ed" + "x" * 10_000]))
    assert seen.notes[0].startswith("a\ufffd]0;owned\ufffdb c\ufffdd")
    assert len(seen.notes[0]) == wire.TEXT_CHARS_MAX


@pytest.mark.parametrize("said", [None, {"anything": ["at", "all"]}])
def test_what_a_host_keeps_is_passed_on_as_it_is(said):
    assert wire.parse(wire.Wished, {"wishes": said}).wishes == said


@pytest.mark.parametrize("said", [{}, {"wishes": ["web"]}, {"wishes": "web"}])
def test_what_a_host_keeps_is_an_object_or_nothing(said):
    with pytest.raises(GarbledError):
        wire.parse(wire.Wished, said)


def test_log_lines_keep_tabs_and_nothing_else_that_a_terminal_obeys():
    said = {"lines": ["a\tb", "\x1b[31mred\x1b[0m", "\x9b2J"]}
    assert wire.parse(wire.Logged, said).lines == ["a\tb", "\ufffd[31mred\ufffd[0m", "\ufffd2J"]


def test_a_log_line_is_told_to_its_end_however_long_it_is():
    page = wire.parse(wire.Logged, {"lines": ["x" * 2**20], "dropped_bytes": 0}).page()
    assert [entry.text for entry in page.entries] == ["x" * 2**20]


def test_the_error_names_the_place_and_not_the_content():
    with pytest.raises(GarbledError) as caught:
        report(changed("instances.0.instance", "\x1b[2Jsecret"))
    assert str(caught.value).startswith("instances.0.instance: ")
    assert "\x1b" not in str(caught.value)


LOGGED = {"lines": ["one", "two"], "times": [1.0, 2.5], "runs": [1, 2], "dropped_bytes": 7, "next": "3:8:0",
          "gaps": [{"before": 1, "bytes": 5, "at": 2.0, "run": 1}, {"before": 2, "bytes": 2, "at": 3.0, "run": 2}],
          "cut": True, "partial": False, "missed": True, "run": 2, "wallclock_s": 9.0}  # fmt: skip


def test_what_is_missing_of_a_log_stands_between_its_lines():
    page = wire.parse(wire.Logged, LOGGED).page()
    assert [(entry.at, entry.run, entry.text, entry.dropped_bytes) for entry in page.entries] == [
        (1.0, 1, None, None),
        (1.0, 1, "one", None),
        (2.0, 1, None, 5),
        (2.5, 2, "two", None),
        (3.0, 2, None, 2),
    ]
    assert (page.next, page.cut, page.partial, page.wallclock_s) == ("3:8:0", True, False, 9.0)


def test_an_older_agent_tells_lines_alone():
    page = wire.parse(wire.Logged, {"lines": ["one"], "dropped_bytes": 0}).page()
    assert (page.lines, page.entries[0].at, page.entries[0].run, page.next) == (("one",), 0.0, 0, "")


@pytest.mark.parametrize(
    "change",
    [
        {"times": [1.0]},
        {"runs": [1, 2, 3]},
        {"times": [1.0, 1e300]},
        {"times": [-1.0, 1.0]},
        {"wallclock_s": -1},
        {"next": "../../etc/passwd"},
        {"gaps": [{"before": -1, "bytes": 1, "at": 1.0, "run": 1}]},
        {"lines": ["x"] * (wire.LOG_LINES_MAX + 1)},
    ],
)
def test_a_log_that_can_not_be_is_refused(change):
    with pytest.raises(GarbledError):
        wire.parse(wire.Logged, {**LOGGED, **change}).page()
