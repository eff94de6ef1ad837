"""A megabyte of output from everything that can print: nothing of it is in the way, and none of it fills a screen."""

from tests.e2e.fleet import SERVE

MEGABYTE = 2**20
LOUD = SERVE.replace("exec ", f"head -c {MEGABYTE} /dev/zero | tr '\\0' x; echo; echo said all\nexec ")


def test_a_megabyte_from_login_shells_and_programs_is_in_nobodys_way(fleet):
    for host in ("h1", "h2", "h4"):
        fleet.machines.greet_with(host, MEGABYTE)
    fleet.deployed(program=LOUD, replicas=5)
    fleet.await_all_answer(5)
    told = fleet.run("logs", "web", "-n", "1", "-i", str(fleet.inventory)).ends(0)
    assert told.stdout.count("said all") == 5

    host = fleet.host_of("web.1")
    fleet.machines.kill(host)
    healed = fleet.heal().ends(4)
    fleet.await_all_answer(5, besides=(host,))
    assert len(healed.stdout + healed.stderr) < 10_000
