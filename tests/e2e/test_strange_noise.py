"""A megabyte of output from everything that can print: nothing of it is in the way, and none of it fills a screen."""

import json

from tests.e2e.fleet import SERVE
from tests.e2e.machines import wait_until

MEGABYTE = 2**20
LOUD = SERVE.replace("exec ", f"head -c {MEGABYTE} /dev/zero | tr '\\0' x; echo; echo said all\nexec ")
PAGE = f"""\
#!/bin/sh
head -c {MEGABYTE} /dev/zero | tr '\\0' x
head -c {MEGABYTE} /dev/zero | tr '\\0' x >&2
cat > .told.$$ && mv .told.$$ told.$$
"""


def test_a_megabyte_from_login_shells_programs_and_the_notify_command_is_in_nobodys_way(fleet):
    for host in ("h1", "h2", "h4"):
        fleet.machines.greet_with(host, MEGABYTE)
    tell_by(fleet, PAGE)
    fleet.deployed(program=LOUD, replicas=5)
    fleet.await_all_answer(5)
    told = fleet.run("logs", "web", "-n", "1", "-i", str(fleet.inventory)).ends(0)
    assert told.stdout.count("said all") == 5

    host = fleet.host_of("web.1")
    fleet.machines.kill(host)
    healed = fleet.heal().ends(4)
    fleet.await_all_answer(5, besides=(host,))
    assert len(healed.stdout + healed.stderr) < 10_000
    (told,) = wait_until(lambda: list(fleet.project.glob("told.*")), 60, "the command that tells a human has told")
    assert host in json.dumps(json.loads(told.read_text()))


def tell_by(fleet, script):
    (fleet.project / "page").write_text(script)
    (fleet.project / "page").chmod(0o755)
    inventory = fleet.inventory.read_text()
    fleet.inventory.write_text(inventory.replace("  vars:\n", "  vars:\n    notify: ./page\n", 1))
