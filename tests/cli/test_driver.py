"""What a command says where somebody else drove the fleet, and of what is forgotten or taken over."""

from dataclasses import replace

from fleetctl.cli import forgetting
from fleetctl.engine.events import TookOver
from fleetctl.errors import DrivenElsewhereError, ExitCode
from tests.cli import given

ELSEWHERE = DrivenElsewhereError(
    "fleet prod was driven last by root@ops1 at 2026-11-23 14:05 (generation 47; this store knows 12)",
    hint="drive it from ops1, or take over with: fleetctl heal --take-over",
)
TOLD = f"error: {ELSEWHERE.message}\n  {ELSEWHERE.hint}\n"


def test_status_and_hosts_show_the_fleet_and_say_who_drives_it(typed, engine):
    engine.view = replace(given.well(), driven_elsewhere=ELSEWHERE)
    for command in ("status", "hosts"):
        seen = typed(command, "-i", "inv.yml")
        assert (seen.exit, f"error: {seen.err}") == (5, TOLD)
        assert "h1" in seen.out


def test_a_plan_from_an_old_memory_is_not_shown(typed, engine):
    engine.view = replace(given.well(), driven_elsewhere=ELSEWHERE)
    for words in (("plan", "web.yml"), ("heal", "--check"), ("deploy", "web.yml", "--check")):
        planned = typed(*words, "-i", "inv.yml")
        assert (planned.exit, planned.out, planned.err) == (5, "", TOLD)


def test_a_take_over_is_told_with_whose_it_was(typed, engine):
    engine.events = (TookOver("root@ops1", 47, "h2", 3),)
    engine.result = given.result(ExitCode.AS_WISHED)
    healed = typed("heal", "-i", "inv.yml", "--take-over")
    assert engine.changes[-1].take_over
    assert healed.out.startswith("took over from root@ops1 (generation 47): 3 jobs, as h2 keeps them\n")


def test_a_host_that_nobody_knows_is_not_forgotten(typed, deployed):
    seen = typed("hosts", "-i", "inv.yml", "--forget", "h9")
    assert (seen.exit, seen.out) == (2, "")
    assert seen.err == "error: h9: nothing is remembered of that host\n  remembered are: h4\n"


def test_a_forgotten_host_is_told(typed, monkeypatch):
    asked = []

    async def forget_host(_fleet, host, _tell, *, force):
        asked.append((host, force))
        return f"{host} is forgotten"

    monkeypatch.setattr(forgetting, "forget_host", forget_host)
    assert typed("hosts", "-i", "inv.yml", "--forget", "h3", "--force").out == "h3 is forgotten\n"
    assert asked == [("h3", True)]
