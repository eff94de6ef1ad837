"""The commands by which a person changes a fleet, as they are typed: what they wish, and what is refused untouched."""

import pytest

from fleetctl.engine.events import ActionEnded
from fleetctl.engine.wishing import Change
from fleetctl.errors import ExitCode
from tests.cli import given

IN = ("-i", "inv.yml")


@pytest.fixture(autouse=True)
def _well(deployed, engine):
    engine.result = given.result(ExitCode.AS_WISHED)


def test_stop_wishes_the_job_stopped(typed, engine):
    engine.result = given.result(ExitCode.AS_WISHED, given.done(given.stopping(), "exited 0"))
    engine.events = (ActionEnded(given.done(given.stopping(), "exited 0")),)
    stopped = typed("stop", "web", *IN)
    assert stopped.exit == 0
    assert stopped.out.startswith("stopped web.0@41 on h1 (exited 0): ")
    assert engine.changes == [Change(stops=("web",))]


@pytest.mark.parametrize(
    ("argv", "change"),
    [
        (["start", "web"], Change(starts=("web",))),
        (["restart", "web"], Change(restarts=("web",))),
        (["scale", "web=5"], Change(scales=(("web", 5),))),
        (["scale", "web", "5"], Change(scales=(("web", 5),))),
        (["uncordon", "h1", "h2", "h1"], Change(uncordons=("h1", "h2"))),
        (["heal", "-l", "h1:h2"], Change(limit=frozenset({"h1", "h2"}))),
        (["heal", "--limit", "all:!h3"], Change(limit=frozenset({"h1", "h2"}))),
        (["heal", "--take-over"], Change(take_over=True)),
        (["heal", "-C", "-l", "h1"], Change(limit=frozenset({"h1"}))),
    ],
)
def test_each_command_wishes_what_it_says(typed, engine, argv, change):
    assert typed(*argv, *IN).exit == 0
    assert engine.changes == [change]


@pytest.mark.parametrize("command", ["deploy", "plan"])
def test_a_plan_is_told_the_same_as_the_deploy(typed, engine, here, command):
    (here / "playbooks").mkdir()
    (here / "web.yml").rename(here / "playbooks" / "web.yml")
    terms = ["--limit", "h2", "--prune", "--adopt", "--allow-unreachable", "34%", "--force"]
    assert typed(command, "playbooks/web.yml", *IN, *terms).exit == 0
    [change] = engine.changes
    assert change.owner == str(here / "playbooks" / "web.yml")
    assert change.rolls == {"web"}
    assert (change.limit, change.allow_unreachable) == (frozenset({"h2"}), 1)
    assert (change.prune, change.adopt, change.force, change.take_over) == (True, True, True, False)


@pytest.mark.parametrize(("typed_as", "hosts"), [("0", 0), ("2", 2), ("33%", 0), ("34%", 1), ("100%", 3)])
def test_a_share_of_the_hosts_is_rounded_down(typed, engine, typed_as, hosts):
    typed("deploy", "web.yml", *IN, "--allow-unreachable", typed_as)
    assert engine.changes[0].allow_unreachable == hosts


def test_the_same_playbook_has_one_name_from_wherever_it_is_deployed(typed, engine, here, monkeypatch):
    typed("deploy", "web.yml", *IN)
    monkeypatch.chdir(here.parent)
    typed("deploy", str(here / "web.yml"), "-i", str(here / "inv.yml"))
    assert [change.owner for change in engine.changes] == [str(here / "web.yml")] * 2


def test_playbooks_of_two_folders_are_two_owners(typed, engine, here):
    """Else a deploy of the one with --prune would stop what the other has."""
    for team in ("a", "b"):
        (here / team / "playbooks").mkdir(parents=True)
        (here / team / "playbooks" / "web.yml").write_text((here / "web.yml").read_text())
        typed("deploy", f"{team}/playbooks/web.yml", *IN)
    first, second = (change.owner for change in engine.changes)
    assert first != second


def test_a_cordon_says_who_set_it_and_why(typed, engine):
    assert typed("cordon", "h1", "h2", *IN, "--why", "new disk").exit == 0
    [change] = engine.changes
    assert [(name, cordon.why, cordon.drains) for name, cordon in change.cordons] == [
        ("h1", "new disk", False),
        ("h2", "new disk", False),
    ]
    by = change.cordons[0][1].by
    assert "@" in by
    assert ":" not in by, "a person's name, not a store's"


def test_a_host_that_is_gone_from_the_inventory_can_still_be_named(typed, engine):
    assert typed("cordon", "h4", *IN).exit == 0


@pytest.mark.parametrize(
    ("argv", "told_as"),
    [
        (["cordon", "h1", "hh2"], 'hh2: no such host in prod (did you mean "h2"?)\n  known: h1, h2, h3, h4\n'),
        (["uncordon", "db"], "db: no such host in prod\n  known: h1, h2, h3, h4\n"),
        (["drain", "h22"], 'h22: no such host in prod (did you mean "h2"?)\n'),
        (["stop", "wbe"], 'wbe: no such job in prod (did you mean "web"?)\n  known: web\n'),
        (["start", "wbe"], "wbe: no such job"),
        (["restart", "wbe"], "wbe: no such job"),
        (["scale", "wbe=3"], "wbe: no such job"),
        (["scale", "wbe", "3"], "wbe: no such job"),
        (["scale", "web"], '"web" is no scale\n  write JOB=N, such as: fleetctl scale web=4\n'),
        (["scale", "web=0"], 'web: replicas must be a number from 1 to 1000000, not "0"; to end it: fleetctl stop web'),
        (["scale", "web=-1"], "web: replicas must be a number"),
        (["scale", "web=1.5"], "web: replicas must be a number"),
        (["scale", "web=9999999999"], "web: replicas must be a number"),
        (["scale", "web=2", "web=3"], "web is named twice\n"),
        (["heal", "--limit", "h1:h7"], 'no host or group matches "h7"'),
        (["heal", "-l", "h1:!h1"], 'the pattern "h1:!h1" leaves no host\n'),
        (["heal", "-C", "-l", "nothing"], 'no host or group matches "nothing"'),
        (["deploy", "web.yml", "-l", "nothing"], 'no host or group matches "nothing"'),
        (["plan", "web.yml", "-l", "nothing"], 'no host or group matches "nothing"'),
        (["deploy", "web.yml", "--allow-unreachable", "some"], "--allow-unreachable takes a number of hosts"),
        (["deploy", "web.yml", "--allow-unreachable", "101%"], "--allow-unreachable takes a number of hosts"),
        (["deploy", "web.yml", "--allow-unreachable=-1"], "--allow-unreachable takes a number of hosts"),
    ],
)
def test_what_is_not_known_is_refused_and_nothing_is_touched(typed, engine, argv, told_as):
    refused = typed(*argv, *IN)
    assert refused.exit == 2
    assert refused.err.startswith(f"error: {told_as}")
    assert engine.changes == []
